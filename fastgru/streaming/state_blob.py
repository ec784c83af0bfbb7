"""A stream's state as bytes: a magic, the model's fingerprint, a checksum, and the arrays in safetensors format.

The metadata names the target whose kernels computed the state. Another target rounds differently, so a stream that
continued there would have the bits of neither target. The caller has to ask for that.
"""

from collections.abc import Mapping
from typing import Final

from fastgru.errors import FastGRUError, StateError
from fastgru.graph import Array
from fastgru.modules import late
from fastgru.simd.target import TARGET
from fastgru.tensorfile import read_tensor_file, tensor_file_chunks

__all__ = ["pack_state", "unpack_state"]

_MAGIC: Final = b"fastgru-state-2\n"
_DIGEST: Final = 32
_TARGET: Final = "target"


def _digest(body: bytes) -> bytes:
    digest: bytes = late("hashlib").sha256(body).digest()
    return digest


def pack_state(state: Mapping[str, Array], fingerprint: str) -> bytes:
    """Return the magic, the fingerprint (32 bytes), the checksum of what follows (32 bytes), and the arrays."""
    body = b"".join(tensor_file_chunks(state, {_TARGET: TARGET.name}))
    return b"".join((_MAGIC, bytes.fromhex(fingerprint), _digest(body), body))


def unpack_state(blob: bytes, fingerprint: str, *, any_target: bool = False) -> dict[str, Array]:
    """Return the arrays of `pack_state`. Raises `StateError` for damaged bytes or another fingerprint or target.

    any_target: also accept a state that another target computed.
    """
    head = len(_MAGIC) + 2 * _DIGEST
    if not isinstance(blob, bytes | bytearray | memoryview):
        raise StateError(f"saved state: got {type(blob).__name__}, expected bytes from save_state")
    blob = bytes(blob)
    if len(blob) < head or not blob.startswith(_MAGIC):
        raise StateError(f"saved state: got {len(blob)} bytes, expected all the bytes that save_state returned")
    model = blob[len(_MAGIC) : len(_MAGIC) + _DIGEST]
    checksum, body = blob[head - _DIGEST : head], blob[head:]
    if model.hex() != fingerprint:
        raise StateError(
            f"saved state: it belongs to another model (got {model.hex()[:12]}..., expected {fingerprint[:12]}...)"
        )
    if _digest(body) != checksum:
        raise StateError("saved state: its checksum is wrong, so the bytes are damaged")
    try:
        file = read_tensor_file(body)
    except FastGRUError as error:
        raise StateError(f"saved state: {error}") from None
    if file.metadata.keys() != {_TARGET}:
        raise StateError(f"saved state: its metadata are {sorted(file.metadata)!r:.200}, expected the target")
    made = file.metadata[_TARGET]
    if made != TARGET.name and not any_target:
        raise StateError(
            f"saved state: it comes from the target {made!r:.80}, but this process runs {TARGET.name!r}, whose outputs"
            " differ in their last bits: set the same FASTGRU_TARGET for both, or accept the state with any_target=True"
            " (--any-target)"
        )
    return dict(file.tensors)

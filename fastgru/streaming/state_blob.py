"""A stream's state as bytes: a safetensors text of the arrays, behind a magic, a model's fingerprint and a checksum."""

from collections.abc import Mapping
from typing import Final

from fastgru.errors import FastGRUError, StateError
from fastgru.graph import Array
from fastgru.modules import late
from fastgru.tensorfile import read_tensor_file, tensor_file_chunks

__all__ = ["pack_state", "unpack_state"]

_MAGIC: Final = b"fastgru-state-1\n"
_DIGEST: Final = 32


def _digest(body: bytes) -> bytes:
    digest: bytes = late("hashlib").sha256(body).digest()
    return digest


def pack_state(state: Mapping[str, Array], fingerprint: str) -> bytes:
    """Magic, fingerprint (32 bytes), checksum of what follows (32 bytes), the arrays."""
    body = b"".join(tensor_file_chunks(state, {}))
    return b"".join((_MAGIC, bytes.fromhex(fingerprint), _digest(body), body))


def unpack_state(blob: bytes, fingerprint: str) -> dict[str, Array]:
    """The inverse; `StateError` unless every byte is as it was and the fingerprint is this one."""
    head = len(_MAGIC) + 2 * _DIGEST
    if not isinstance(blob, bytes | bytearray | memoryview):
        raise StateError(f"saved state: got {type(blob).__name__}, expected bytes from save_state")
    blob = bytes(blob)
    if len(blob) < head or not blob.startswith(_MAGIC):
        raise StateError(f"saved state: {len(blob)} bytes that save_state did not write, or not all of them")
    model = blob[len(_MAGIC) : len(_MAGIC) + _DIGEST]
    checksum, body = blob[head - _DIGEST : head], blob[head:]
    if model.hex() != fingerprint:
        raise StateError(f"saved state: of another model ({model.hex()[:12]}..., this is {fingerprint[:12]}...)")
    if _digest(body) != checksum:
        raise StateError("saved state: damaged, its checksum does not hold")
    try:
        file = read_tensor_file(body)
    except FastGRUError as error:
        raise StateError(f"saved state: {error}") from None
    if file.metadata:
        raise StateError(f"saved state: came with the metadata {sorted(file.metadata)!r:.200}, expected none")
    return dict(file.tensors)

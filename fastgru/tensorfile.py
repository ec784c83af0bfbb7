"""safetensors files: 8 bytes of header length, a JSON header, and the tensors one after another.

The format: https://github.com/huggingface/safetensors, README, "Format". This module reads it without that library, so
that every tensor is read once, into aligned memory of its own. It writes every tensor at a multiple of its item size.
"""

import json
from collections.abc import Iterator, Mapping
from math import prod
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastgru.errors import InvalidModelError, UnsupportedModelError
from fastgru.jsontext import parse_json
from fastgru.modules import late
from fastgru.records import dataclass
from fastgru.sources import Content, Source, opened

__all__ = ["HEADER_LIMIT", "TensorFile", "read_tensor_file", "tensor_file_chunks"]

HEADER_LIMIT: Final = 16 << 20
ALIGNMENT: Final = 64  # of the first tensor within the file

# The dtypes that NumPy has. BF16 has its dtype in ml_dtypes, which is imported only if a file needs it.
_PLAIN: Final[Mapping[str, np.dtype[Any]]] = {
    "BOOL": np.dtype("?"),
    "F16": np.dtype("<f2"),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
    "I16": np.dtype("<i2"),
    "I32": np.dtype("<i4"),
    "I64": np.dtype("<i8"),
    "I8": np.dtype("i1"),
    "U16": np.dtype("<u2"),
    "U32": np.dtype("<u4"),
    "U64": np.dtype("<u8"),
    "U8": np.dtype("u1"),
}
_NAMES: Final = {dtype.name: name for name, dtype in _PLAIN.items()} | {"bfloat16": "BF16"}


@dataclass(frozen=True)
class TensorFile:
    """tensors: name -> read-only array, in the order of the header. metadata: the texts under `__metadata__`."""

    tensors: Mapping[str, NDArray[Any]]
    metadata: Mapping[str, str]


def _dtype(name: str) -> np.dtype[Any]:
    if name != "BF16":
        return _PLAIN[name]
    dtype: np.dtype[Any] = np.dtype(late("ml_dtypes").bfloat16)
    return dtype


def read_tensor_file(source: Source) -> TensorFile:
    """Read the tensors: each into memory of its own if `source` is a file, as views if it is bytes.

    Raises `InvalidModelError` for a header that is damaged, contradicts itself, or leaves bytes of the file unused;
    `UnsupportedModelError` for a dtype that NumPy and ml_dtypes do not have. The whole header is checked before any
    tensor is read.
    """
    with opened(source) as content:
        return _read(content)


def _read(content: Content) -> TensorFile:
    name, size = content.name, int.from_bytes(content[:8], "little")
    if len(content) < 8 or size > min(len(content) - 8, HEADER_LIMIT):
        raise InvalidModelError(
            f"{name}: the safetensors header has {size} bytes in a file of {len(content)}, and at most {HEADER_LIMIT}"
            " are read"
        )
    header = parse_json(bytes(content[8 : 8 + size]), what=f"{name}: safetensors header")
    if not isinstance(header, dict):
        raise InvalidModelError(f"{name}: the safetensors header is {type(header).__name__}, expected an object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise InvalidModelError(f"{name}: __metadata__ is not a mapping of texts")
    start = 8 + size
    nbytes, position = len(content) - start, 0
    entries = [_entry(tensor, entry, nbytes, name) for tensor, entry in header.items()]
    for begin, end in sorted((entry.begin, entry.end) for entry in entries):
        if begin != position:
            raise InvalidModelError(f"{name}: the safetensors data have a hole or an overlap at byte {position}")
        position = end
    if position != nbytes:
        raise InvalidModelError(f"{name}: the safetensors data have {nbytes} bytes, but tensors use {position}")
    return TensorFile({e.name: e.array(content.read(start + e.begin, start + e.end)) for e in entries}, metadata)


def tensor_file_chunks(tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> Iterator[bytes]:
    """The chunks of a file, header first; the same input gives the same bytes.

    Wider items come first in the data, so that every tensor is aligned to its item size. The header keeps the order of
    `tensors`. Raises `UnsupportedModelError` for a dtype that safetensors lacks, `InvalidModelError` for a name that it
    cannot hold.
    """
    for name, array in tensors.items():
        if array.dtype.name not in _NAMES:
            raise UnsupportedModelError(f"tensor {name!r}: a safetensors file cannot hold the dtype {array.dtype}")
    if "__metadata__" in tensors:
        raise InvalidModelError("a tensor in a safetensors file cannot have the name '__metadata__'")
    order = sorted(tensors, key=lambda name: -tensors[name].dtype.itemsize)
    offsets, position = {}, 0
    for name in order:
        offsets[name] = [position, position + tensors[name].nbytes]
        position += tensors[name].nbytes
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    for name, array in tensors.items():
        header[name] = {"dtype": _NAMES[array.dtype.name], "shape": list(array.shape), "data_offsets": offsets[name]}
    try:
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError as error:
        raise InvalidModelError(
            f"a name or text has {error.object[error.start : error.end]!r}, which UTF-8 cannot hold"
        ) from None
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    if len(text) > HEADER_LIMIT:
        raise UnsupportedModelError(
            f"the safetensors header would have {len(text)} bytes, expected at most {HEADER_LIMIT}"
        )
    yield len(text).to_bytes(8, "little")
    yield text
    for name in order:
        array = tensors[name]
        flat = np.ascontiguousarray(array, _dtype(_NAMES[array.dtype.name])).reshape(-1)
        yield flat.view(np.uint8).tobytes()


class _Entry(NamedTuple):
    what: str
    name: str
    dtype: np.dtype[Any]
    shape: list[int]
    begin: int
    end: int

    def array(self, data: memoryview) -> NDArray[Any]:
        array = np.frombuffer(data, self.dtype)
        if array.dtype.kind == "b" and array.size and array.view(np.uint8).max() > 1:
            raise InvalidModelError(f"{self.what}: a bool is neither 0 nor 1")
        array = array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
        try:
            return array.reshape(self.shape)
        except ValueError:  # the array is empty and its axes are too long for NumPy
            raise InvalidModelError(f"{self.what}: {self.shape!r:.200} is not the shape of an array") from None


def _entry(tensor: str, entry: Any, nbytes: int, file: str) -> _Entry:
    what = f"{file}: tensor {tensor[:80]!r}"
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise InvalidModelError(f"{what}: expected an entry with dtype, shape and data_offsets")
    name, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not _sizes(shape, 32) or not _sizes(offsets, 2) or len(offsets) != 2:
        raise InvalidModelError(f"{what}: shape {shape!r:.80} and data_offsets {offsets!r:.80} are not lists of sizes")
    if not isinstance(name, str) or name not in _NAMES.values():
        raise UnsupportedModelError(
            f"{what}: dtype {name!r:.40} is not read, expected one of {', '.join(sorted(_NAMES.values()))}: convert the"
            " tensor and save again"
        )
    dtype, (begin, end) = _dtype(name), offsets
    if end > nbytes or end - begin != prod(shape) * dtype.itemsize:
        raise InvalidModelError(f"{what}: {name} {shape!r:.200} does not fit bytes {begin} to {end} of {nbytes}")
    return _Entry(what, tensor, dtype, shape, begin, end)


def _sizes(value: Any, most: int) -> bool:
    return isinstance(value, list) and len(value) <= most and all(type(n) is int and 0 <= n < 1 << 48 for n in value)

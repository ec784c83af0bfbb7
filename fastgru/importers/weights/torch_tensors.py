"""Tensors as a PyTorch pickle describes them, and their arrays, made from the bytes of the storages."""

import math
from collections.abc import Callable
from typing import Any, Final

import ml_dtypes
import numpy as np

from fastgru.arrays import Array
from fastgru.errors import InvalidModelError, UnsupportedModelError
from fastgru.records import dataclass

__all__ = ["DTYPES", "STORAGES", "StoredTensor", "TorchStorage", "tensor"]

# torch dtype -> NumPy dtype, in little-endian order as in nearly all files.
DTYPES: Final = {
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "bool": np.dtype("?"),
    "float16": np.dtype("<f2"),
    "float32": np.dtype("<f4"),
    "float64": np.dtype("<f8"),
    "int16": np.dtype("<i2"),
    "int32": np.dtype("<i4"),
    "int64": np.dtype("<i8"),
    "int8": np.dtype("i1"),
    "uint16": np.dtype("<u2"),
    "uint32": np.dtype("<u4"),
    "uint64": np.dtype("<u8"),
    "uint8": np.dtype("u1"),
}

# Storage class -> dtype; "" for bytes whose dtype the tensor itself names. Complex and quantised storages are listed
# because a checkpoint may have them beside the state dict; such a tensor is refused only when it is read.
STORAGES: Final = {
    "BFloat16Storage": "bfloat16", "BoolStorage": "bool", "ByteStorage": "uint8", "CharStorage": "int8",
    "ComplexDoubleStorage": "complex128", "ComplexFloatStorage": "complex64", "DoubleStorage": "float64",
    "FloatStorage": "float32", "HalfStorage": "float16", "IntStorage": "int32", "LongStorage": "int64",
    "QInt32Storage": "qint32", "QInt8Storage": "qint8", "QUInt2x4Storage": "quint2x4", "QUInt4x2Storage": "quint4x2",
    "QUInt8Storage": "quint8", "ShortStorage": "int16", "UntypedStorage": "",
}  # fmt: skip

ITEM_SIZES: Final = {"complex128": 16, "complex64": 8, "qint32": 4, "": 1}  # of dtypes not in DTYPES; 1 by default

MAX_AXES: Final = 32
MAX_EXPANDED: Final = 1 << 24  # most elements of a tensor that repeats its storage by strides of 0


@dataclass(frozen=True)
class TorchStorage:
    """`size` elements of `dtype`, starting at element `start` of the bytes stored under `key`."""

    key: str
    dtype: str
    size: int
    start: int = 0

    @property
    def item_size(self) -> int:
        return DTYPES[self.dtype].itemsize if self.dtype in DTYPES else ITEM_SIZES.get(self.dtype, 1)


@dataclass(frozen=True)
class StoredTensor:
    """A strided view of a storage; offset and strides count elements of `dtype`."""

    storage: TorchStorage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str

    @property
    def is_parameter_like(self) -> bool:
        """Whether the tensor looks like weights: a floating-point tensor with at least one axis."""
        return bool(self.shape) and self.dtype in ("bfloat16", "float16", "float32", "float64")

    def array(self, raw: memoryview, charge: Callable[[int], None], *, big_endian: bool, what: str) -> Array:
        """Return the tensor as a read-only array in native byte order. raw: the bytes of the storage.

        charge: called with the number of bytes that are checked or converted, because any number of tensors may share a
        storage.

        Raises `InvalidModelError` for a tensor outside its storage, `UnsupportedModelError` for a dtype that is not
        read.
        """
        if self.dtype not in DTYPES:
            raise UnsupportedModelError(
                f"{what} has dtype {self.dtype}, which is not read; convert it to float32 in torch and save again"
            )
        dtype = DTYPES[self.dtype]
        start, stop = self.storage.start * self.storage.item_size, self.storage.size * self.storage.item_size
        content = raw[start : start + stop]
        if len(content) != stop or stop % dtype.itemsize:
            raise InvalidModelError(f"{what}: its storage has {len(raw)} bytes, expected {start + stop} of {dtype}")
        flat = np.frombuffer(content, dtype.newbyteorder(">" if big_endian and dtype.itemsize > 1 else "<"))
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        count = math.prod(self.shape)
        if self.offset > flat.size or (count and last >= flat.size):
            raise InvalidModelError(f"{what}: the tensor reads element {last} of a storage with {flat.size} elements")
        if count > max(flat.size, MAX_EXPANDED):
            raise InvalidModelError(f"{what}: the tensor has {count} elements made from {flat.size} by strides of 0")
        flat = flat[self.offset : last + 1 if count else self.offset]
        if self.dtype == "bool" or not flat.dtype.isnative:
            charge(flat.nbytes)
        if self.dtype == "bool" and flat.size and flat.view(np.uint8).max() > 1:
            raise InvalidModelError(f"{what}: a bool is neither 0 nor 1")
        if not flat.dtype.isnative:
            flat = flat.astype(dtype)
        strides = tuple(stride * dtype.itemsize for stride in self.strides)
        try:
            return np.lib.stride_tricks.as_strided(flat, self.shape, strides, writeable=False)
        except ValueError:  # an empty array with axes too long for NumPy
            raise InvalidModelError(f"{what}: {list(self.shape)} is not the shape of an array") from None


def tensor(storage: Any, offset: Any, shape: Any, strides: Any, dtype: str | None = None) -> StoredTensor:
    """Return the `StoredTensor` that a pickle describes; raise `TypeError` or `ValueError` if this is impossible."""
    if not isinstance(storage, TorchStorage):
        raise TypeError(f"a tensor has {type(storage).__name__}, expected a storage")
    if not isinstance(shape, tuple) or not isinstance(strides, tuple) or len(shape) != len(strides):
        raise TypeError("the shape and strides of a tensor are not two tuples of equal length")
    if len(shape) > MAX_AXES:
        raise ValueError(f"a tensor has {len(shape)} axes")
    if any(type(n) is not int or not 0 <= n < 1 << 40 for n in (offset, *shape, *strides)):
        raise ValueError("a size, stride or offset of a tensor is not a number from 0 to 2^40")
    return StoredTensor(storage, offset, shape, strides, storage.dtype if dtype is None else dtype)

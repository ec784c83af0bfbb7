"""NumPy arrays and tuples of them as compiled code sees them: by the address of the PyObject.

An array's fields are read (`simd.arrays`) where NumPy's C interface has kept them since 1.0 (`PyArrayObject_fields` in
ndarraytypes.h): after the object's head come data, nd, dimensions, strides, base, descr and flags. A tuple's items lie
after what `tuple.__basicsize__` counts. `check_layout` proves both before anything relies on them.
"""

import ctypes
import sys
from typing import Any, Final

import numpy as np

from fastgru.errors import UnsupportedModelError

__all__ = [
    "ANY_STRIDE", "DATA", "DESCR", "DIMENSIONS", "FLAGS", "ITEMS", "ND", "SIZE", "STRIDES", "TYPE", "WRITEABLE",
    "check_layout", "expectation",
]  # fmt: skip

_HEAD: Final = object.__basicsize__
TYPE: Final = _HEAD // 8 - 1  # words before the type pointer, the last of the head
DATA, ND, DIMENSIONS, STRIDES, DESCR, FLAGS = (_HEAD // 8 + i for i in (0, 1, 2, 3, 5, 6))
SIZE: Final = _HEAD // 8  # of a tuple
ITEMS: Final = tuple.__basicsize__ // 8
WRITEABLE: Final = 0x0400  # NPY_ARRAY_WRITEABLE
ANY_STRIDE: Final = -(1 << 63)


def expectation(array: np.ndarray[Any, Any], flags: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The words that `fits` compares with: type, dtype, flags, axes, then size and stride of each.

    Where no element lies, or one alone along an axis, the stride may be anything.
    """
    free = [array.size == 0 or n == 1 for n in array.shape]
    strides = [ANY_STRIDE if any_ else stride for any_, stride in zip(free, array.strides, strict=True)]
    axes = [word for axis in zip(array.shape, strides, strict=True) for word in axis]
    return np.array([id(np.ndarray), id(array.dtype), flags, array.ndim, *axes], np.int64)


def check_layout() -> None:
    """Raise `UnsupportedModelError` unless the fields lie where this module reads them, by arrays of this NumPy."""
    for array in (np.zeros((2, 3, 5), np.float32)[:, ::2], np.zeros(7), np.zeros((), np.int64)):
        array.flags.writeable = array.ndim != 1
        words = (ctypes.c_int64 * (_HEAD // 8 + 7)).from_address(id(array))
        shape = (ctypes.c_int64 * array.ndim).from_address(words[DIMENSIONS]) if array.ndim else ()
        strides = (ctypes.c_int64 * array.ndim).from_address(words[STRIDES]) if array.ndim else ()
        if (
            words[TYPE] != id(np.ndarray)
            or words[DATA] != array.ctypes.data
            or words[ND] & 0xFFFFFFFF != array.ndim
            or tuple(shape) != array.shape
            or tuple(strides) != array.strides
            or words[DESCR] != id(array.dtype)
            or bool(words[FLAGS] & WRITEABLE) != array.flags.writeable
        ):
            raise UnsupportedModelError(
                f"arrays of NumPy {np.__version__} are laid out in another way than NumPy 1.0 to 2.4 lay them out: use"
                " one of those"
            )
    items = (object(), object(), object())
    words = (ctypes.c_int64 * (ITEMS + len(items))).from_address(id(items))
    if (words[TYPE], words[SIZE]) != (id(tuple), len(items)) or words[ITEMS:] != [id(item) for item in items]:
        raise UnsupportedModelError(f"tuples of {sys.implementation.name} are not laid out as CPython's are")

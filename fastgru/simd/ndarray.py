"""NumPy arrays and tuples of them as compiled code sees them: by the address of the PyObject.

The offset of an object's own fields depends on the Python that runs, and is not known when code is built. Code reads
from `process` the number of words of an object's head, whose last is the type, and of a tuple's words before its items.
After the head come an array's fields, in the order of NumPy's C interface since 1.0 (`PyArrayObject_fields` in
ndarraytypes.h): data, nd, dimensions, strides, base, descr and flags. A tuple has its size there. `check_layout` checks
all of this before any code relies on it.
"""

import ctypes
import sys
from typing import Any, Final

import numpy as np

from fastgru.errors import UnsupportedModelError
from fastgru.process import HEAD, ITEMS, process

__all__ = [
    "ANY_STRIDE", "DATA", "DESCR", "DIMENSIONS", "FLAGS", "ND", "SIZE", "STRIDES", "TYPE", "WRITEABLE",
    "check_layout", "expectation", "rows_expectation",
]  # fmt: skip

# Fields, as words counted from the end of an object's head.
TYPE: Final = -1
DATA, ND, DIMENSIONS, STRIDES, DESCR, FLAGS = 0, 1, 2, 3, 5, 6
SIZE: Final = 0  # of a tuple
WRITEABLE: Final = 0x0400  # NPY_ARRAY_WRITEABLE
ANY_STRIDE: Final = -(1 << 63)


def expectation(array: np.ndarray[Any, Any], flags: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the words that `fits` compares with: type, dtype, flags, number of axes, then size and stride of each.

    The stride of an axis with one element, or of an empty array, may have any value.
    """
    free = [array.size == 0 or n == 1 for n in array.shape]
    strides = [ANY_STRIDE if any_ else stride for any_, stride in zip(free, array.strides, strict=True)]
    axes = [word for axis in zip(array.shape, strides, strict=True) for word in axis]
    return np.array([id(np.ndarray), id(array.dtype), flags, array.ndim, *axes], np.int64)


def rows_expectation(shape: tuple[int, ...], dtype: np.dtype[Any], flags: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the words that `fits_rows` compares with.

    They are type, dtype, flags, number of axes, bytes of an element, and sizes. The size of the axis of rows is not
    compared. The dtype must be NumPy's own object.
    """
    return np.array([id(np.ndarray), id(dtype), flags, len(shape), dtype.itemsize, *shape], np.int64)


def check_layout() -> None:
    """Raise `UnsupportedModelError` unless the fields of arrays and tuples lie where this module reads them."""
    head, items_at = int(process[HEAD]), int(process[ITEMS])
    for array in (np.zeros((2, 3, 5), np.float32)[:, ::2], np.zeros(7), np.zeros((), np.int64)):
        array.flags.writeable = array.ndim != 1
        words = (ctypes.c_int64 * (head + 7)).from_address(id(array))
        shape = (ctypes.c_int64 * array.ndim).from_address(words[head + DIMENSIONS]) if array.ndim else ()
        strides = (ctypes.c_int64 * array.ndim).from_address(words[head + STRIDES]) if array.ndim else ()
        if (
            words[head + TYPE] != id(np.ndarray)
            or words[head + DATA] != array.ctypes.data
            or words[head + ND] & 0xFFFFFFFF != array.ndim
            or tuple(shape) != array.shape
            or tuple(strides) != array.strides
            or words[head + DESCR] != id(array.dtype)
            or bool(words[head + FLAGS] & WRITEABLE) != array.flags.writeable
        ):
            raise UnsupportedModelError(
                f"arrays of NumPy {np.__version__} have another layout than those of NumPy 1.0 to 2.4: use one of these"
                " versions"
            )
    items = (object(), object(), object())
    words = (ctypes.c_int64 * (items_at + len(items))).from_address(id(items))
    found = words[head + TYPE], words[head + SIZE], *words[items_at:]
    if found != (id(tuple), len(items), *map(id, items)):
        raise UnsupportedModelError(f"tuples of {sys.implementation.name} are not laid out as CPython's are")

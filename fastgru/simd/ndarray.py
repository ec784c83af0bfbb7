"""NumPy arrays and tuples of them as compiled code sees them: by the address of the PyObject.

Where an object's own fields begin is the business of the Python that runs, and not known when code is built: it has
the words of an object's head, whose last is the type, and those of a tuple before its items, from `process`. Behind the
head an array's fields lie as NumPy's C interface has kept them since 1.0 (`PyArrayObject_fields` in ndarraytypes.h):
data, nd, dimensions, strides, base, descr and flags; a tuple has its size there. `check_layout` proves it all before
anything relies on it.
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

# Words from the end of an object's head.
TYPE: Final = -1
DATA, ND, DIMENSIONS, STRIDES, DESCR, FLAGS = 0, 1, 2, 3, 5, 6
SIZE: Final = 0  # of a tuple
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


def rows_expectation(shape: tuple[int, ...], dtype: np.dtype[Any], flags: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The words that `fits_rows` compares with: type, dtype, flags, axes, the bytes of an element, the sizes. That of
    the axis of the rows is not looked at; a dtype must be NumPy's own."""
    return np.array([id(np.ndarray), id(dtype), flags, len(shape), dtype.itemsize, *shape], np.int64)


def check_layout() -> None:
    """Raise `UnsupportedModelError` unless the fields lie where this module reads them, by arrays of this NumPy."""
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

"""The types of arrays in signatures, and copies of arrays in C order."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "in_c_order"]

Array = NDArray[Any]

_LINE: Final = 16  # entries: of float32 a cache line


def in_c_order(array: Array, out: Array | None = None) -> Array:
    """A copy, row by row; into `out` where that is given.

    The copy of a transposed matrix goes by cache lines of its source: NumPy's own reads each of them once an entry.
    """
    made = np.empty(array.shape, array.dtype) if out is None else out
    if array.ndim == 2 and array.strides[0] < array.strides[1]:
        for i in range(0, array.shape[1], _LINE):
            made[:, i : i + _LINE] = array[:, i : i + _LINE]
    else:
        made[...] = array
    return made

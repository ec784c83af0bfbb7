"""The types of arrays in signatures, copies of arrays in C order, and arrays that nobody else can change."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "frozen", "in_c_order", "owned"]

Array = NDArray[Any]

_LINE: Final = 16  # entries: 16 float32 entries fill a cache line


def in_c_order(array: Array, out: Array | None = None) -> Array:
    """Return a copy in C order, written into `out` if that is given.

    The copy of a transposed matrix goes by cache lines of its source; NumPy's own copy reads each line once per entry.
    """
    made = np.empty(array.shape, array.dtype) if out is None else out
    if array.ndim == 2 and array.strides[0] < array.strides[1]:
        for i in range(0, array.shape[1], _LINE):
            made[:, i : i + _LINE] = array[:, i : i + _LINE]
    else:
        made[...] = array
    return made


def owned(array: Array) -> Array:
    """Return `array` if its memory is read-only, and otherwise a read-only copy.

    It is for weights that come from a caller, who may still change them. The memory of a file that was read is
    read-only, so that large files are not copied.
    """
    part: Any = array
    while isinstance(part, np.ndarray) and not part.flags.writeable:
        part = part.base
    if part is None or isinstance(part, bytes) or (isinstance(part, memoryview) and part.readonly):
        return array
    return frozen(array.copy())


def frozen(array: Array) -> Array:
    """Make the memory of `array` read-only, and return it. Nothing else may use this memory."""
    part: Any = array
    while isinstance(part, np.ndarray):
        part.flags.writeable = False
        part = part.base
    return array

"""Buffers that start on a cache line."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["ALIGNMENT", "empty", "zeros"]

ALIGNMENT: Final = 64  # bytes: a cache line, and the widest vector


def empty(shape: int | tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Like numpy.empty, starting on a multiple of `ALIGNMENT` bytes."""
    dtype = np.dtype(dtype)
    count = int(np.prod(shape, dtype=np.int64))
    raw = np.empty(count * dtype.itemsize + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    aligned: NDArray[Any] = raw[start : start + count * dtype.itemsize].view(dtype).reshape(shape)
    return aligned


def zeros(shape: int | tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Like numpy.zeros, starting on a multiple of `ALIGNMENT` bytes."""
    array = empty(shape, dtype)
    array[...] = 0
    return array

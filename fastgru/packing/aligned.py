"""Buffers that start on a cache line; large ones on huge pages, where the system has them."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fastgru.graph import Array
from fastgru.modules import late

__all__ = ["ALIGNMENT", "HUGE_PAGE", "empty", "zeros"]

ALIGNMENT: Final = 64  # bytes: a cache line, and the widest vector
HUGE_PAGE: Final = 2 << 20  # bytes, on x86-64 and on Arm with pages of 4 KiB
_LARGE: Final = 2 * HUGE_PAGE  # from here on what rounding up to whole pages wastes is little


def empty(shape: int | tuple[int, ...], dtype: Any) -> Array:
    """Like numpy.empty, starting on a multiple of `ALIGNMENT` bytes."""
    dtype = np.dtype(dtype)
    count = int(np.prod(shape, dtype=np.int64))
    size = count * dtype.itemsize
    if size >= _LARGE and hasattr(late("mmap"), "MADV_HUGEPAGE"):
        raw, alignment = _on_huge_pages(size), HUGE_PAGE
    else:
        raw, alignment = np.empty(size + ALIGNMENT, np.uint8), ALIGNMENT
    start = -raw.ctypes.data % alignment
    aligned: Array = raw[start : start + size].view(dtype).reshape(shape)
    return aligned


def zeros(shape: int | tuple[int, ...], dtype: Any) -> Array:
    """Like numpy.zeros, starting on a multiple of `ALIGNMENT` bytes."""
    array = empty(shape, dtype)
    array[...] = 0
    return array


def _on_huge_pages(size: int) -> NDArray[np.uint8]:
    """Memory of its own with room for `size` bytes from its first huge page on; a request, which may come to nothing.

    Weights that are read once a step are then found through few entries of the CPU's address cache.
    """
    mmap = late("mmap")
    whole = -(-size // HUGE_PAGE) * HUGE_PAGE
    memory = mmap.mmap(-1, whole + HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    raw = np.frombuffer(memory, np.uint8)
    try:
        memory.madvise(mmap.MADV_HUGEPAGE, -raw.ctypes.data % HUGE_PAGE, whole)
    except OSError:
        pass  # a kernel without them
    return raw

"""Buffers that start on a cache line; large ones start on huge pages, if the system has them."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fastgru.graph import Array
from fastgru.modules import late

__all__ = ["ALIGNMENT", "HUGE_PAGE", "empty", "zeros"]

ALIGNMENT: Final = 64  # bytes: a cache line, and the widest vector
HUGE_PAGE: Final = 2 << 20  # bytes, on x86-64 and on Arm with pages of 4 KiB
_LARGE: Final = 2 * HUGE_PAGE  # from this size on, rounding up to whole pages wastes little


def empty(shape: int | tuple[int, ...], dtype: Any) -> Array:
    """Return an array as numpy.empty does, at an address that is a multiple of `ALIGNMENT`."""
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
    """Return an array as numpy.zeros does, at an address that is a multiple of `ALIGNMENT`."""
    array = empty(shape, dtype)
    array[...] = 0
    return array


def _on_huge_pages(size: int) -> NDArray[np.uint8]:
    """Return a new mapping with room for `size` bytes from its first huge page on. The system may refuse huge pages.

    With huge pages, weights that are read once a step take few entries of the CPU's address cache (TLB).
    """
    mmap = late("mmap")
    whole = -(-size // HUGE_PAGE) * HUGE_PAGE
    memory = mmap.mmap(-1, whole + HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    raw = np.frombuffer(memory, np.uint8)
    try:
        memory.madvise(mmap.MADV_HUGEPAGE, -raw.ctypes.data % HUGE_PAGE, whole)
    except OSError:
        pass  # the system has no huge pages
    return raw

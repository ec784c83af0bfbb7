"""Buffers start where they should, whatever their size, and live on without their makers."""

from __future__ import annotations

import gc
import mmap

import numpy as np
import pytest

from fastgru.packing.aligned import ALIGNMENT, HUGE_PAGE, empty, zeros

SIZES = [0, 1, 63, 64, 1000, 2 * HUGE_PAGE - 1, 2 * HUGE_PAGE, 2 * HUGE_PAGE + 1, 5 * HUGE_PAGE + 4097]


@pytest.mark.parametrize("size", SIZES)
def test_a_buffer_is_aligned_whole_and_writable(size: int) -> None:
    array = empty(size, np.uint8)
    assert array.shape == (size,)
    assert array.flags.writeable
    assert size == 0 or array.ctypes.data % ALIGNMENT == 0
    if size >= 2 * HUGE_PAGE and hasattr(mmap, "MADV_HUGEPAGE"):
        assert array.ctypes.data % HUGE_PAGE == 0
    array[...] = 7
    assert int(array.sum(dtype=np.int64)) == 7 * size


@pytest.mark.parametrize("shape", [(0,), (3, 5), (1025, 1031), (2, 600, 1024)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int8"])
def test_zeros_of_any_shape(shape: tuple[int, ...], dtype: str) -> None:
    array = zeros(shape, dtype)
    assert (array.shape, array.dtype, array.flags.c_contiguous) == (shape, np.dtype(dtype), True)
    assert not array.any()


def test_a_large_buffer_outlives_whatever_it_was_made_of() -> None:
    arrays = [empty((1024, 1031), np.float32) for _ in range(4)]
    for k, array in enumerate(arrays):
        array[...] = k
    part = arrays[2][10]
    del arrays, array
    gc.collect()
    assert np.array_equal(part, np.full(1031, 2, np.float32))

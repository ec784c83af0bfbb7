"""Sums and extremes over a contiguous row, in an order that depends on its length only; copying and clearing rows.

A sum keeps one partial sum for each lane, in blocks of `BLOCK` vectors that are summed from zero and then added, so its
rounding error grows with the block and not with the row.
"""

from typing import Any, Final

import numpy as np

from fastgru.kernels.registry import kernel
from fastgru.simd.masks import first_lanes, maximum_nan
from fastgru.simd.memory import lanes_of, load, load_tail, store, store_tail
from fastgru.simd.vector import reduce_add, reduce_max, select, splat

__all__ = ["BLOCK", "clear_row", "copy_row", "make_row_max", "make_row_sum"]

BLOCK: Final = 64


@kernel
def copy_row(source, target, n):
    """target[:n] = source[:n]; memory beyond is neither read nor written."""
    lanes = lanes_of(target)
    if n >= lanes:
        for i in range(0, n - lanes + 1, lanes):
            store(target, i, load(source, i))
        if n % lanes != 0:
            store(target, n - lanes, load(source, n - lanes))
    elif n > 0:
        store_tail(target, 0, load_tail(source, 0, n), n)


@kernel
def clear_row(zero, target, n):
    """target[:n] = zero."""
    lanes = lanes_of(target)
    i = 0
    while i + lanes <= n:
        store(target, i, zero)
        i += lanes
    if i < n:
        store_tail(target, i, zero, n - i)


def make_row_sum(dtype: str, term: Any) -> Any:
    """Return row_sum(x, n, parameter), the sum of term(x[i], parameter) over i < n."""
    zero, block = np.dtype(dtype).type(0), BLOCK

    @kernel
    def row_sum(x, n, parameter):
        lanes = lanes_of(x)
        whole = n // lanes * lanes
        total = splat(zero)
        i = 0
        while i < whole:
            stop = min(whole, i + block * lanes)
            partial = splat(zero)
            while i < stop:
                partial = partial + term(load(x, i), parameter)
                i += lanes
            total = total + partial
        if whole < n:
            left = n - whole
            total = total + select(first_lanes(x, left), term(load_tail(x, whole, left), parameter), splat(zero))
        return reduce_add(total)

    return row_sum


def make_row_max(dtype: str, term: Any) -> Any:
    """Return row_max(x, n), the largest term(x[i]) over i < n: NaN if one is NaN, -inf if n is 0."""
    least = np.dtype(dtype).type(-np.inf)

    @kernel
    def row_max(x, n):
        lanes = lanes_of(x)
        whole = n // lanes * lanes
        best = splat(least)
        for i in range(0, whole, lanes):
            best = maximum_nan(best, term(load(x, i)))
        if whole < n:
            left = n - whole
            last = select(first_lanes(x, left), term(load_tail(x, whole, left)), splat(least))
            best = maximum_nan(best, last)
        return reduce_max(best)

    return row_max

"""Softmax over contiguous rows: find the largest element, compute exp and its sum in one pass, then divide."""

import math
from typing import Any

import numpy as np

from fastgru.kernels.operands.softmax import SOFTMAX
from fastgru.kernels.operands.team import LOOK_WORK
from fastgru.kernels.registry import handler, kernel, tensor
from fastgru.kernels.rows import BLOCK, make_row_max, make_row_sum
from fastgru.kernels.team import spend
from fastgru.simd.masks import first_lanes
from fastgru.simd.math import exp
from fastgru.simd.memory import lanes_of, load, load_tail, offset, pointer, store, store_tail
from fastgru.simd.vector import reduce_add, select, splat

__all__ = ["log_softmax", "make_shifted_exp", "softmax"]

AT = SOFTMAX.at


@kernel
def _same(v):
    return v


def make_shifted_exp(dtype: str) -> Any:
    """Return f(x, shift) = e^(x - shift) for x <= shift, which is exactly 0 if x is -inf."""
    zero = np.dtype(dtype).type(0)
    least = np.dtype(dtype).type(-87 if dtype == "float32" else -708)

    @kernel
    def shifted_exp(x, shift):
        d = x - splat(shift)
        return select(d < splat(least), splat(zero), exp(d))

    return shifted_exp


@handler("softmax", "float32", "float64")
def softmax(dtype: str) -> Any:
    """y = exp(x - max) / sum(exp(x - max)), row by row."""
    row_max, shifted_exp = make_row_max(dtype, _same), make_shifted_exp(dtype)
    zero, block = np.dtype(dtype).type(0), BLOCK

    @kernel
    def row_exp(x, y, n, shift):
        """y = e^(x - shift); return the sum of y."""
        lanes = lanes_of(x)
        whole = n // lanes * lanes
        total = splat(zero)
        i = 0
        while i < whole:
            stop = min(whole, i + block * lanes)
            partial = splat(zero)
            while i < stop:
                e = shifted_exp(load(x, i), shift)
                store(y, i, e)
                partial = partial + e
                i += lanes
            total = total + partial
        if whole < n:
            left = n - whole
            e = select(first_lanes(x, left), shifted_exp(load_tail(x, whole, left), shift), splat(zero))
            store_tail(y, whole, e, left)
            total = total + e
        return reduce_add(total)

    def handle(operands, bases, team):
        x, y = pointer(tensor(bases, operands, AT.x), dtype), pointer(tensor(bases, operands, AT.y), dtype)
        rows, n = operands[AT.rows], operands[AT.n]
        lanes, left = lanes_of(x), np.int64(LOOK_WORK)
        for row in range(rows):
            left = spend(left, 64 * n, team, bases)
            if left < 0:
                return
            px, py = offset(x, row * n), offset(y, row * n)
            total = splat(row_exp(px, py, n, row_max(px, n)))
            i = 0
            while i + lanes <= n:
                store(py, i, load(py, i) / total)
                i += lanes
            if i < n:
                store_tail(py, i, load_tail(py, i, n - i) / total, n - i)

    return handle


@handler("log_softmax", "float32", "float64")
def log_softmax(dtype: str) -> Any:
    """y = (x - max) - log(sum(exp(x - max))), row by row."""
    row_max, row_sum = make_row_max(dtype, _same), make_row_sum(dtype, make_shifted_exp(dtype))

    def handle(operands, bases, team):
        x, y = pointer(tensor(bases, operands, AT.x), dtype), pointer(tensor(bases, operands, AT.y), dtype)
        rows, n = operands[AT.rows], operands[AT.n]
        lanes, left = lanes_of(x), np.int64(LOOK_WORK)
        for row in range(rows):
            left = spend(left, 64 * n, team, bases)
            if left < 0:
                return
            px, py = offset(x, row * n), offset(y, row * n)
            top = row_max(px, n)
            shift, rest = splat(top), splat(math.log(row_sum(px, n, top)))
            i = 0
            while i + lanes <= n:
                store(py, i, load(px, i) - shift - rest)
                i += lanes
            if i < n:
                store_tail(py, i, load_tail(px, i, n - i) - shift - rest, n - i)

    return handle

"""Reductions of contiguous rows to one number each, positions of extremes, and running sums."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastgru.kernels.registry import handler, kernel, tensor
from fastgru.kernels.rows import make_row_max, make_row_sum
from fastgru.kernels.softmax import make_shifted_exp
from fastgru.simd.masks import first_true, same_or_nan, zeros_above
from fastgru.simd.memory import lanes_of, load, offset, pointer
from fastgru.simd.vector import splat, vec_abs

__all__ = ["reduce_extreme", "reduce_sum"]


@kernel
def _same(v, parameter):
    return v


@kernel
def _magnitude(v, parameter):
    return vec_abs(v)


@kernel
def _square(v, parameter):
    return v * v


@kernel
def _itself(v):
    return v


@kernel
def _negative(v):
    return -v


@handler("reduce_sum", "float32", "float64")
def reduce_sum(dtype: str) -> Any:
    """y = the sum, mean, product, L1 or L2 norm, sum of squares or logarithm of the sum of each row.

    Operands: x, y; rows, length of a row, code.
    """
    row_sum, row_magnitudes = make_row_sum(dtype, _same), make_row_sum(dtype, _magnitude)
    row_squares = make_row_sum(dtype, _square)
    number, zero = np.dtype(dtype).type, np.dtype(dtype).type(0)

    def handle(operands, bases, team):
        x, y = pointer(tensor(bases, operands, 0), dtype), pointer(tensor(bases, operands, 2), dtype)
        rows, n, kind = operands[4], operands[5], operands[6]
        for row in range(rows):
            p = offset(x, row * n)
            if kind == 2:
                y[row] = row_magnitudes(p, n, zero)
            elif kind == 3:
                y[row] = math.sqrt(row_squares(p, n, zero))
            elif kind == 4:
                y[row] = row_squares(p, n, zero)
            elif kind == 6:
                product = np.float64(1)
                for i in range(n):
                    product *= p[i]
                y[row] = product
            else:
                total = row_sum(p, n, zero)
                if kind == 1:
                    total /= number(n)
                elif kind == 5:
                    total = math.log(total)
                y[row] = total

    return handle


@handler("reduce_extreme", "float32", "float64")
def reduce_extreme(dtype: str) -> Any:
    """y = the largest or smallest element of each row, or the logarithm of the sum of its exponentials.

    Operands: x, y; rows, length of a row, code.
    """
    row_max, row_min = make_row_max(dtype, _itself), make_row_max(dtype, _negative)
    row_exp = make_row_sum(dtype, make_shifted_exp(dtype))
    infinity = np.dtype(dtype).type(np.inf)

    def handle(operands, bases, team):
        x, y = pointer(tensor(bases, operands, 0), dtype), pointer(tensor(bases, operands, 2), dtype)
        rows, n, kind = operands[4], operands[5], operands[6]
        for row in range(rows):
            p = offset(x, row * n)
            if kind == 1:
                y[row] = -row_min(p, n)
            else:
                top = row_max(p, n)
                if kind == 2 and abs(top) < infinity:
                    top += math.log(row_exp(p, n, top))
                y[row] = top

    return handle


@handler("reduce", "int64")
def reduce_int64(dtype: str) -> Any:
    """y = each row of integers reduced; sums and products wrap around.

    Operands: x, y; rows, length of a row (at least 1), code.
    """

    def handle(operands, bases, team):
        x, y = pointer(tensor(bases, operands, 0), dtype), pointer(tensor(bases, operands, 2), dtype)
        rows, n, kind = operands[4], operands[5], operands[6]
        for row in range(rows):
            p = offset(x, row * n)
            value = p[0]
            if kind == 1:
                value = abs(value)
            elif kind == 2:
                value *= value
            for i in range(1, n):
                v = p[i]
                if kind == 0:
                    value += v
                elif kind == 1:
                    value += abs(v)
                elif kind == 2:
                    value += v * v
                elif kind == 3:
                    value *= v
                elif kind == 4:
                    value = max(value, v)
                else:
                    value = min(value, v)
            y[row] = value

    return handle


@handler("reduce", "bool")
def reduce_bool(dtype: str) -> Any:
    """y = whether any (0) or every (1) element of each row is True.

    Operands: x, y; rows, length of a row, code.
    """

    def handle(operands, bases, team):
        x, y = pointer(tensor(bases, operands, 0), dtype), pointer(tensor(bases, operands, 2), dtype)
        rows, n, kind = operands[4], operands[5], operands[6]
        for row in range(rows):
            p = offset(x, row * n)
            value = kind
            for i in range(n):
                if (p[i] != 0) != (kind != 0):
                    value = 1 - kind
                    break
            y[row] = value

    return handle


@kernel
def _first_equal(p, n, best):
    """The first i where p[i] == best, or is NaN where best is."""
    lanes, wanted = lanes_of(p), splat(best)
    for i in range(0, n // lanes * lanes, lanes):
        at = first_true(same_or_nan(load(p, i), wanted))
        if at < lanes:
            return i + at
    for i in range(n // lanes * lanes, n):
        if p[i] == best or (best != best and p[i] != p[i]):
            return i
    return 0


@kernel
def _last_equal(p, n, best):
    """The last i where p[i] == best, or is NaN where best is."""
    lanes, wanted = lanes_of(p), splat(best)
    for i in range(n - 1, n // lanes * lanes - 1, -1):
        if p[i] == best or (best != best and p[i] != p[i]):
            return i
    for i in range(n // lanes * lanes - lanes, -1, -lanes):
        above = zeros_above(same_or_nan(load(p, i), wanted))
        if above < 64:
            return i + 63 - above
    return 0


@handler("arg", "float32", "float64")
def arg(dtype: str) -> Any:
    """y = where in each row its largest (0) or smallest (1) element is; a NaN is found before any number.

    Operands: x, y; rows, length of a row (at least 1), code, last (of equals the last, not the first).
    """
    row_max, row_min = make_row_max(dtype, _itself), make_row_max(dtype, _negative)

    def handle(operands, bases, team):
        x, y = pointer(tensor(bases, operands, 0), dtype), pointer(tensor(bases, operands, 2), "int64")
        rows, n, smallest, last = operands[4], operands[5], operands[6] != 0, operands[7] != 0
        for row in range(rows):
            p = offset(x, row * n)
            best = -row_min(p, n) if smallest else row_max(p, n)
            y[row] = _last_equal(p, n, best) if last else _first_equal(p, n, best)

    return handle


@handler("arg", "int64")
def arg_int64(dtype: str) -> Any:
    """y = where in each row its largest (0) or smallest (1) element is.

    Operands: x, y; rows, length of a row (at least 1), code, last (of equals the last, not the first).
    """

    def handle(operands, bases, team):
        x, y = pointer(tensor(bases, operands, 0), dtype), pointer(tensor(bases, operands, 2), dtype)
        rows, n, smallest, last = operands[4], operands[5], operands[6] != 0, operands[7] != 0
        for row in range(rows):
            p = offset(x, row * n)
            where = 0
            for i in range(1, n):
                further = p[i] < p[where] if smallest else p[i] > p[where]
                if further or (last and p[i] == p[where]):
                    where = i
            y[row] = where

    return handle


@handler("cumsum", "float32", "float64", "int64")
def cumsum(dtype: str) -> Any:
    """y = the running sum or product of each row, kept in 64 bits.

    Operands: x, y; rows, length of a row, exclusive (without the element itself), reverse (from the end), product.
    """
    wide = np.int64 if dtype == "int64" else np.float64
    zero, one = wide(0), wide(1)

    def handle(operands, bases, team):
        x, y = pointer(tensor(bases, operands, 0), dtype), pointer(tensor(bases, operands, 2), dtype)
        rows, n, exclusive, reverse = operands[4], operands[5], operands[6] != 0, operands[7] != 0
        product = operands[8] != 0
        for row in range(rows):
            px, py = offset(x, row * n), offset(y, row * n)
            total = one if product else zero
            for j in range(n):
                i = n - 1 - j if reverse else j
                before = total
                total = total * px[i] if product else total + px[i]
                py[i] = before if exclusive else total

    return handle

"""Reductions of each contiguous row to one number, positions of extremes, and running sums."""

import math
from typing import Any

import numpy as np

from fastgru.kernels.operands.reduce import ARG, CUMSUM, EXTREMES, INTEGER, REDUCE, SUMS
from fastgru.kernels.operands.team import LOOK_WORK
from fastgru.kernels.registry import handler, kernel, tensor
from fastgru.kernels.rows import make_row_max, make_row_sum
from fastgru.kernels.softmax import make_shifted_exp
from fastgru.kernels.team import spend
from fastgru.simd.masks import first_true, same_or_nan, zeros_above
from fastgru.simd.memory import lanes_of, load, offset, pointer
from fastgru.simd.vector import splat, vec_abs

__all__ = ["reduce_extreme", "reduce_sum"]

AT, FIND, RUN = REDUCE.at, ARG.at, CUMSUM.at


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
    """y = the sum, mean, product, L1 or L2 norm, sum of squares or logarithm of the sum of each row."""
    row_sum, row_magnitudes = make_row_sum(dtype, _same), make_row_sum(dtype, _magnitude)
    row_squares = make_row_sum(dtype, _square)
    number, zero = np.dtype(dtype).type, np.dtype(dtype).type(0)

    def handle(operands, bases, team):
        x, y = pointer(tensor(bases, operands, AT.x), dtype), pointer(tensor(bases, operands, AT.y), dtype)
        rows, n, code = operands[AT.rows], operands[AT.n], operands[AT.code]
        left = np.int64(LOOK_WORK)
        for row in range(rows):
            left = spend(left, 32 * n, team, bases)
            if left < 0:
                return
            p = offset(x, row * n)
            if code == SUMS.l1:
                y[row] = row_magnitudes(p, n, zero)
            elif code == SUMS.l2:
                y[row] = math.sqrt(row_squares(p, n, zero))
            elif code == SUMS.sum_square:
                y[row] = row_squares(p, n, zero)
            elif code == SUMS.prod:
                product = np.float64(1)
                for i in range(n):
                    product *= p[i]
                y[row] = product
            else:
                total = row_sum(p, n, zero)
                if code == SUMS.mean:
                    total /= number(n)
                elif code == SUMS.log_sum:
                    total = math.log(total)
                y[row] = total

    return handle


@handler("reduce_extreme", "float32", "float64")
def reduce_extreme(dtype: str) -> Any:
    """y = the largest or smallest element of each row, or the logarithm of the sum of its exponentials."""
    row_max, row_min = make_row_max(dtype, _itself), make_row_max(dtype, _negative)
    row_exp = make_row_sum(dtype, make_shifted_exp(dtype))
    infinity = np.dtype(dtype).type(np.inf)

    def handle(operands, bases, team):
        x, y = pointer(tensor(bases, operands, AT.x), dtype), pointer(tensor(bases, operands, AT.y), dtype)
        rows, n, code = operands[AT.rows], operands[AT.n], operands[AT.code]
        left = np.int64(LOOK_WORK)
        for row in range(rows):
            left = spend(left, 32 * n, team, bases)
            if left < 0:
                return
            p = offset(x, row * n)
            if code == EXTREMES.min:
                y[row] = -row_min(p, n)
            else:
                top = row_max(p, n)
                if code == EXTREMES.log_sum_exp and abs(top) < infinity:
                    top += math.log(row_exp(p, n, top))
                y[row] = top

    return handle


@handler("reduce", "int64")
def reduce_int64(dtype: str) -> Any:
    """y = the reduction of each row of integers; sums and products wrap around."""

    def handle(operands, bases, team):
        x, y = pointer(tensor(bases, operands, AT.x), dtype), pointer(tensor(bases, operands, AT.y), dtype)
        rows, n, code = operands[AT.rows], operands[AT.n], operands[AT.code]
        left = np.int64(LOOK_WORK)
        for row in range(rows):
            left = spend(left, 32 * n, team, bases)
            if left < 0:
                return
            p = offset(x, row * n)
            value = p[0]
            if code == INTEGER.l1:
                value = abs(value)
            elif code == INTEGER.sum_square:
                value *= value
            for i in range(1, n):
                v = p[i]
                if code == INTEGER.sum:
                    value += v
                elif code == INTEGER.l1:
                    value += abs(v)
                elif code == INTEGER.sum_square:
                    value += v * v
                elif code == INTEGER.prod:
                    value *= v
                elif code == INTEGER.max:
                    value = max(value, v)
                else:
                    value = min(value, v)
            y[row] = value

    return handle


@handler("reduce", "bool")
def reduce_bool(dtype: str) -> Any:
    """y = whether any (0) or every (1) element of each row is True."""

    def handle(operands, bases, team):
        x, y = pointer(tensor(bases, operands, AT.x), dtype), pointer(tensor(bases, operands, AT.y), dtype)
        rows, n, every = operands[AT.rows], operands[AT.n], operands[AT.code]
        left = np.int64(LOOK_WORK)
        for row in range(rows):
            left = spend(left, 32 * n, team, bases)
            if left < 0:
                return
            p = offset(x, row * n)
            value = every
            for i in range(n):
                if (p[i] != 0) != (every != 0):
                    value = 1 - every
                    break
            y[row] = value

    return handle


@kernel
def _first_equal(p, n, best):
    """Return the first i with p[i] == best, or with p[i] NaN if best is NaN."""
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
    """Return the last i with p[i] == best, or with p[i] NaN if best is NaN."""
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
    """y = the position in each row of its largest (0) or smallest (1) element; NaN comes before every number."""
    row_max, row_min = make_row_max(dtype, _itself), make_row_max(dtype, _negative)

    def handle(operands, bases, team):
        x, y = pointer(tensor(bases, operands, FIND.x), dtype), pointer(tensor(bases, operands, FIND.y), "int64")
        rows, n = operands[FIND.rows], operands[FIND.n]
        smallest, last = operands[FIND.smallest] != 0, operands[FIND.last] != 0
        left = np.int64(LOOK_WORK)
        for row in range(rows):
            left = spend(left, 32 * n, team, bases)
            if left < 0:
                return
            p = offset(x, row * n)
            best = -row_min(p, n) if smallest else row_max(p, n)
            y[row] = _last_equal(p, n, best) if last else _first_equal(p, n, best)

    return handle


@handler("arg", "int64")
def arg_int64(dtype: str) -> Any:
    """y = the position in each row of its largest (0) or smallest (1) element."""

    def handle(operands, bases, team):
        x, y = pointer(tensor(bases, operands, FIND.x), dtype), pointer(tensor(bases, operands, FIND.y), dtype)
        rows, n = operands[FIND.rows], operands[FIND.n]
        smallest, last = operands[FIND.smallest] != 0, operands[FIND.last] != 0
        left = np.int64(LOOK_WORK)
        for row in range(rows):
            left = spend(left, 32 * n, team, bases)
            if left < 0:
                return
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
    """y = the running sum or product of each row, accumulated in 64 bits."""
    wide = np.int64 if dtype == "int64" else np.float64
    zero, one = wide(0), wide(1)

    def handle(operands, bases, team):
        x, y = (
            pointer(tensor(bases, operands, RUN.x), dtype),
            pointer(tensor(bases, operands, RUN.y), dtype),
        )
        rows, n, product = operands[RUN.rows], operands[RUN.n], operands[RUN.product] != 0
        exclusive, reverse = operands[RUN.exclusive] != 0, operands[RUN.reverse] != 0
        left = np.int64(LOOK_WORK)
        for row in range(rows):
            left = spend(left, 32 * n, team, bases)
            if left < 0:
                return
            px, py = offset(x, row * n), offset(y, row * n)
            total = one if product else zero
            for j in range(n):
                i = n - 1 - j if reverse else j
                before = total
                total = total * px[i] if product else total + px[i]
                py[i] = before if exclusive else total

    return handle

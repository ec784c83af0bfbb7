"""Learning: GEMMs, losses, sums, and a step of Adam, which are used together with the layers of `kernels.learn_gru`.

Python calls each function with the address of its words and a range of rows or columns, so that threads can share the
work. A number is summed in the same order whatever the range, so the bits do not depend on the number of threads.
Nothing is allocated here.
"""

from typing import Any

import numpy as np
from numba.core import types

from fastgru.kernels.gemm import BLOCK, TILES, panel_width
from fastgru.kernels.operands.learn import ADAM, ENTROPY, GEMM, SUMS
from fastgru.kernels.registry import called_by_python, microkernel
from fastgru.simd.control import RUNNING, exchange_mode
from fastgru.simd.math import exp
from fastgru.simd.memory import broadcast, call_native, lanes_of, load, offset, pointer, store
from fastgru.simd.stridedtile import make_strided_tiles
from fastgru.simd.vector import fma, maximum, reduce_add, reduce_max, splat, vec_sqrt

__all__ = ["DTYPES"]

DTYPES = ("float32", "float64")


def _strided_signature(dtype: str) -> Any:
    p, i = types.CPointer(getattr(types, dtype)), types.int64
    return (p, i, i, p, i, i, i, p, i, i, p, i), types.void


@microkernel("gemm_strided", *DTYPES, signature=_strided_signature)
def gemm_strided(dtype: str) -> Any:
    """out = start + a b for matrices with any strides; blocks of k are summed from zero and then added."""
    wide, pair, single = (make_strided_tiles(TILES[vectors], vectors) for vectors in (4, 2, 1))
    most = TILES[4][-1]

    def multiply(a, a_row, a_k, b, b_k, K, columns, start, start_row, rows, out, out_row):
        lanes = lanes_of(out)
        vectors, done = columns // lanes, 0
        while done == 0 or done < K:
            some = min(K - done, BLOCK)
            v, panel = 0, b
            while v < vectors:
                width, u = panel_width(vectors - v), v * lanes
                m, tiles = 0, (rows + most - 1) // most
                while m < rows:
                    left = rows - m
                    where, target = offset(a, m * a_row), offset(out, m * out_row + u)
                    first = offset(start, m * start_row + u)
                    if width == 4:
                        m += wide(left // tiles, where, a_row, a_k, panel, b_k, some, first, start_row, target, out_row)
                        tiles -= 1
                    elif width == 2:
                        left = 4 if left == 8 else left
                        m += pair(left, where, a_row, a_k, panel, b_k, some, first, start_row, target, out_row)
                    else:
                        left = 4 if left == 8 else left
                        m += single(left, where, a_row, a_k, panel, b_k, some, first, start_row, target, out_row)
                v += width
                panel = offset(panel, width * lanes)
            a, b, start, start_row = offset(a, some * a_k), offset(b, some * b_k), out, out_row
            done += BLOCK

    return multiply


def _gemm(dtype: str) -> Any:
    """Return the function for rows `first` to `last` - 1 of a GEMM."""

    def run(at, first, last):
        words, mode = pointer(at, "int64"), exchange_mode(RUNNING)
        a, b = pointer(words[GEMM.a], dtype), pointer(words[GEMM.b], dtype)
        start, out = pointer(words[GEMM.start], dtype), pointer(words[GEMM.out], dtype)
        call_native(
            words[GEMM.gemm],
            offset(a, first * words[GEMM.a_row]), words[GEMM.a_row], words[GEMM.a_k],
            b, words[GEMM.b_k], words[GEMM.K], words[GEMM.columns],
            offset(start, first * words[GEMM.start_row]), words[GEMM.start_row], last - first,
            offset(out, first * words[GEMM.out_row]), words[GEMM.out_row],
        )  # fmt: skip
        exchange_mode(mode)
        return 0

    return run


def _entropy(dtype: str) -> Any:
    """Return the function for rows `first` to `last` - 1 of a cross entropy.

    It replaces logits by their gradient, and writes the terms of the loss: log(totals) - rights for each row.
    """
    zero_value = np.dtype(dtype).type(0)

    def run(at, first, last):
        words, mode = pointer(at, "int64"), exchange_mode(RUNNING)
        totals, rights = pointer(words[ENTROPY.totals], dtype), pointer(words[ENTROPY.rights], dtype)
        targets, columns = pointer(words[ENTROPY.targets], "int64"), words[ENTROPY.columns]
        scale, lanes = pointer(words[ENTROPY.scale], dtype)[0], lanes_of(totals)
        for m in range(first, last):
            y = offset(pointer(words[ENTROPY.logits], dtype), m * columns)
            high, total = load(y, 0), splat(zero_value)
            for c in range(lanes, columns, lanes):
                high = maximum(high, load(y, c))
            most = reduce_max(high)
            high = splat(most)
            rights[m] = y[max(targets[m], 0)] - most
            for c in range(0, columns, lanes):
                e = exp(load(y, c) - high)
                store(y, c, e)
                total = total + e
            totals[m] = reduce_add(total)
            counts = targets[m] >= 0
            factor = splat(scale / totals[m] if counts else zero_value)
            for c in range(0, columns, lanes):
                store(y, c, load(y, c) * factor)
            if counts:
                y[targets[m]] -= scale
        exchange_mode(mode)
        return 0

    return run


def _sums(dtype: str) -> Any:
    """Return the function that sums vectors `first` to `last` - 1 of the columns over rows, by id if there are ids."""

    def run(at, first, last):
        words, mode = pointer(at, "int64"), exchange_mode(RUNNING)
        source, out = pointer(words[SUMS.source], dtype), pointer(words[SUMS.out], dtype)
        lanes = lanes_of(out)
        for m in range(words[SUMS.rows]):
            x, y = offset(source, m * words[SUMS.row]), out
            if words[SUMS.ids] != 0:
                y = offset(out, pointer(words[SUMS.ids], "int64")[m] * words[SUMS.out_row])
            for v in range(first, last):
                store(y, v * lanes, load(y, v * lanes) + load(x, v * lanes))
        exchange_mode(mode)
        return 0

    return run


def _adam(dtype: str) -> Any:
    """Return the function for vectors `first` to `last` - 1 of the weights."""

    def run(at, first, last):
        words, mode = pointer(at, "int64"), exchange_mode(RUNNING)
        w, g = pointer(words[ADAM.weights], dtype), pointer(words[ADAM.gradient], dtype)
        mean, square = pointer(words[ADAM.mean], dtype), pointer(words[ADAM.square], dtype)
        numbers = pointer(words[ADAM.numbers], dtype)
        keep, keep_square = broadcast(numbers, 0), broadcast(numbers, 1)
        rest, rest_square = broadcast(numbers, 2), broadcast(numbers, 3)
        rate, unbiased, epsilon = broadcast(numbers, 4), broadcast(numbers, 5), broadcast(numbers, 6)
        decay, scale, coupled = broadcast(numbers, 7), broadcast(numbers, 8), broadcast(numbers, 9)
        for vector in range(first, last):
            i = vector * lanes_of(w)
            value = load(w, i)
            d = fma(coupled, value, load(g, i) * scale)
            m = fma(keep, load(mean, i), rest * d)
            v = fma(keep_square, load(square, i), rest_square * d * d)
            store(mean, i, m)
            store(square, i, v)
            store(w, i, value * decay - rate * m / (vec_sqrt(v * unbiased) + epsilon))
        exchange_mode(mode)
        return 0

    return run


for _dtype in DTYPES:
    for _name, _make in (
        ("learn_gemm", _gemm), ("learn_entropy", _entropy), ("learn_sums", _sums), ("learn_adam", _adam),
    ):  # fmt: skip
        called_by_python(f"{_name}_{_dtype}", "iii")(_make(_dtype))

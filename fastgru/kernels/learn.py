"""Learning: a GRU forward with its gates kept, back through time, and what stands around it.

Each is called by Python with the address of its words and a range, by which threads share the work: rows of a batch
going through time, rows or columns of an output elsewhere. A number is a sum in one order whatever the range: the bits
do not depend on how many threads there are. Nothing is allocated here.
"""

from typing import Any

import numpy as np
from numba.core import types

from fastgru.kernels.gemm import BLOCK, TILES, panel_width
from fastgru.kernels.operands.learn import ADAM, ENTROPY, GEMM, GRU_STEPS, HIDDEN, RESET, SUMS
from fastgru.kernels.registry import called_by_python, kernel, microkernel
from fastgru.simd.control import RUNNING, exchange_mode
from fastgru.simd.math import exp, sigmoid, tanh
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
    """out = start + a b for rows of a at any strides; blocks of k are summed from zero and then added."""
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
    """Rows `first` to `last` - 1 of a GEMM."""

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


@kernel
def _flag(words, t, n):
    flags = words[GRU_STEPS.flags]
    return 0 if flags == 0 else np.int64(pointer(flags, "uint8")[t * words[GRU_STEPS.N] + n])


@kernel
def _gru_rows(words, t, n):
    """(where row n of step t begins among the states, and among what is kept)."""
    at = (t * words[GRU_STEPS.N] + n) * words[GRU_STEPS.padded]
    return at, 4 * at


def _gru_ahead(dtype: str) -> Any:
    """Rows `first` to `last` - 1 forward through the steps."""
    zero_value, one_value = np.dtype(dtype).type(0), np.dtype(dtype).type(1)

    def run(at, first, last):
        words, mode = pointer(at, "int64"), exchange_mode(RUNNING)
        padded, H, rows, after = words[GRU_STEPS.padded], words[GRU_STEPS.H], last - first, words[GRU_STEPS.reset_after]
        kept, states = pointer(words[GRU_STEPS.kept], dtype), pointer(words[GRU_STEPS.states], dtype)
        before, bias = pointer(words[GRU_STEPS.before], dtype), pointer(words[GRU_STEPS.bias], dtype)
        ahead = pointer(words[GRU_STEPS.ahead], dtype)
        sums = offset(pointer(words[GRU_STEPS.sums], dtype), first * 3 * padded)
        lanes = lanes_of(kept)
        zero, one = splat(zero_value), splat(one_value)
        for t in range(words[GRU_STEPS.first], words[GRU_STEPS.last]):
            from_state, _ = _gru_rows(words, t, first)
            h = offset(before, from_state)
            if words[GRU_STEPS.before] != words[GRU_STEPS.states]:
                for n in range(rows):
                    reset = (_flag(words, t, first + n) & RESET) != 0
                    for u in range(0, padded, lanes):
                        store(h, n * padded + u, zero if reset else load(states, from_state + n * padded + u))
            call_native(
                words[GRU_STEPS.gemm], h, padded, 1, ahead, 3 * padded, H,
                (3 if after != 0 else 2) * padded, bias, 0, rows, sums, 3 * padded,
            )  # fmt: skip
            for n in range(rows):
                _, at_kept = _gru_rows(words, t, first + n)
                g, s, own = offset(kept, at_kept), offset(sums, 3 * n * padded), offset(h, n * padded)
                x = g
                if words[GRU_STEPS.ids] != 0:
                    row = pointer(words[GRU_STEPS.ids], "int64")[t * words[GRU_STEPS.N] + first + n]
                    x = offset(pointer(words[GRU_STEPS.table], dtype), 3 * row * padded)
                target, _ = _gru_rows(words, t + 1, first + n)
                if (_flag(words, t, first + n) & HIDDEN) != 0:  # n = h and z = 1 hand all on, forward and back
                    for u in range(0, padded, lanes):
                        store(g, u, load(own, u))
                        store(g, padded + u, zero)
                        store(g, 2 * padded + u, one)
                        store(g, 3 * padded + u, zero)
                        store(states, target + u, load(own, u))
                    continue
                for u in range(0, padded, lanes):
                    r = sigmoid(load(x, padded + u) + load(s, u))
                    z = sigmoid(load(x, 2 * padded + u) + load(s, padded + u))
                    held = load(own, u)
                    store(g, padded + u, r)
                    store(g, 2 * padded + u, z)
                    if after != 0:
                        q = load(s, 2 * padded + u)
                        candidate = tanh(fma(r, q, load(x, u)))
                        store(g, 3 * padded + u, q)
                        store(g, u, candidate)
                        store(states, target + u, fma(z, held - candidate, candidate))
                    else:
                        store(g, 3 * padded + u, r * held)
                        store(g, u, load(x, u))
            if after == 0:
                from_kept = 4 * from_state
                q = offset(kept, from_kept + 3 * padded)
                call_native(
                    words[GRU_STEPS.gemm], q, 4 * padded, 1, offset(ahead, 2 * padded), 3 * padded, H, padded,
                    offset(bias, 2 * padded), 0, rows, offset(sums, 2 * padded), 3 * padded,
                )  # fmt: skip
                for n in range(rows):
                    if (_flag(words, t, first + n) & HIDDEN) != 0:
                        continue
                    _, at_kept = _gru_rows(words, t, first + n)
                    target, _ = _gru_rows(words, t + 1, first + n)
                    g, s, own = offset(kept, at_kept), offset(sums, (3 * n + 2) * padded), offset(h, n * padded)
                    for u in range(0, padded, lanes):
                        candidate = tanh(load(g, u) + load(s, u))
                        store(g, u, candidate)
                        store(states, target + u, fma(load(g, 2 * padded + u), load(own, u) - candidate, candidate))
        exchange_mode(mode)
        return 0

    return run


def _gru_back(dtype: str) -> Any:
    """Rows `first` to `last` - 1 back through the steps."""
    one_value, zero_value = np.dtype(dtype).type(1), np.dtype(dtype).type(0)

    def run(at, first, last):
        words, mode = pointer(at, "int64"), exchange_mode(RUNNING)
        padded, rows, after = words[GRU_STEPS.padded], last - first, words[GRU_STEPS.reset_after]
        kept, before = pointer(words[GRU_STEPS.kept], dtype), pointer(words[GRU_STEPS.before], dtype)
        back, zeros = pointer(words[GRU_STEPS.back], dtype), pointer(words[GRU_STEPS.zeros], dtype)
        carry = offset(pointer(words[GRU_STEPS.carry], dtype), first * padded)
        sums = offset(pointer(words[GRU_STEPS.sums], dtype), first * 3 * padded)
        up = pointer(words[GRU_STEPS.up], dtype)
        lanes = lanes_of(kept)
        zero, one = splat(zero_value), splat(one_value)
        for i in range(words[GRU_STEPS.last] - words[GRU_STEPS.first]):
            t = words[GRU_STEPS.last] - 1 - i
            from_state, from_kept = _gru_rows(words, t, first)
            for n in range(rows):
                g, h = offset(kept, from_kept + 4 * n * padded), offset(before, from_state + n * padded)
                dh, dy = (
                    offset(carry, n * padded),
                    offset(up, t * words[GRU_STEPS.up_step] + (first + n) * words[GRU_STEPS.up_row]),
                )
                for u in range(0, padded, lanes):
                    candidate, z = load(g, u), load(g, 2 * padded + u)
                    d = load(dh, u) + load(dy, u)
                    da_n = d * (one - z) * (one - candidate * candidate)
                    store(g, u, da_n)
                    store(g, 2 * padded + u, d * (load(h, u) - candidate) * z * (one - z))
                    store(dh, u, d * z)
                    if after != 0:
                        r, q = load(g, padded + u), load(g, 3 * padded + u)
                        store(g, padded + u, da_n * q * r * (one - r))
                        store(g, 3 * padded + u, da_n * r)
            if after != 0:
                call_native(
                    words[GRU_STEPS.gemm], offset(kept, from_kept + padded), 4 * padded, 1, back, padded,
                    3 * padded, padded, carry, padded, rows, carry, padded,
                )  # fmt: skip
            else:
                call_native(
                    words[GRU_STEPS.gemm], offset(kept, from_kept), 4 * padded, 1, offset(back, 2 * padded * padded),
                    padded, padded, padded, zeros, 0, rows, sums, 3 * padded,
                )  # fmt: skip
                for n in range(rows):
                    g, h = offset(kept, from_kept + 4 * n * padded), offset(before, from_state + n * padded)
                    dh, through = offset(carry, n * padded), offset(sums, 3 * n * padded)
                    for u in range(0, padded, lanes):
                        r, d = load(g, padded + u), load(through, u)
                        store(dh, u, fma(d, r, load(dh, u)))
                        store(g, padded + u, d * load(h, u) * r * (one - r))
                call_native(
                    words[GRU_STEPS.gemm], offset(kept, from_kept + padded), 4 * padded, 1, back, padded,
                    2 * padded, padded, carry, padded, rows, carry, padded,
                )  # fmt: skip
            if words[GRU_STEPS.before] != words[GRU_STEPS.states]:
                for n in range(rows):
                    if (_flag(words, t, first + n) & RESET) != 0:
                        for u in range(0, padded, lanes):
                            store(carry, n * padded + u, zero)
        exchange_mode(mode)
        return 0

    return run


def _entropy(dtype: str) -> Any:
    """Rows `first` to `last` - 1 of a cross entropy: slopes in the place of logits, and what its log is taken of."""
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
    """Vectors `first` to `last` - 1 of the columns, summed over the rows, of each id apart where there are ids."""

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
    """Vectors `first` to `last` - 1 of the weights."""

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
        ("learn_gemm", _gemm), ("learn_gru_ahead", _gru_ahead), ("learn_gru_back", _gru_back),
        ("learn_entropy", _entropy), ("learn_sums", _sums), ("learn_adam", _adam),
    ):  # fmt: skip
        called_by_python(f"{_name}_{_dtype}", "iii")(_make(_dtype))

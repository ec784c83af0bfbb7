"""Loops that measure the machine: chains of multiply-adds in registers, and reads of a buffer.

They are written with `fastgru.simd`, are small, and are compiled in the process that needs them without a cache.
"""

from collections.abc import Callable
from copy import copy
from typing import Any, Final

import numpy as np

from fastgru.kernels.registry import callable_kernel
from fastgru.packing.aligned import zeros
from fastgru.simd.amx import configure, make_block, release
from fastgru.simd.dot import BFLOAT16, INT8
from fastgru.simd.groups import BFLOAT16_GROUP, INT8_GROUP, INT8_SCALE, INT8_UNIT
from fastgru.simd.memory import lanes_of, load, offset, pointer
from fastgru.simd.target import AMX, LANES, REGISTERS
from fastgru.simd.tile import make_tiles
from fastgru.simd.vector import fma, reduce_add

__all__ = ["DOT_FLOPS", "DOT_GROWTH", "FMA_CHAINS", "READ_VECTORS", "dot_work", "fma_chains", "read_buffer"]

FMA_CHAINS = 12  # more than latency times ports, and few enough for 16 registers with their operands
READ_VECTORS = 8  # a buffer has a multiple of this number of vectors


@callable_kernel
def fma_chains(where, count):
    """Do `count` rounds of twelve independent multiply-adds, with two vectors of numbers near 1 from `where`."""
    p = pointer(where, "float32")
    x = load(p, 0)
    y = load(p, lanes_of(p))
    a = b = c = d = e = f = g = h = i = j = k = m = x
    for _ in range(count):
        a = fma(a, x, y)
        b = fma(b, x, y)
        c = fma(c, x, y)
        d = fma(d, x, y)
        e = fma(e, x, y)
        f = fma(f, x, y)
        g = fma(g, x, y)
        h = fma(h, x, y)
        i = fma(i, x, y)
        j = fma(j, x, y)
        k = fma(k, x, y)
        m = fma(m, x, y)
    return reduce_add(a + b + c + d + e + f + (g + h + i + j + k + m))


@callable_kernel
def read_buffer(where, elements, passes):
    """Read `elements` floats, a multiple of `READ_VECTORS` vectors, `passes` times, and add all vectors up."""
    p = pointer(where, "float32")
    lanes = lanes_of(p)
    a = b = c = d = e = f = g = h = load(p, 0)
    for _ in range(passes):
        for at in range(0, elements, 8 * lanes):
            q = offset(p, at)
            a = a + load(q, 0)
            b = b + load(q, lanes)
            c = c + load(q, 2 * lanes)
            d = d + load(q, 3 * lanes)
            e = e + load(q, 4 * lanes)
            f = f + load(q, 5 * lanes)
            g = g + load(q, 6 * lanes)
            h = h + load(q, 7 * lanes)
    return reduce_add(a + b + c + d + (e + f + g + h))


# A tile of accumulators with its factors, in registers. With AMX, rounds have 16 units and the factors lie in the L1.
_ROWS, _VECTORS, _ROUND, _ROUNDS = (32, 2, 16, 4) if AMX else (4, 4 if REGISTERS >= 32 else 2, 1, 256)
_WIDTH: Final = _VECTORS * LANES["float32"]
DOT_GROWTH: Final = {"bfloat16": _ROUND * BFLOAT16_GROUP, "int8": _ROUND * INT8_GROUP}
# Operations of one round, with a multiply-add counted as two.
DOT_FLOPS: Final = {precision: 2 * _ROWS * _WIDTH * each for precision, each in DOT_GROWTH.items()}


def _make_chains(form: Any) -> Any:
    """Make chains(x, w, start, out, count), which does `count` rounds with the same weights."""
    still = copy(form)
    still.w_unit = 0
    multiply = make_tiles(still, (_ROWS,), 1, _VECTORS, 1)

    @callable_kernel
    def chains(x_at, w_at, start_at, out_at, count):
        x, w, none = pointer(x_at, "uint8"), pointer(w_at, "uint8"), np.int64(0)
        start, out = pointer(start_at, "float32"), pointer(out_at, "float32")
        stride = _VECTORS * lanes_of(out)
        for k in range(0, count, _ROUNDS):
            units = min(_ROUNDS, count - k)
            multiply(_ROWS, x, none, w, none, units, start, none, start, out, stride)
            start = out
        return out[0]

    return chains


def _make_tile_chains(precision: str) -> Any:
    """Make the same with AMX. It reads the weights of some rounds repeatedly, and never overwrites sums it reads."""
    multiply = make_block(precision, 2, _VECTORS)

    @callable_kernel
    def chains(x_at, w_at, start_at, out_at, count):
        x, w, none, rows = pointer(x_at, "uint8"), pointer(w_at, "uint8"), np.int64(0), np.int64(_ROWS)
        start, out, start_stride = pointer(start_at, "float32"), pointer(out_at, "float32"), none
        stride = _VECTORS * lanes_of(out)
        other = offset(out, _ROWS * stride)
        configure(rows)
        for k in range(0, count, _ROUNDS):
            multiply(rows, x, none, w, min(_ROUNDS, count - k), start, start_stride, out, stride)
            start, start_stride, out, other = out, stride, other, out
        release()
        return start[0]

    return chains


_CHAINS: Final = {
    precision: _make_tile_chains(precision) if AMX else _make_chains(form)
    for precision, form in (("bfloat16", BFLOAT16), ("int8", INT8))
}


def dot_work(precision: str) -> Callable[[int], float]:
    """Return a function that does rounds of dot products of ones, as `kernels.lowp` does them.

    Each round adds `DOT_GROWTH` to the result. Rounds go through the units of a row: the compiler would
    compute the products of a single unit only once.
    """
    units, head = _ROUND * _ROUNDS, INT8_SCALE // 4 if precision == "int8" else 0
    x, w = zeros(1 + head + units, np.float32), zeros((2 + (units if AMX else 1)) * _WIDTH, np.float32)
    start, out = zeros(_WIDTH, np.float32), zeros(2 * _ROWS * _WIDTH, np.float32)
    x[0], w[_WIDTH : 2 * _WIDTH] = 1, 1
    if precision == "int8":
        x[head:].view(np.int8 if INT8_UNIT == INT8_GROUP else np.int16)[:] = 1
        w[2 * _WIDTH :].view(np.int8)[:] = 1
    else:
        for pairs in (x, w):
            pairs.view(np.uint16)[:] = 0x3F80
    arrays = x, w, start, out
    return lambda count: float(_CHAINS[precision](*(a.ctypes.data for a in arrays), count))

"""What the machine can do: chains of multiply-adds in registers, and reads of a buffer, over our vector vocabulary.

Compiled in the process that asks, not cached: two small loops.
"""

from __future__ import annotations

from fastgru.kernels.registry import callable_kernel
from fastgru.simd.memory import lanes_of, load, offset, pointer
from fastgru.simd.vector import fma, reduce_add

__all__ = ["FMA_CHAINS", "READ_VECTORS", "fma_chains", "read_buffer"]

FMA_CHAINS = 12  # more than latency times ports, and with their operands within 16 registers
READ_VECTORS = 8  # a pass over a buffer is a multiple of so many vectors


@callable_kernel
def fma_chains(where, count):
    """`count` rounds of twelve independent multiply-adds; two vectors of numbers near 1 lie at `where`."""
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
    """Read `elements` floats, a multiple of `READ_VECTORS` vectors, `passes` times; every vector is added up."""
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

"""Broadcasting: how an element-wise handler goes through operands of any strides, row after row.

A walk is a run of instruction words, written by `fastgru.engine.strides`:

    rows, axes, inner, the sizes of the `axes` outer axes, then for each operand its inner stride and its outer strides

Strides count elements and may be 0 or negative. The output is contiguous: row r of it starts at r * inner.
"""

from __future__ import annotations

from fastgru.kernels.registry import kernel
from fastgru.simd.memory import broadcast, load, load_tail, offset

__all__ = ["fetch", "fetch_tail", "inner_stride", "row_start"]


@kernel
def inner_stride(walk, k):
    """The stride of operand k within a row."""
    axes = walk[1]
    return walk[3 + axes + k * (axes + 1)]


@kernel
def row_start(walk, k, row):
    """Where row `row` of operand k starts."""
    axes = walk[1]
    strides = offset(walk, 4 + axes + k * (axes + 1))
    at = 0
    for i in range(axes - 1, -1, -1):
        size = walk[3 + i]
        rest = row // size
        at += (row - rest * size) * strides[i]
        row = rest
    return at


@kernel
def fetch(p, i, stride):
    """A vector from p[i], or p[0] in every lane where the stride is 0; no other stride."""
    if stride == 0:
        return broadcast(p, 0)
    return load(p, i)


@kernel
def fetch_tail(p, i, stride, count):
    """`fetch`, where only `count` elements are left."""
    if stride == 0:
        return broadcast(p, 0)
    return load_tail(p, i, count)

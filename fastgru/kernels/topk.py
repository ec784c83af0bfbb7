"""The best k elements of a row: a heap of positions with the worst on top, which is then sorted in place.

The order is total, because equal elements are ordered by position. The result does not depend on how the heap grew.
"""

from typing import Any

import numpy as np

from fastgru.kernels.operands.team import LOOK_WORK
from fastgru.kernels.operands.topk import TOPK
from fastgru.kernels.registry import handler, kernel, tensor
from fastgru.kernels.team import spend
from fastgru.simd.memory import offset, pointer

__all__ = ["topk"]

AT = TOPK.at


@kernel
def _before(x, step, a, b, smallest):
    """Return whether position a comes before position b in the result."""
    u, v = x[a * step], x[b * step]
    if u == v:
        return a < b
    if (u != u) or (v != v):
        if (u != u) and (v != v):
            return a < b
        return (v != v) if smallest else (u != u)
    return u < v if smallest else u > v


@kernel
def _sink(x, heap, step, size, smallest):
    """Move the position on top of the heap down to its place: every position is worse than its children."""
    at = 0
    moving = heap[0]
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and _before(x, step, heap[child * step], heap[(child + 1) * step], smallest):
            child += 1
        if not _before(x, step, moving, heap[child * step], smallest):
            break
        heap[at * step] = heap[child * step]
        at = child
    heap[at * step] = moving


@kernel
def _rise(x, heap, step, at, smallest):
    """Move the position at the end of the heap up to its place."""
    moving = heap[at * step]
    while at > 0:
        parent = (at - 1) // 2
        if not _before(x, step, heap[parent * step], moving, smallest):
            break
        heap[at * step] = heap[parent * step]
        at = parent
    heap[at * step] = moving


@handler("topk", "float32", "float64", "int64")
def topk(dtype: str) -> Any:
    """y = the k best elements along the middle axis, in order, and their positions."""

    def handle(operands, bases, team):
        x, y = pointer(tensor(bases, operands, AT.x), dtype), pointer(tensor(bases, operands, AT.y), dtype)
        where = pointer(tensor(bases, operands, AT.positions), "int64")
        outer, n, inner = operands[AT.outer], operands[AT.n], operands[AT.inner]
        k, smallest = operands[AT.k], operands[AT.smallest] != 0
        left = np.int64(LOOK_WORK)
        for row in range(outer * inner):
            left = spend(left, 64 * n, team, bases)
            if left < 0:
                return
            o = row // inner
            q = row - o * inner
            px, py = offset(x, o * n * inner + q), offset(y, o * k * inner + q)
            heap = offset(where, o * k * inner + q)
            for i in range(k):
                heap[i * inner] = i
                _rise(px, heap, inner, i, smallest)
            worst = px[heap[0] * inner]
            for i in range(k, n):
                v = px[i * inner]
                # A later equal element comes after, so only a strictly better one gets in; `_before` handles NaN.
                if v >= worst if smallest else v <= worst:
                    continue
                if _before(px, inner, i, heap[0], smallest):
                    heap[0] = i
                    _sink(px, heap, inner, k, smallest)
                    worst = px[heap[0] * inner]
            for size in range(k - 1, 0, -1):
                last = heap[size * inner]
                heap[size * inner] = heap[0]
                heap[0] = last
                _sink(px, heap, inner, size, smallest)
            for i in range(k):
                py[i * inner] = px[heap[i * inner] * inner]

    return handle

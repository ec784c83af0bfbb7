"""Moving elements without computing: strided copies and gathers. One handler an element width, not a dtype."""

from __future__ import annotations

from typing import Any

from fastgru.kernels.registry import INDEX_OUT_OF_RANGE, fail, handler, tensor
from fastgru.simd.memory import offset, pointer

__all__ = ["copy", "gather"]


@handler("copy", "int8", "int16", "int32", "int64")
def copy(dtype: str) -> Any:
    """target = source over six axes, any strides on both sides.

    Operands: source, target; shape (6), source strides (6), target strides (6), in elements.
    """

    def handle(operands, bases, team):
        source, target = pointer(tensor(bases, operands, 0), dtype), pointer(tensor(bases, operands, 2), dtype)
        n, s, t = offset(operands, 4), offset(operands, 10), offset(operands, 16)
        for a in range(n[0]):
            for b in range(n[1]):
                for c in range(n[2]):
                    for d in range(n[3]):
                        for e in range(n[4]):
                            p = offset(source, a * s[0] + b * s[1] + c * s[2] + d * s[3] + e * s[4])
                            q = offset(target, a * t[0] + b * t[1] + c * t[2] + d * t[3] + e * t[4])
                            if s[5] == 1 and t[5] == 1:
                                for f in range(n[5]):
                                    q[f] = p[f]
                            else:
                                for f in range(n[5]):
                                    q[f * t[5]] = p[f * s[5]]

    return handle


@handler("gather", "int64")
def gather(dtype: str) -> Any:
    """y[o, j] = x[o, ids[j]], blocks of `inner` bytes.

    Operands: x (outer, entries, inner), ids (count), y (outer, count, inner); outer, count, entries, inner bytes,
    wrap (a negative id counts from the end).
    """

    def handle(operands, bases, team):
        x, y = pointer(tensor(bases, operands, 0), "uint8"), pointer(tensor(bases, operands, 4), "uint8")
        ids = pointer(tensor(bases, operands, 2), "int64")
        outer, count, entries, inner, wrap = operands[6], operands[7], operands[8], operands[9], operands[10]
        for j in range(count):
            where = ids[j]
            if wrap != 0 and where < 0:
                where += entries
            if where < 0 or where >= entries:
                fail(bases, INDEX_OUT_OF_RANGE, ids[j], entries)
                return
            for o in range(outer):
                source = offset(x, (o * entries + where) * inner)
                target = offset(y, (o * count + j) * inner)
                for i in range(inner):
                    target[i] = source[i]

    return handle

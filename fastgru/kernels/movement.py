"""Moving elements without computing: strided copies, transposes, gathers. Each element width has a handler."""

from typing import Any, Final

import numpy as np

from fastgru.kernels.operands.movement import COPY, GATHER
from fastgru.kernels.operands.team import LOOK_WORK
from fastgru.kernels.registry import INDEX_OUT_OF_RANGE, fail, handler, kernel, tensor
from fastgru.kernels.rows import copy_row
from fastgru.kernels.team import spend
from fastgru.simd.memory import lanes_of, offset, pointer
from fastgru.simd.shuffle import transpose_tile

__all__ = ["copy", "gather", "transpose", "transpose_plane"]

AT, FROM = COPY.at, GATHER.at

_FLOATS: Final = {"int32": "float32", "int64": "float64"}  # vectors hold floats; moving keeps all bits


@kernel
def _plain_row(p, q, n):
    for i in range(n):
        q[i] = p[i]


@kernel
def _vector_row(p, q, n):
    lanes = lanes_of(p)
    if n < lanes:
        _plain_row(p, q, n)
    else:
        copy_row(p, q, n)


@handler("copy", "int8", "int16", "int32", "int64")
def copy(dtype: str) -> Any:
    """target = source over six axes, with any strides on both sides."""
    number = _FLOATS.get(dtype, dtype)
    row = _vector_row if dtype in _FLOATS else _plain_row

    def handle(operands, bases, team):
        source, target = (
            pointer(tensor(bases, operands, AT.source), number),
            pointer(tensor(bases, operands, AT.target), number),
        )
        n, s, t = offset(operands, AT.shape), offset(operands, AT.source_strides), offset(operands, AT.target_strides)
        left = np.int64(LOOK_WORK)
        for a in range(n[0]):
            for b in range(n[1]):
                for c in range(n[2]):
                    for d in range(n[3]):
                        for e in range(n[4]):
                            left = spend(left, 32 * n[5], team, bases)
                            if left < 0:
                                return
                            p = offset(source, a * s[0] + b * s[1] + c * s[2] + d * s[3] + e * s[4])
                            q = offset(target, a * t[0] + b * t[1] + c * t[2] + d * t[3] + e * t[4])
                            if s[5] == 1 and t[5] == 1:
                                row(p, q, n[5])
                            else:
                                for f in range(n[5]):
                                    q[f * t[5]] = p[f * s[5]]

    return handle


@kernel
def transpose_plane(p, q, rows, columns, apart, beyond):
    """q[r * beyond + c] = p[c * apart + r]; both sizes are at least 4."""
    lanes = lanes_of(p)
    wide = lanes > 4 and rows >= lanes and columns >= lanes
    size = lanes if wide else np.int64(4)
    r = np.int64(0)
    while r < rows:
        r = min(r, rows - size)  # the last tile overlaps the one before
        c = np.int64(0)
        while c < columns:
            c = min(c, columns - size)
            a, b = offset(p, c * apart + r), offset(q, r * beyond + c)
            if not wide:
                transpose_tile(a, apart, b, beyond, 4)
            elif lanes == 16:
                transpose_tile(a, apart, b, beyond, 16)
            else:
                transpose_tile(a, apart, b, beyond, 8)
            c += size
        r += size


@handler("transpose", "int32", "int64")
def transpose(dtype: str) -> Any:
    """target = source over six axes.

    Axis 4 is contiguous in the source, axis 5 in the target, and both have at least 4 elements.
    """
    number = _FLOATS[dtype]

    def handle(operands, bases, team):
        source, target = (
            pointer(tensor(bases, operands, AT.source), number),
            pointer(tensor(bases, operands, AT.target), number),
        )
        n, s, t = offset(operands, AT.shape), offset(operands, AT.source_strides), offset(operands, AT.target_strides)
        left = np.int64(LOOK_WORK)
        for a in range(n[0]):
            for b in range(n[1]):
                for c in range(n[2]):
                    for d in range(n[3]):
                        left = spend(left, 32 * n[4] * n[5], team, bases)
                        if left < 0:
                            return
                        p = offset(source, a * s[0] + b * s[1] + c * s[2] + d * s[3])
                        q = offset(target, a * t[0] + b * t[1] + c * t[2] + d * t[3])
                        transpose_plane(p, q, n[4], n[5], s[5], t[4])

    return handle


@handler("gather", "int64")
def gather(dtype: str) -> Any:
    """y[o, j] = x[o, ids[j]], as blocks of `inner` bytes."""

    def handle(operands, bases, team):
        x, y = (
            pointer(tensor(bases, operands, FROM.x), "uint8"),
            pointer(tensor(bases, operands, FROM.y), "uint8"),
        )
        ids = pointer(tensor(bases, operands, FROM.ids), "int64")
        outer, count, entries = operands[FROM.outer], operands[FROM.count], operands[FROM.entries]
        inner, wrap = operands[FROM.inner], operands[FROM.wrap]
        left = np.int64(LOOK_WORK)
        for j in range(count):
            left = spend(left, 8 * outer * inner, team, bases)
            if left < 0:
                return
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

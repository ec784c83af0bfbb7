"""Elements by position: gather_elements, the last valid step of each row, and a tensor filled with one number."""

from __future__ import annotations

from typing import Any

from fastgru.kernels.registry import INDEX_OUT_OF_RANGE, LENGTH_OUT_OF_RANGE, fail, handler, tensor
from fastgru.kernels.strides import inner_stride, row_start
from fastgru.simd.memory import offset, pointer

__all__ = ["fill", "gather_elements", "last"]


@handler("gather_elements", "int8", "int16", "int32", "int64")
def gather_elements(dtype: str) -> Any:
    """y[i, j, ...] = x[..., ids[i, j, ...], ...]: one handler an element width.

    Operands: x, ids, y; stride of the axis in x, size of the axis, then a walk over x (its stride of the axis being 0)
    and ids.
    """

    def handle(operands, bases, team):
        x, y = pointer(tensor(bases, operands, 0), dtype), pointer(tensor(bases, operands, 4), dtype)
        ids = pointer(tensor(bases, operands, 2), "int64")
        along, entries, walk = operands[6], operands[7], offset(operands, 8)
        rows, n = walk[0], walk[2]
        step_x, step_ids = inner_stride(walk, 0), inner_stride(walk, 1)
        for row in range(rows):
            px, pi = offset(x, row_start(walk, 0, row)), offset(ids, row_start(walk, 1, row))
            for i in range(n):
                where = pi[i * step_ids]
                if where < -entries or where >= entries:
                    fail(bases, INDEX_OUT_OF_RANGE, where, entries)
                    return
                if where < 0:
                    where += entries
                y[row * n + i] = px[i * step_x + where * along]

    return handle


@handler("last", "int64")
def last(dtype: str) -> Any:
    """y[n] = x[n, max(lengths[n] - 1, 0)], blocks of bytes.

    Operands: x, lengths (N), y (N, block); N, T, bytes of a block, bytes from row to row and from step to step in x.
    """

    def handle(operands, bases, team):
        x, y = pointer(tensor(bases, operands, 0), "uint8"), pointer(tensor(bases, operands, 4), "uint8")
        lengths = pointer(tensor(bases, operands, 2), dtype)
        N, T, size, x_n, x_t = operands[6], operands[7], operands[8], operands[9], operands[10]
        for n in range(N):
            length = lengths[n]
            if length < 0 or length > T:
                fail(bases, LENGTH_OUT_OF_RANGE, length, T)
                return
            source, target = offset(x, n * x_n + max(length - 1, 0) * x_t), offset(y, n * size)
            for i in range(size):
                target[i] = source[i]

    return handle


@handler("lengths", "int64")
def lengths(dtype: str) -> Any:
    """y = lengths, each of which must be within 0 to T: what others may change is read once.

    Operands: lengths (N), y (N); N, T.
    """

    def handle(operands, bases, team):
        x, y = pointer(tensor(bases, operands, 0), dtype), pointer(tensor(bases, operands, 2), dtype)
        T = operands[5]
        for n in range(operands[4]):
            length = x[n]
            y[n] = min(max(length, 0), T)
            if length < 0 or length > T:
                fail(bases, LENGTH_OUT_OF_RANGE, length, T)

    return handle


@handler("fill", "int8", "int16", "int32", "int64")
def fill(dtype: str) -> Any:
    """y = value everywhere: one handler an element width.

    Operands: value (one element), y; count.
    """

    def handle(operands, bases, team):
        value, y = pointer(tensor(bases, operands, 0), dtype), pointer(tensor(bases, operands, 2), dtype)
        v = value[0]
        for i in range(operands[4]):
            y[i] = v

    return handle

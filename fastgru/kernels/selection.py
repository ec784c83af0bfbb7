"""Blocks by tuples of positions, and rows of which the valid steps are turned round. Blocks are counted in bytes."""

from __future__ import annotations

from typing import Any

from fastgru.kernels.registry import INDEX_OUT_OF_RANGE, LENGTH_OUT_OF_RANGE, fail, handler, kernel, tensor
from fastgru.simd.memory import offset, pointer

__all__ = ["gather_nd", "reverse_sequence"]


@kernel
def _move(target, source, size):
    for i in range(size):
        target[i] = source[i]


@handler("gather_nd", "int64")
def gather_nd(dtype: str) -> Any:
    """y[b, j] = x[b, ids[b, j, 0], ids[b, j, 1], ...].

    Operands: x, ids (batches, count, depth), y (batches, count, block); batches, count, depth, bytes of a block, bytes
    from batch to batch in x, sizes of the axes (depth), their strides in bytes (depth).
    """

    def handle(operands, bases, team):
        x, y = pointer(tensor(bases, operands, 0), "uint8"), pointer(tensor(bases, operands, 4), "uint8")
        ids = pointer(tensor(bases, operands, 2), dtype)
        batches, count, depth, block, apart = operands[6], operands[7], operands[8], operands[9], operands[10]
        sizes, steps = offset(operands, 11), offset(operands, 11 + depth)
        for row in range(batches * count):
            at = row // count * apart
            for d in range(depth):
                given = ids[row * depth + d]
                where = given + sizes[d] if given < 0 else given
                if where < 0 or where >= sizes[d]:
                    fail(bases, INDEX_OUT_OF_RANGE, given, sizes[d])
                    return
                at += where * steps[d]
            _move(offset(y, row * block), offset(x, at), block)

    return handle


@handler("reverse_sequence", "int64")
def reverse_sequence(dtype: str) -> Any:
    """y[t, n] = x[lengths[n] - 1 - t, n] for t below lengths[n], else x[t, n].

    Operands: x, lengths (N), y as x; T, N, bytes of a block, bytes from step to step and from row to row.
    """

    def handle(operands, bases, team):
        x, y = pointer(tensor(bases, operands, 0), "uint8"), pointer(tensor(bases, operands, 4), "uint8")
        lengths = pointer(tensor(bases, operands, 2), dtype)
        T, N, block, x_t, x_n = operands[6], operands[7], operands[8], operands[9], operands[10]
        for n in range(N):
            length = lengths[n]
            if length < 0 or length > T:
                fail(bases, LENGTH_OUT_OF_RANGE, length, T)
                return
            for t in range(T):
                source = length - 1 - t if t < length else t
                _move(offset(y, t * x_t + n * x_n), offset(x, source * x_t + n * x_n), block)

    return handle

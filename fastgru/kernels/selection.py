"""Gathering blocks by tuples of positions, and reversing the valid steps of rows. Sizes of blocks are bytes."""

from typing import Any

import numpy as np

from fastgru.kernels.operands.selection import GATHER_ND, REVERSE_SEQUENCE
from fastgru.kernels.operands.team import LOOK_WORK
from fastgru.kernels.registry import INDEX_OUT_OF_RANGE, LENGTH_OUT_OF_RANGE, fail, handler, kernel, tensor
from fastgru.kernels.team import spend
from fastgru.simd.memory import offset, pointer

__all__ = ["gather_nd", "reverse_sequence"]


@kernel
def _move(target, source, size):
    for i in range(size):
        target[i] = source[i]


@handler("gather_nd", "int64")
def gather_nd(dtype: str) -> Any:
    """y[b, j] = x[b, ids[b, j, 0], ids[b, j, 1], ...]."""

    AT = GATHER_ND.at

    def handle(operands, bases, team):
        x, y = pointer(tensor(bases, operands, AT.x), "uint8"), pointer(tensor(bases, operands, AT.y), "uint8")
        ids = pointer(tensor(bases, operands, AT.ids), dtype)
        batches, count, depth = operands[AT.batches], operands[AT.count], operands[AT.depth]
        block, apart = operands[AT.block], operands[AT.apart]
        sizes, steps = offset(operands, AT.axes), offset(operands, AT.axes + depth)
        left = np.int64(LOOK_WORK)
        for row in range(batches * count):
            left = spend(left, 64 * depth + 8 * block, team, bases)
            if left < 0:
                return
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
    """y[t, n] = x[lengths[n] - 1 - t, n] for t below lengths[n], else x[t, n]."""

    AT = REVERSE_SEQUENCE.at

    def handle(operands, bases, team):
        x, y = pointer(tensor(bases, operands, AT.x), "uint8"), pointer(tensor(bases, operands, AT.y), "uint8")
        lengths = pointer(tensor(bases, operands, AT.lengths), dtype)
        T, N, block = operands[AT.T], operands[AT.N], operands[AT.block]
        x_t, x_n = operands[AT.x_t], operands[AT.x_n]
        left = np.int64(LOOK_WORK)
        for n in range(N):
            left = spend(left, T * (64 + 8 * block), team, bases)
            if left < 0:
                return
            length = lengths[n]
            if length < 0 or length > T:
                fail(bases, LENGTH_OUT_OF_RANGE, length, T)
                return
            for t in range(T):
                source = length - 1 - t if t < length else t
                _move(offset(y, t * x_t + n * x_n), offset(x, source * x_t + n * x_n), block)

    return handle

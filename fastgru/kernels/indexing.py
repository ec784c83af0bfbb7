"""Selection of elements by position: gather_elements, and the last valid step of each row."""

from typing import Any

import numpy as np

from fastgru.kernels.operands.indexing import GATHER_ELEMENTS, LAST, LENGTHS
from fastgru.kernels.operands.strides import NDITER
from fastgru.kernels.operands.team import LOOK_WORK
from fastgru.kernels.registry import INDEX_OUT_OF_RANGE, LENGTH_OUT_OF_RANGE, fail, handler, tensor
from fastgru.kernels.strides import inner_stride, row_start
from fastgru.kernels.team import spend
from fastgru.simd.memory import offset, pointer

__all__ = ["gather_elements", "last"]


@handler("gather_elements", "int8", "int16", "int32", "int64")
def gather_elements(dtype: str) -> Any:
    """y[i, j, ...] = x[..., ids[i, j, ...], ...]: one handler for each element width."""

    AT = GATHER_ELEMENTS.at
    NTH = GATHER_ELEMENTS.tensors.at

    def handle(operands, bases, team):
        x, y = pointer(tensor(bases, operands, AT.x), dtype), pointer(tensor(bases, operands, AT.y), dtype)
        ids = pointer(tensor(bases, operands, AT.ids), "int64")
        along, entries, nditer = operands[AT.along], operands[AT.entries], offset(operands, AT.nditer)
        rows, n = nditer[NDITER.rows], nditer[NDITER.inner]
        step_x, step_ids = inner_stride(nditer, NTH.x), inner_stride(nditer, NTH.ids)
        left = np.int64(LOOK_WORK)
        for row in range(rows):
            left = spend(left, 64 * n, team, bases)
            if left < 0:
                return
            px, pi = offset(x, row_start(nditer, NTH.x, row)), offset(ids, row_start(nditer, NTH.ids, row))
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
    """y[n] = x[n, max(lengths[n] - 1, 0)], as blocks of bytes."""

    AT = LAST.at

    def handle(operands, bases, team):
        x, y = pointer(tensor(bases, operands, AT.x), "uint8"), pointer(tensor(bases, operands, AT.y), "uint8")
        lengths = pointer(tensor(bases, operands, AT.lengths), dtype)
        N, T, size = operands[AT.N], operands[AT.T], operands[AT.block]
        x_n, x_t = operands[AT.x_n], operands[AT.x_t]
        left = np.int64(LOOK_WORK)
        for n in range(N):
            left = spend(left, 8 * size, team, bases)
            if left < 0:
                return
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
    """y = lengths, each of which must be between 0 and T. Other threads may change x, so it is read only here."""

    AT = LENGTHS.at

    def handle(operands, bases, team):
        x, y = pointer(tensor(bases, operands, AT.x), dtype), pointer(tensor(bases, operands, AT.y), dtype)
        T = operands[AT.T]
        for n in range(operands[AT.N]):
            length = x[n]
            y[n] = min(max(length, 0), T)
            if length < 0 or length > T:
                fail(bases, LENGTH_OUT_OF_RANGE, length, T)

    return handle

"""Writing elements and blocks to positions that are data."""

from typing import Any

import numpy as np

from fastgru.kernels.operands.scatter import REDUCTIONS, SCATTER_ELEMENTS, SCATTER_ND
from fastgru.kernels.operands.strides import NDITER
from fastgru.kernels.operands.team import LOOK_WORK
from fastgru.kernels.registry import INDEX_OUT_OF_RANGE, fail, handler, kernel, tensor
from fastgru.kernels.strides import inner_stride, row_start
from fastgru.kernels.team import spend
from fastgru.simd.memory import offset, pointer

__all__ = ["scatter_elements", "scatter_nd"]


@kernel
def _combine(code, old, new):
    """Combine two elements. For max and min, NaN on either side gives NaN."""
    if code == REDUCTIONS.add:
        return old + new
    if code == REDUCTIONS.mul:
        return old * new
    if code == REDUCTIONS.max:
        return old if old > new or old != old else new
    return old if old < new or old != old else new


def _make_scatter_nd(dtype: str, *, moves: bool) -> Any:
    AT = SCATTER_ND.at

    def handle(operands, bases, team):
        y, ids = pointer(tensor(bases, operands, AT.y), dtype), pointer(tensor(bases, operands, AT.ids), "int64")
        updates = pointer(tensor(bases, operands, AT.updates), dtype)
        count, inner, code, k = operands[AT.count], operands[AT.inner], operands[AT.code], operands[AT.k]
        left = np.int64(LOOK_WORK)
        for i in range(count):
            left = spend(left, 64 * k + 32 * inner, team, bases)
            if left < 0:
                return
            at = 0
            for j in range(k):
                where, size = ids[i * k + j], operands[AT.sizes + j]
                if where < -size or where >= size:
                    fail(bases, INDEX_OUT_OF_RANGE, where, size)
                    return
                at = at * size + (where + size if where < 0 else where)
            target, source = offset(y, at * inner), offset(updates, i * inner)
            if moves:
                for j in range(inner):
                    target[j] = source[j]
            else:
                for j in range(inner):
                    target[j] = _combine(code, target[j], source[j])

    return handle


def _make_scatter_elements(dtype: str, *, moves: bool) -> Any:
    AT = SCATTER_ELEMENTS.at
    NTH = SCATTER_ELEMENTS.tensors.at

    def handle(operands, bases, team):
        y, ids = pointer(tensor(bases, operands, AT.y), dtype), pointer(tensor(bases, operands, AT.ids), "int64")
        updates = pointer(tensor(bases, operands, AT.updates), dtype)
        along, entries, code = operands[AT.along], operands[AT.entries], operands[AT.code]
        nditer = offset(operands, AT.nditer)
        rows, n = nditer[NDITER.rows], nditer[NDITER.inner]
        step_y, step_ids, step_u = (
            inner_stride(nditer, NTH.y),
            inner_stride(nditer, NTH.ids),
            inner_stride(nditer, NTH.updates),
        )
        left = np.int64(LOOK_WORK)
        for row in range(rows):
            left = spend(left, 64 * n, team, bases)
            if left < 0:
                return
            py, pi = offset(y, row_start(nditer, NTH.y, row)), offset(ids, row_start(nditer, NTH.ids, row))
            pu = offset(updates, row_start(nditer, NTH.updates, row))
            for i in range(n):
                where = pi[i * step_ids]
                if where < -entries or where >= entries:
                    fail(bases, INDEX_OUT_OF_RANGE, where, entries)
                    return
                at = i * step_y + (where + entries if where < 0 else where) * along
                if moves:
                    py[at] = pu[i * step_u]
                else:
                    py[at] = _combine(code, py[at], pu[i * step_u])

    return handle


@handler("scatter_nd", "int8", "int16", "int32", "int64")
def scatter_nd(dtype: str) -> Any:
    """y[ids[i]] = updates[i], as blocks of `inner` elements; the last write wins. Each element width has a handler."""
    return _make_scatter_nd(dtype, moves=True)


@handler("scatter_nd_reduce", "float32", "float64", "int64")
def scatter_nd_reduce(dtype: str) -> Any:
    """y[ids[i]] = y[ids[i]] (op) updates[i]."""
    return _make_scatter_nd(dtype, moves=False)


@handler("scatter_elements", "int8", "int16", "int32", "int64")
def scatter_elements(dtype: str) -> Any:
    """y[..., ids[i, j, ...], ...] = updates[i, j, ...]: one handler for each element width."""
    return _make_scatter_elements(dtype, moves=True)


@handler("scatter_elements_reduce", "float32", "float64", "int64")
def scatter_elements_reduce(dtype: str) -> Any:
    """y[...] = y[...] (op) updates[...]."""
    return _make_scatter_elements(dtype, moves=False)

"""Products of two computed matrices: b is packed into panels at run time, and `kernels.linear` does the rest."""

from typing import Any

import numpy as np

from fastgru.kernels.gemm import panel_count, panel_width
from fastgru.kernels.linear import Affine, affine
from fastgru.kernels.operands.matmul import MATMUL, PACK_PANELS
from fastgru.kernels.operands.strides import NDITER
from fastgru.kernels.operands.team import LOOK_WORK
from fastgru.kernels.registry import BASES, handler, kernel, tensor
from fastgru.kernels.strides import row_start
from fastgru.kernels.team import spend
from fastgru.simd.memory import address, lanes_of, offset, pointer

__all__ = ["matmul", "pack_panels"]

AT, OF = MATMUL.at, PACK_PANELS.at


@kernel
def _pack(b, b_k, b_o, K, O, panels):
    """Pack b (K, O) with strides b_k, b_o into panels, and pad outputs with zeros."""
    lanes = lanes_of(panels)
    vectors = (O + lanes - 1) // lanes
    v = 0
    while v < vectors:
        width = panel_width(vectors - v)
        first, size = v * lanes, width * lanes
        panel = offset(panels, first * K)
        kept = min(size, O - first)
        for k in range(K):
            source, target = offset(b, k * b_k + first * b_o), offset(panel, k * size)
            for i in range(kept):
                target[i] = source[i * b_o]
            for i in range(kept, size):
                target[i] = 0
        v += width


@handler("pack_panels", "float32", "float64")
def pack_panels(dtype: str) -> Any:
    """Pack b once, before a loop in which `matmul` would pack it in every iteration."""

    def handle(operands, bases, team):
        b, panels = pointer(tensor(bases, operands, OF.b), dtype), pointer(tensor(bases, operands, OF.panels), dtype)
        K, O, nditer, left = operands[OF.K], operands[OF.O], offset(operands, OF.nditer), np.int64(LOOK_WORK)
        size = (O + lanes_of(b) - 1) // lanes_of(b) * lanes_of(b) * K
        for at in range(nditer[NDITER.rows]):
            _pack(
                offset(b, row_start(nditer, 0, at)), operands[OF.b_k], operands[OF.b_o], K, O, offset(panels, at * size)
            )
            left = spend(left, K * O, team, bases)
            if left < 0:
                return

    return handle


@handler("matmul", "float32", "float64", microkernels=("gemm_panel",))
def matmul(dtype: str) -> Any:
    """y = a b for stacks of matrices. A matrix b that is the same for consecutive matrices a is packed once."""

    def handle(operands, bases, team):
        a, b = pointer(tensor(bases, operands, AT.a), dtype), pointer(tensor(bases, operands, AT.b), dtype)
        y, zeros = pointer(tensor(bases, operands, AT.y), dtype), pointer(tensor(bases, operands, AT.zeros), dtype)
        edge = pointer(tensor(bases, operands, AT.edge), dtype)
        panels = pointer(tensor(bases, operands, AT.panels), dtype)
        M, K, O, nditer = operands[AT.M], operands[AT.K], operands[AT.O], offset(operands, AT.nditer)
        count = panel_count((O + lanes_of(a) - 1) // lanes_of(a))
        whole, packed, left = address(panels) == 0, -1, np.int64(LOOK_WORK)
        for at in range(nditer[NDITER.rows]):
            start = row_start(nditer, 1, at)
            if whole:
                panels = offset(b, start)
            elif start != packed:
                _pack(offset(b, start), operands[AT.b_k], operands[AT.b_o], K, O, panels)
                packed = start
            left = spend(left, M * K * O, team, bases)
            if left < 0:
                return
            layer = Affine(bases[BASES.gemm_panel], panels, K, K, O, 0, count, zeros, edge)
            affine(team, bases, layer, offset(a, row_start(nditer, 0, at)), operands[AT.a_m], M, offset(y, at * M * O))

    return handle

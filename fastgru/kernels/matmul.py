"""Products of matrices that are both computed: b is packed into panels on the way, the rest is `kernels.linear`'s."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastgru.kernels.gemm import panel_count, panel_width
from fastgru.kernels.linear import affine
from fastgru.kernels.operands.team import LOOK_WORK
from fastgru.kernels.registry import BASES, handler, kernel, tensor
from fastgru.kernels.strides import row_start
from fastgru.kernels.team import spend
from fastgru.simd.memory import lanes_of, offset, pointer

__all__ = ["matmul"]


@kernel
def _pack(b, b_k, b_o, K, O, panels):
    """b (K, O) at strides b_k, b_o into panels, outputs padded with zeros."""
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


@handler("matmul", "float32", "float64", microkernels=("gemm_panel",))
def matmul(dtype: str) -> Any:
    """y = a b for stacks of matrices; a matrix b that comes again for the next a is packed once.

    Operands: a, b, y, zeros (padded outputs), scratch of the edge, scratch of the panels; M, K, O, stride of the rows
    of a, strides of k and of the outputs in b, then a walk over the stacks a and b, in elements.
    """

    def handle(operands, bases, team):
        a, b = pointer(tensor(bases, operands, 0), dtype), pointer(tensor(bases, operands, 2), dtype)
        y, zeros = pointer(tensor(bases, operands, 4), dtype), pointer(tensor(bases, operands, 6), dtype)
        edge, panels = pointer(tensor(bases, operands, 8), dtype), pointer(tensor(bases, operands, 10), dtype)
        M, K, O, a_m, b_k, b_o = operands[12], operands[13], operands[14], operands[15], operands[16], operands[17]
        walk = offset(operands, 18)
        count = panel_count((O + lanes_of(a) - 1) // lanes_of(a))
        packed, left = -1, np.int64(LOOK_WORK)
        for at in range(walk[0]):
            start = row_start(walk, 1, at)
            if at == 0 or start != packed:
                _pack(offset(b, start), b_k, b_o, K, O, panels)
                packed = start
            rows = offset(a, row_start(walk, 0, at))
            left = spend(left, M * K * O, team, bases)
            if left < 0:
                return
            affine(
                team,
                bases,
                bases[BASES.gemm_panel],
                rows,
                a_m,
                M,
                panels,
                K,
                K,
                O,
                0,
                count,
                zeros,
                offset(y, at * M * O),
                edge,
            )

    return handle

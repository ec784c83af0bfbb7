"""y = x W^T + b: `kernels.gemm` panel by panel, straight into y where whole vectors fit."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastgru.kernels.gemm import panel_count, panel_first, panel_width
from fastgru.kernels.lowp import WEIGHTS
from fastgru.kernels.operands.linear import EDGE_ROWS
from fastgru.kernels.operands.team import LOOK_WORK, TEAM
from fastgru.kernels.registry import BASES, handler, kernel, tensor
from fastgru.kernels.team import share, spend
from fastgru.simd.memory import call_native, lanes_of, load, offset, pointer, store, store_tail

__all__ = ["affine"]


@kernel
def affine(team, bases, part, x, x_stride, rows, w, K, depth, O, begin, end, start, y, scratch):
    """Panels `begin` to `end` of y (rows, O) = start + x W^T; False where the run is over before that is done.

    `part` is the address of the part "gemm_panel" or of one of its like, `depth` the elements of w of an output.
    """
    lanes = lanes_of(y)
    vectors = (O + lanes - 1) // lanes
    left = np.int64(LOOK_WORK)
    for p in range(begin, end):
        v = panel_first(vectors, p)
        width = panel_width(vectors - v)
        first, size = v * lanes, width * lanes
        panel, bias, out = offset(w, first * depth), offset(start, first), offset(y, first)
        whole = first + size <= O
        most = (LOOK_WORK // (K * size + 1) // EDGE_ROWS + 1) * EDGE_ROWS if whole else EDGE_ROWS
        m = 0
        while m < rows:
            some = min(most, rows - m)
            source, target = offset(x, m * x_stride), offset(out, m * O)
            if whole:
                call_native(part, source, x_stride, some, panel, K, width, bias, 0, target, O)
            else:
                call_native(part, source, x_stride, some, panel, K, width, bias, 0, scratch, size)
                for i in range(some):
                    row = offset(target, i * O)
                    u = 0
                    while first + u + lanes <= O:
                        store(row, u, load(scratch, i * size + u))
                        u += lanes
                    if first + u < O:
                        store_tail(row, u, load(scratch, i * size + u), O - first - u)
            m += some
            left = spend(left, some * K * size, team, bases)
            if left < 0:
                return False
    return True


@handler("linear", "float32", "float64", microkernels=("gemm_panel",))
def linear(dtype: str) -> Any:
    """y = x W^T + b for rows of x that lie at one stride.

    Operands: x, weight (panels), start (bias, padded), y (rows, O), scratch; rows, K, O, x_stride, whether a team
    shares the panels.
    """

    def handle(operands, bases, team):
        x, w = pointer(tensor(bases, operands, 0), dtype), pointer(tensor(bases, operands, 2), dtype)
        start, y = pointer(tensor(bases, operands, 4), dtype), pointer(tensor(bases, operands, 6), dtype)
        scratch = pointer(tensor(bases, operands, 8), dtype)
        rows, K, O, x_stride = operands[10], operands[11], operands[12], operands[13]
        begin, end = 0, panel_count((O + lanes_of(x) - 1) // lanes_of(x))
        if operands[14] != 0:
            begin, end = share(end, team)
        affine(team, bases, bases[BASES.gemm_panel], x, x_stride, rows, w, K, K, O, begin, end, start, y, scratch)

    return handle


def _enter(precision: str) -> None:
    """The handler for weights of a precision."""
    weights = WEIGHTS[precision]
    depth_of, row_of = weights.depth, weights.row
    rows_at, panel_at = getattr(BASES, weights.parts[0]), getattr(BASES, weights.parts[1])

    def factory(dtype: str) -> Any:
        def handle(operands, bases, team):
            x, w = pointer(tensor(bases, operands, 0), dtype), pointer(tensor(bases, operands, 2), "uint8")
            start, y = pointer(tensor(bases, operands, 4), dtype), pointer(tensor(bases, operands, 6), dtype)
            scratch, ready = pointer(tensor(bases, operands, 8), dtype), pointer(tensor(bases, operands, 10), "uint8")
            rows, K, O, x_stride = operands[12], operands[13], operands[14], operands[15]
            block, depth, stride = operands[17], depth_of(operands[13]), row_of(operands[13])
            begin, end = 0, panel_count((O + lanes_of(x) - 1) // lanes_of(x))
            if operands[16] != 0:
                begin, end = share(end, team)
                ready = offset(ready, team[TEAM.number] * block * stride)
            m = 0
            while m < rows:
                some = min(block, rows - m)
                call_native(bases[rows_at], offset(x, m * x_stride), x_stride, some, K, ready, stride)
                if not affine(
                    team, bases, bases[panel_at], ready, stride, some, w, K, depth, O, begin, end, start,
                    offset(y, m * O), scratch,
                ):  # fmt: skip
                    return
                m += some

        return handle

    factory.__doc__ = f"""y = x W^T + b with weights in {precision}, the rows of x made ready a block at a time.

    Operands: as for "linear", the last tensor being room for the rows of each member; then the rows of a block.
    """
    handler(f"linear_{precision}", "float32", microkernels=weights.parts[:2])(factory)


_enter("bfloat16")
_enter("int8")

"""Products of bytes by a constant matrix of bytes: rows are copied as they stand, then tiles as in `kernels.lowp`.

A row holds a' = a for signed bytes and a' = a - 128 for unsigned ones, under the scale 1; the sums of a' w are exact,
and come out as floats: they are whole numbers that a float32 holds as long as none passes 2^24.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastgru.kernels.gemm import panel_count
from fastgru.kernels.linear import affine
from fastgru.kernels.lowp import WEIGHTS
from fastgru.kernels.operands.lowp import INT8_BIAS, INT8_GROUP, INT8_SCALE, INT8_UNIT
from fastgru.kernels.operands.team import TEAM
from fastgru.kernels.registry import BASES, handler, kernel, tensor
from fastgru.kernels.team import share
from fastgru.simd.memory import address, lanes_of, offset, pointer

__all__ = ["linear_bytes"]

_depth, _row = WEIGHTS["int8"].depth, WEIGHTS["int8"].row


def _make_ready(dtype: str) -> Any:
    one, middle = np.float32(1), 128 if dtype == "uint8" else 0
    move = np.int64(INT8_BIAS - middle)
    kind = "uint8" if INT8_UNIT == INT8_GROUP else "int16"

    @kernel
    def ready(x, x_stride, rows, K, out, out_stride):
        for m in range(rows):
            source, target = offset(x, m * x_stride), offset(out, m * out_stride)
            pointer(address(target), "float32")[0] = one
            values = pointer(address(target) + INT8_SCALE, kind)
            for i in range(K):
                values[i] = source[i] + move

    return ready


@handler("linear_bytes", "int8", "uint8", microkernels=("int8_panel",))
def linear_bytes(dtype: str) -> Any:
    """y = a' W^T, in float32.

    Operands: as for "linear_int8" (`kernels.linear`), x being bytes.
    """
    ready_rows = _make_ready(dtype)

    def handle(operands, bases, team):
        x, w = pointer(tensor(bases, operands, 0), dtype), pointer(tensor(bases, operands, 2), "uint8")
        start, y = pointer(tensor(bases, operands, 4), "float32"), pointer(tensor(bases, operands, 6), "float32")
        scratch, ready = pointer(tensor(bases, operands, 8), "float32"), pointer(tensor(bases, operands, 10), "uint8")
        rows, K, O, x_stride = operands[12], operands[13], operands[14], operands[15]
        block, depth, stride = operands[17], _depth(operands[13]), _row(operands[13])
        begin, end = 0, panel_count((O + lanes_of(y) - 1) // lanes_of(y))
        if operands[16] != 0:
            begin, end = share(end, team)
            ready = offset(ready, team[TEAM.number] * block * stride)
        m = 0
        while m < rows:
            some = min(block, rows - m)
            ready_rows(offset(x, m * x_stride), x_stride, some, K, ready, stride)
            if not affine(
                team, bases, bases[BASES.int8_panel], ready, stride, some, w, K, depth, O, begin, end, start,
                offset(y, m * O), scratch,
            ):  # fmt: skip
                return
            m += some

    return handle

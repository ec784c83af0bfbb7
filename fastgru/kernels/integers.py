"""GEMM of bytes with a constant matrix of bytes: rows are copied without scaling, then multiplied as in `kernels.lowp`.

A row holds a' = a for signed bytes and a' = a - 128 for unsigned ones, with the scale 1. The sums of a' w are exact
whole numbers, and are exact as float32 as long as none exceeds 2^24.
"""

from typing import Any

import numpy as np

from fastgru.kernels.linear import make_lowp_linear
from fastgru.kernels.operands.lowp import INT8_BIAS, INT8_GROUP, INT8_SCALE, INT8_UNIT, LOWP
from fastgru.kernels.registry import handler, kernel
from fastgru.simd.memory import address, offset, pointer

__all__ = ["linear_bytes"]


@handler("linear_bytes", "int8", "uint8", microkernels=("int8_panel",), uses=LOWP["int8"].uses)
def linear_bytes(dtype: str) -> Any:
    """y = a' W^T, in float32. The operands are those of "linear_int8", but x holds bytes."""
    one, middle = np.float32(1), 128 if dtype == "uint8" else 0
    move = np.int64(INT8_BIAS - middle)
    kind = "uint8" if INT8_UNIT == INT8_GROUP else "int16"

    @kernel
    def quantise(bases, x, x_stride, rows, K, out, out_stride):
        for m in range(rows):
            source, target = offset(x, m * x_stride), offset(out, m * out_stride)
            pointer(address(target), "float32")[0] = one
            values = pointer(address(target) + INT8_SCALE, kind)
            for i in range(K):
                values[i] = source[i] + move

    return make_lowp_linear(dtype, "int8", quantise)

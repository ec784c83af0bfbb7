"""Layer normalisation over contiguous rows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastgru.kernels.registry import handler, kernel, tensor
from fastgru.kernels.rows import make_row_sum
from fastgru.simd.memory import lanes_of, load, load_tail, offset, pointer, store, store_tail
from fastgru.simd.vector import splat

__all__ = ["layer_norm"]


@kernel
def _same(v, parameter):
    return v


@kernel
def _centred_square(v, mean):
    d = v - splat(mean)
    return d * d


@handler("layer_norm", "float32", "float64")
def layer_norm(dtype: str) -> Any:
    """y = (x - mean) / sqrt(var + epsilon) * scale + bias, row by row.

    Operands: x, y, scale, bias (either may be absent), epsilon (one number); rows, length of a row.
    """
    row_sum, row_squares = make_row_sum(dtype, _same), make_row_sum(dtype, _centred_square)
    number, zero = np.dtype(dtype).type, np.dtype(dtype).type(0)

    def handle(operands, bases, team):
        x, y = pointer(tensor(bases, operands, 0), dtype), pointer(tensor(bases, operands, 2), dtype)
        scale_at, bias_at = tensor(bases, operands, 4), tensor(bases, operands, 6)
        epsilon = pointer(tensor(bases, operands, 8), dtype)[0]
        rows, n = operands[10], operands[11]
        scale, bias = pointer(scale_at, dtype), pointer(bias_at, dtype)
        lanes = lanes_of(x)
        count = number(n)
        for row in range(rows):
            px, py = offset(x, row * n), offset(y, row * n)
            mean = row_sum(px, n, zero) / count
            deviation = splat(math.sqrt(row_squares(px, n, mean) / count + epsilon))
            centre = splat(mean)
            i = 0
            while i + lanes <= n:
                v = (load(px, i) - centre) / deviation
                if scale_at != 0:
                    v = v * load(scale, i)
                if bias_at != 0:
                    v = v + load(bias, i)
                store(py, i, v)
                i += lanes
            if i < n:
                left = n - i
                v = (load_tail(px, i, left) - centre) / deviation
                if scale_at != 0:
                    v = v * load_tail(scale, i, left)
                if bias_at != 0:
                    v = v + load_tail(bias, i, left)
                store_tail(py, i, v, left)

    return handle

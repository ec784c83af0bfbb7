"""Normalisation over contiguous rows: by mean and variance, by the root mean square, or by groups of channels."""

import math
from typing import Any

import numpy as np

from fastgru.kernels.operands.norm import GROUP_NORM, ROW_NORM
from fastgru.kernels.operands.team import LOOK_WORK
from fastgru.kernels.registry import handler, kernel, tensor
from fastgru.kernels.rows import make_row_sum
from fastgru.kernels.team import spend
from fastgru.simd.memory import lanes_of, load, load_tail, offset, pointer, store, store_tail
from fastgru.simd.vector import splat

__all__ = ["group_norm", "layer_norm", "rms_norm"]

ROW, GROUP = ROW_NORM.at, GROUP_NORM.at


@kernel
def _same(v, parameter):
    return v


@kernel
def _centred_square(v, mean):
    d = v - splat(mean)
    return d * d


@kernel
def _square(v, parameter):
    return v * v


@handler("layer_norm", "float32", "float64")
def layer_norm(dtype: str) -> Any:
    """y = (x - mean) / sqrt(var + epsilon) * scale + bias, row by row."""
    row_sum, row_squares = make_row_sum(dtype, _same), make_row_sum(dtype, _centred_square)
    number, zero = np.dtype(dtype).type, np.dtype(dtype).type(0)

    def handle(operands, bases, team):
        x, y = pointer(tensor(bases, operands, ROW.x), dtype), pointer(tensor(bases, operands, ROW.y), dtype)
        scale_at, bias_at = tensor(bases, operands, ROW.scale), tensor(bases, operands, ROW.bias)
        epsilon = pointer(tensor(bases, operands, ROW.epsilon), dtype)[0]
        rows, n = operands[ROW.rows], operands[ROW.n]
        scale, bias = pointer(scale_at, dtype), pointer(bias_at, dtype)
        lanes, left = lanes_of(x), np.int64(LOOK_WORK)
        count = number(n)
        for row in range(rows):
            left = spend(left, 32 * n, team, bases)
            if left < 0:
                return
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
                rest = n - i
                v = (load_tail(px, i, rest) - centre) / deviation
                if scale_at != 0:
                    v = v * load_tail(scale, i, rest)
                if bias_at != 0:
                    v = v + load_tail(bias, i, rest)
                store_tail(py, i, v, rest)

    return handle


@handler("rms_norm", "float32", "float64")
def rms_norm(dtype: str) -> Any:
    """y = x / sqrt(mean(x^2) + epsilon) * scale, row by row."""
    row_squares = make_row_sum(dtype, _square)
    number, zero = np.dtype(dtype).type, np.dtype(dtype).type(0)

    def handle(operands, bases, team):
        x, y = pointer(tensor(bases, operands, ROW.x), dtype), pointer(tensor(bases, operands, ROW.y), dtype)
        scale_at = tensor(bases, operands, ROW.scale)
        epsilon = pointer(tensor(bases, operands, ROW.epsilon), dtype)[0]
        rows, n = operands[ROW.rows], operands[ROW.n]
        scale = pointer(scale_at, dtype)
        lanes, left = lanes_of(x), np.int64(LOOK_WORK)
        count = number(n)
        for row in range(rows):
            left = spend(left, 32 * n, team, bases)
            if left < 0:
                return
            px, py = offset(x, row * n), offset(y, row * n)
            root = splat(math.sqrt(row_squares(px, n, zero) / count + epsilon))
            i = 0
            while i + lanes <= n:
                v = load(px, i) / root
                if scale_at != 0:
                    v = v * load(scale, i)
                store(py, i, v)
                i += lanes
            if i < n:
                rest = n - i
                v = load_tail(px, i, rest) / root
                if scale_at != 0:
                    v = v * load_tail(scale, i, rest)
                store_tail(py, i, v, rest)

    return handle


@handler("group_norm", "float32", "float64")
def group_norm(dtype: str) -> Any:
    """y = (x - mean) / sqrt(var + epsilon) * scale + bias, with statistics by group, scale and bias by channel."""
    row_sum, row_squares = make_row_sum(dtype, _same), make_row_sum(dtype, _centred_square)
    number, zero = np.dtype(dtype).type, np.dtype(dtype).type(0)

    def handle(operands, bases, team):
        x, y = pointer(tensor(bases, operands, GROUP.x), dtype), pointer(tensor(bases, operands, GROUP.y), dtype)
        scale, bias = (
            pointer(tensor(bases, operands, GROUP.scale), dtype),
            pointer(tensor(bases, operands, GROUP.bias), dtype),
        )
        epsilon = pointer(tensor(bases, operands, GROUP.epsilon), dtype)[0]
        N, groups, channels, S = operands[GROUP.N], operands[GROUP.groups], operands[GROUP.channels], operands[GROUP.S]
        lanes, look = lanes_of(x), np.int64(LOOK_WORK)
        n = channels * S
        count = number(n)
        for row in range(N * groups):
            look = spend(look, 32 * n, team, bases)
            if look < 0:
                return
            px = offset(x, row * n)
            mean = row_sum(px, n, zero) / count
            deviation = math.sqrt(row_squares(px, n, mean) / count + epsilon)
            first = (row % groups) * channels
            for c in range(channels):
                qx, qy = offset(x, row * n + c * S), offset(y, row * n + c * S)
                factor, shift = scale[first + c], bias[first + c]
                if S == 1:
                    qy[0] = (qx[0] - mean) / deviation * factor + shift
                    continue
                i = 0
                while i < S:
                    left = S - i
                    if left >= lanes:
                        v = (load(qx, i) - splat(mean)) / splat(deviation)
                        store(qy, i, v * splat(factor) + splat(shift))
                    else:
                        v = (load_tail(qx, i, left) - splat(mean)) / splat(deviation)
                        store_tail(qy, i, v * splat(factor) + splat(shift), left)
                    i += lanes

    return handle

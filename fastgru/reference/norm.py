"""Normalisation by statistics of the input itself (layer_norm, group_norm, rms_norm) or by stored ones (batch_norm).

Ba, Kiros, Hinton 2016, "Layer Normalization"; Ioffe, Szegedy 2015, "Batch Normalization", in inference;
Wu, He 2018, "Group Normalization"; Zhang, Sennrich 2019, "Root Mean Square Layer Normalization".
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastgru.errors import ShapeError
from fastgru.reference.attributes import Axis, Finite, Size
from fastgru.reference.dims import Facts, Operand, apart, from_axis, same
from fastgru.reference.operator import Array, need_floating, operator, same_dtype
from fastgru.reference.shape import normal_axis

__all__ = ["batch_norm", "check_factors", "check_group_norm", "check_row_norm", "group_norm", "layer_norm", "rms_norm"]


@operator("layer_norm", Facts(same, weights=dict.fromkeys((1, 2)), flops=8, mixes=from_axis))
def layer_norm(
    x: Array, scale: Array | None = None, bias: Array | None = None, *, axis: Axis, epsilon: Finite
) -> Array:
    """(x - mean) / sqrt(var + epsilon) * scale + bias, with mean and variance over the axes from `axis` on."""
    need_floating("layer_norm", x)
    axis = normal_axis(axis, x.ndim)
    axes = tuple(range(axis, x.ndim))
    check_row_norm(x, axis, scale=scale, bias=bias)
    same_dtype(x=x, scale=scale, bias=bias)
    centred = x - np.mean(x, axis=axes, keepdims=True)
    y = centred / np.sqrt(np.mean(centred * centred, axis=axes, keepdims=True) + epsilon)
    y = y if scale is None else y * scale
    return np.asarray(y if bias is None else y + bias)


@operator("batch_norm", Facts(same, weights=dict.fromkeys((1, 2, 3, 4)), flops=2, mixes=apart))
def batch_norm(x: Array, scale: Array, bias: Array, mean: Array, var: Array, *, axis: Axis, epsilon: Finite) -> Array:
    """(x - mean) / sqrt(var + epsilon) * scale + bias, each of the four (C,) along `axis`."""
    need_floating("batch_norm", x)
    axis = normal_axis(axis, x.ndim)
    arrays = {"scale": scale, "bias": bias, "mean": mean, "var": var}
    same_dtype(x=x, **arrays)
    check_factors(x, x.shape[axis : axis + 1], **arrays)
    along = [1] * x.ndim
    along[axis] = x.shape[axis]
    s, b, m, v = (a.reshape(along) for a in (scale, bias, mean, var))
    return np.asarray((x - m) / np.sqrt(v + epsilon) * s + b)


def _of_groups(x: Operand, *_: Operand | None, **__: Any) -> Mapping[int, bool]:
    return dict.fromkeys(range(1, x.rank), True)


@operator("group_norm", Facts(same, weights=dict.fromkeys((1, 2)), flops=8, mixes=_of_groups))
def group_norm(x: Array, scale: Array, bias: Array, *, epsilon: Finite, groups: Size | None = None) -> Array:
    """x (N, C, ...) normalised over each group of channels, then times scale (C,) plus bias (C,).

    groups: how many. None makes each channel a group, which is instance normalisation.
    """
    need_floating("group_norm", x)
    same_dtype(x=x, scale=scale, bias=bias)
    groups = check_group_norm(x.shape, scale.shape, bias.shape, groups)
    if x.size == 0:
        return x.copy()
    rows = x.reshape(x.shape[0], groups, -1)
    centred = rows - np.mean(rows, axis=2, keepdims=True)
    y = centred / np.sqrt(np.mean(centred * centred, axis=2, keepdims=True) + epsilon)
    along = (-1, *(1,) * (x.ndim - 2))
    return np.asarray(y.reshape(x.shape) * scale.reshape(along) + bias.reshape(along))


def check_group_norm(x: tuple[int, ...], scale: tuple[int, ...], bias: tuple[int, ...], groups: int | None) -> int:
    """Return the number of groups. Raises `ShapeError` if the shapes do not fit."""
    if len(x) < 2:
        raise ShapeError(f"group_norm: x has shape {x}, expected (N, C, ...)")
    C = x[1]
    if scale != (C,) or bias != (C,):
        raise ShapeError(f"group_norm: scale {scale} and bias {bias}, expected {(C,)} for x {x}")
    groups = C if groups is None else groups
    if groups < 0 or (groups == 0) != (C == 0) or (groups and C % groups):
        raise ShapeError(f"group_norm: {C} channels cannot be divided into {groups} groups")
    return groups


@operator("rms_norm", Facts(same, weights={1: None}, flops=4, mixes=from_axis))
def rms_norm(x: Array, scale: Array | None = None, *, axis: Axis, epsilon: Finite) -> Array:
    """x / sqrt(mean(x^2) + epsilon) * scale, with the mean over the axes from `axis` on."""
    need_floating("rms_norm", x)
    axis = normal_axis(axis, x.ndim)
    check_row_norm(x, axis, scale=scale)
    same_dtype(x=x, scale=scale)
    y = x / np.sqrt(np.mean(x * x, axis=tuple(range(axis, x.ndim)), keepdims=True) + epsilon)
    return np.asarray(y if scale is None else y * scale)


def check_row_norm(x: Any, axis: int, **factors: Any) -> None:
    """Raise `ShapeError` unless x has elements from `axis` on, and each factor the shape of those axes or is None."""
    if math.prod(x.shape[axis:]) == 0:
        raise ShapeError(f"x of shape {x.shape} has no elements to normalise from axis {axis} on")
    check_factors(x, x.shape[axis:], **factors)


def check_factors(x: Any, expected: tuple[int, ...], **factors: Any) -> None:
    """Raise `ShapeError` unless each factor has the shape `expected` or is None."""
    for name, factor in factors.items():
        if factor is not None and factor.shape != expected:
            raise ShapeError(f"{name} has shape {factor.shape}, expected {expected} for x of shape {x.shape}")

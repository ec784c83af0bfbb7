"""Normalisation by the statistics of the input itself (layer_norm) or by stored ones (batch_norm).

Ba, Kiros, Hinton 2016, "Layer Normalization"; Ioffe, Szegedy 2015, "Batch Normalization", in inference.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgru.errors import ShapeError
from fastgru.reference.operator import same_dtype
from fastgru.reference.shape import normal_axis

__all__ = ["batch_norm", "layer_norm"]

Array = NDArray[Any]


def layer_norm(x: Array, scale: Array | None = None, bias: Array | None = None, *, axis: int, epsilon: float) -> Array:
    """(x - mean) / sqrt(var + epsilon) * scale + bias, mean and variance over the axes from `axis` on."""
    axis = normal_axis(axis, x.ndim)
    axes = tuple(range(axis, x.ndim))
    if math.prod(x.shape[axis:]) == 0:
        raise ShapeError(f"layer_norm: nothing to normalise in x of shape {x.shape} from axis {axis} on")
    centred = x - np.mean(x, axis=axes, keepdims=True)
    y = centred / np.sqrt(np.mean(centred * centred, axis=axes, keepdims=True) + epsilon)
    for name, array in (("scale", scale), ("bias", bias)):
        if array is not None:
            same_dtype(**{"x": x, name: array})
            if array.shape != x.shape[axis:]:
                raise ShapeError(f"layer_norm: {name} has shape {array.shape}, expected {x.shape[axis:]}")
    y = y if scale is None else y * scale
    return np.asarray(y if bias is None else y + bias)


def batch_norm(x: Array, scale: Array, bias: Array, mean: Array, var: Array, *, axis: int, epsilon: float) -> Array:
    """(x - mean) / sqrt(var + epsilon) * scale + bias, each of the four (C,) along `axis`."""
    axis = normal_axis(axis, x.ndim)
    arrays = {"scale": scale, "bias": bias, "mean": mean, "var": var}
    same_dtype(x=x, **arrays)
    if wrong := {n: a.shape for n, a in arrays.items() if a.shape != (x.shape[axis],)}:
        raise ShapeError(f"batch_norm: {wrong}, expected {(x.shape[axis],)} for axis {axis} of x {x.shape}")
    along = [1] * x.ndim
    along[axis] = x.shape[axis]
    s, b, m, v = (a.reshape(along) for a in (scale, bias, mean, var))
    return np.asarray((x - m) / np.sqrt(v + epsilon) * s + b)

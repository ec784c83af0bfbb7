"""Gradients of normalisation. Statistics of the input remove the parts of du that are constant or proportional to u."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastgru.graph import Array
from fastgru.reference.gradients.registry import Gradients, gradient, summed_to

__all__ = ["batch_norm", "layer_norm", "rms_norm"]


@gradient("layer_norm")
def layer_norm(
    ups: Sequence[Array], inputs: Sequence[Any], outputs: Sequence[Array], *, axis: int, epsilon: float
) -> Gradients:
    """dx = (du - mean(du) - u mean(du u)) / s.

    With u = (x - mean) / s, s = sqrt(var + epsilon), and du = dy * scale.
    """
    (dy,), (x, *given) = ups, inputs
    scale, bias = [*given, None, None][:2]
    axes = tuple(range(axis % x.ndim, x.ndim))
    centred = x - x.mean(axis=axes, keepdims=True)
    s = np.sqrt(np.mean(centred * centred, axis=axes, keepdims=True) + epsilon)
    u = centred / s
    du = dy if scale is None else dy * scale
    along = du.mean(axis=axes, keepdims=True) + u * np.mean(du * u, axis=axes, keepdims=True)
    return [
        (du - along) / s,
        None if scale is None else summed_to(dy * u, scale.shape),
        None if bias is None else summed_to(dy, bias.shape),
    ]


@gradient("rms_norm")
def rms_norm(
    ups: Sequence[Array], inputs: Sequence[Any], outputs: Sequence[Array], *, axis: int, epsilon: float
) -> Gradients:
    """With u = x / s, s = sqrt(mean(x^2) + epsilon), and du = dy * scale: dx = (du - u mean(du u)) / s."""
    (dy,), (x, *given) = ups, inputs
    scale = given[0] if given else None
    axes = tuple(range(axis % x.ndim, x.ndim))
    s = np.sqrt(np.mean(x * x, axis=axes, keepdims=True) + epsilon)
    u, du = x / s, dy if scale is None else dy * scale
    dx = (du - u * np.mean(du * u, axis=axes, keepdims=True)) / s
    return [dx, None if scale is None else summed_to(dy * u, scale.shape)]


@gradient("batch_norm")
def batch_norm(
    ups: Sequence[Array], inputs: Sequence[Array], outputs: Sequence[Array], *, axis: int, epsilon: float
) -> Gradients:
    """An affine map for each channel. The stored statistics are no weights and have no gradient."""
    (dy,), (x, scale, _, mean, var) = ups, inputs
    along = [1] * x.ndim
    along[axis] = x.shape[axis]
    others = tuple(i for i in range(x.ndim) if i != axis % x.ndim)
    s, m, v = (a.reshape(along) for a in (scale, mean, var))
    deviation = np.sqrt(v + epsilon)
    return [dy * s / deviation, np.sum(dy * (x - m) / deviation, axis=others), np.sum(dy, axis=others), None, None]

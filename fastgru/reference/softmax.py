"""Softmax and its logarithm. The largest element is subtracted first, so that nothing overflows."""

import numpy as np

from fastgru.reference.attributes import Axis
from fastgru.reference.dims import Facts, along, same
from fastgru.reference.operator import Array, need_floating, operator
from fastgru.reference.shape import normal_axis

__all__ = ["log_softmax", "softmax"]


def _shifted(what: str, x: Array, axis: int) -> tuple[Array, int]:
    """Return x minus the largest element along the axis, and that axis counted from 0."""
    need_floating(what, x)
    axis = normal_axis(axis, x.ndim)
    return x - np.max(x, axis=axis, keepdims=True, initial=-np.inf), axis


@operator("softmax", Facts(same, flops=5, mixes=along))
def softmax(x: Array, *, axis: Axis) -> Array:
    """exp(x) / sum(exp(x)) along `axis`."""
    shifted, axis = _shifted("softmax", x, axis)
    e = np.exp(shifted)
    return np.asarray(e / np.sum(e, axis=axis, keepdims=True))


@operator("log_softmax", Facts(same, flops=5, mixes=along))
def log_softmax(x: Array, *, axis: Axis) -> Array:
    """x - log(sum(exp(x))) along `axis`."""
    shifted, axis = _shifted("log_softmax", x, axis)
    return np.asarray(shifted - np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True)))

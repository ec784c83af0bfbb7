"""Softmax and its logarithm, with the largest element taken out first so that nothing overflows."""

import numpy as np

from fastgru.reference.attributes import Axis
from fastgru.reference.dims import Facts, same
from fastgru.reference.operator import Array, need_floating, operator
from fastgru.reference.shape import normal_axis

__all__ = ["log_softmax", "softmax"]


@operator("softmax", Facts(same, flops=5))
def softmax(x: Array, *, axis: Axis) -> Array:
    """exp(x) / sum(exp(x)) along `axis`."""
    need_floating("softmax", x)
    axis = normal_axis(axis, x.ndim)
    if x.size == 0:
        return x.copy()
    e = np.exp(x - np.max(x, axis=axis, keepdims=True))
    return np.asarray(e / np.sum(e, axis=axis, keepdims=True))


@operator("log_softmax", Facts(same, flops=5))
def log_softmax(x: Array, *, axis: Axis) -> Array:
    """x - log(sum(exp(x))) along `axis`."""
    need_floating("softmax", x)
    axis = normal_axis(axis, x.ndim)
    if x.size == 0:
        return x.copy()
    shifted = x - np.max(x, axis=axis, keepdims=True)
    return np.asarray(shifted - np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True)))

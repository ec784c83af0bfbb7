"""Gradients of softmax and its logarithm, computed from their outputs."""

from collections.abc import Sequence

import numpy as np

from fastgru.graph import Array
from fastgru.reference.gradients.registry import Gradients, gradient

__all__ = ["log_softmax", "softmax"]


@gradient("softmax")
def softmax(ups: Sequence[Array], inputs: Sequence[Array], outputs: Sequence[Array], *, axis: int) -> Gradients:
    """dx = y * (dy - the sum of y * dy)."""
    (dy,), (y,) = ups, outputs
    return [y * (dy - np.sum(y * dy, axis=axis, keepdims=True))]


@gradient("log_softmax")
def log_softmax(ups: Sequence[Array], inputs: Sequence[Array], outputs: Sequence[Array], *, axis: int) -> Gradients:
    """dx = dy - exp(y) * the sum of dy."""
    (dy,), (y,) = ups, outputs
    return [dy - np.exp(y) * np.sum(dy, axis=axis, keepdims=True)]

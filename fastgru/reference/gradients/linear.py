"""Gradients of NumPy's matrix product and of y = x W^T + b: dx = dy W, dW = dy^T x, db the sum of dy."""

from collections.abc import Sequence

import numpy as np

from fastgru.graph import Array
from fastgru.reference.gradients.registry import Gradients, gradient, summed_to

__all__ = ["linear", "matmul"]


@gradient("linear")
def linear(ups: Sequence[Array], inputs: Sequence[Array | None], outputs: Sequence[Array]) -> Gradients:
    """dx (..., I), dW (O, I), db (O,) of dy (..., O)."""
    (dy,), (x, weight, *_) = ups, inputs
    assert x is not None
    assert weight is not None
    rows = dy.reshape(-1, dy.shape[-1])
    return [dy @ weight, rows.T @ x.reshape(-1, x.shape[-1]), rows.sum(axis=0)]


@gradient("matmul")
def matmul(ups: Sequence[Array], inputs: Sequence[Array], outputs: Sequence[Array]) -> Gradients:
    """da = dy b^T and db = a^T dy, summed over the stacks that were broadcast."""
    (dy,), (a, b) = ups, inputs
    A = a[None, :] if a.ndim == 1 else a
    B = b[:, None] if b.ndim == 1 else b
    dy = dy if a.ndim > 1 else np.expand_dims(dy, -1 if b.ndim == 1 else -2)
    dy = dy if b.ndim > 1 else np.expand_dims(dy, -1)
    da, db = dy @ B.swapaxes(-1, -2), A.swapaxes(-1, -2) @ dy
    return [summed_to(da, A.shape).reshape(a.shape), summed_to(db, B.shape).reshape(b.shape)]

"""Products: the affine map of torch.nn.Linear, NumPy's matrix product, and the look-up that is a one-hot product."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgru.errors import ShapeError
from fastgru.reference.operator import same_dtype

__all__ = ["embedding", "linear", "matmul"]

Array = NDArray[Any]


def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """x (..., I), weight (O, I), bias (O,) -> x @ weight.T + bias (..., O)."""
    same_dtype(x=x, weight=weight, **({} if bias is None else {"bias": bias}))
    if weight.ndim != 2 or x.ndim < 1 or x.shape[-1] != weight.shape[1]:
        raise ShapeError(f"linear: x {x.shape} and weight {weight.shape}, expected (..., I) and (O, I)")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ShapeError(f"linear: bias has shape {bias.shape}, expected {weight.shape[:1]}")
    y = x @ weight.T
    return y if bias is None else y + bias


def matmul(a: Array, b: Array) -> Array:
    """a @ b, vectors and stacks of matrices as NumPy has them."""
    same_dtype(a=a, b=b)
    return np.asarray(np.matmul(a, b))


def embedding(ids: Array, weight: Array) -> Array:
    """ids (...), weight (V, D) -> the rows weight[ids] (..., D); an id from 0 to V - 1."""
    if ids.dtype.kind not in "iu":
        raise ShapeError(f"embedding: ids have dtype {ids.dtype}, expected an integer")
    if weight.ndim != 2:
        raise ShapeError(f"embedding: weight has shape {weight.shape}, expected (V, D)")
    if ids.size and (ids.min() < 0 or ids.max() >= weight.shape[0]):
        raise ShapeError(f"embedding: ids from {ids.min()} to {ids.max()}, expected 0 to {weight.shape[0] - 1}")
    return np.asarray(weight[ids])

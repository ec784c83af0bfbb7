"""Matrix products: the affine map of torch.nn.Linear, NumPy's matrix product, and the look-up of rows."""

from typing import Any

import numpy as np

from fastgru.errors import ShapeError
from fastgru.reference.dims import Dims, Facts, Operand, Tie, apart, broadcast_dims
from fastgru.reference.operator import Array, operator, same_dtype
from fastgru.reference.shape import check_positions
from fastgru.reference.sizes import Size, multiply

__all__ = ["check_linear", "embedding", "linear", "matmul", "matmul_dims", "matmul_flops", "matmul_ties"]


@operator(
    "linear",
    Facts(
        lambda x, weight, *_: [*x.dims[:-1], weight.dims[0]],
        weights={1: 0, 2: None},
        flops=lambda x, weight, *_: multiply(2, *x.sizes, weight.sizes[0]),
        mixes=apart,
    ),
)
def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """x (..., I), weight (O, I), bias (O,) -> x @ weight.T + bias (..., O)."""
    same_dtype(x=x, weight=weight, bias=bias)
    check_linear(x, weight, bias)
    y = x @ weight.T
    return y if bias is None else y + bias


def check_linear(x: Any, weight: Any, bias: Any | None) -> None:
    """Raise `ShapeError` unless the shapes fit each other."""
    if len(weight.shape) != 2 or x.shape[-1:] != weight.shape[1:]:
        raise ShapeError(f"linear: x {x.shape} and weight {weight.shape}, expected (..., I) and (O, I)")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ShapeError(f"linear: bias has shape {bias.shape}, expected {weight.shape[:1]}")


def matmul_dims(a: Operand, b: Operand, *_: Operand | None) -> Dims:
    """Return the axes of the output by NumPy's rules: a vector has no axis in the output."""
    tail = [*a.dims[-2:-1], *(b.dims[-1:] if b.rank > 1 else ())]
    return [*broadcast_dims(a.dims[:-2], b.dims[:-2]), *tail]


def matmul_ties(a: Operand, b: Operand, *_: Operand | None) -> list[Tie]:
    """Return the axes over which the sum is taken, as the same axis."""
    return [(None, [(0, a.rank - 1), (1, max(b.rank - 2, 0))])]


def matmul_flops(a: Operand, b: Operand, *_: Operand | None) -> Size:
    """Return the flops: two for each product of each sum."""
    return multiply(2, a.sizes[-1], *(dim.size for dim in matmul_dims(a, b)))


@operator("matmul", Facts(matmul_dims, ties=matmul_ties, weights={0: None, 1: 1}, flops=matmul_flops, mixes=apart))
def matmul(a: Array, b: Array) -> Array:
    """a @ b, with NumPy's rules for vectors and stacks of matrices."""
    same_dtype(a=a, b=b)
    return np.asarray(np.matmul(a, b))


@operator(
    "embedding",
    Facts(
        lambda ids, weight: [*ids.dims, weight.dims[1]],
        dtype=1,
        weights={1: 0},
        moves=slice(1, 2),
        mixes=apart,
        domains=lambda _, weight: {0: ("ids", weight.sizes[0])},
    ),
)
def embedding(ids: Array, weight: Array) -> Array:
    """ids (...), weight (V, D) -> the rows weight[ids] (..., D). Each id is from 0 to V - 1."""
    if weight.ndim != 2:
        raise ShapeError(f"embedding: weight has shape {weight.shape}, expected (V, D)")
    check_positions("ids", ids, 0, weight.shape[0] - 1)
    return np.asarray(weight[ids])

"""Operators that replace elements or blocks of a tensor at given positions, or combine them with others."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

import numpy as np

from fastgru.errors import ShapeError
from fastgru.reference.attributes import Axis, OneOf
from fastgru.reference.dims import Facts, Operand, Tie, same
from fastgru.reference.indexing import check_beside
from fastgru.reference.operator import Array, operator, same_dtype
from fastgru.reference.shape import check_positions, normal_axis

__all__ = ["check_scatter_elements", "check_scatter_nd", "scatter_elements", "scatter_nd"]


def _replace(x: Array, where: tuple[Array, ...], updates: Array) -> None:
    x[where] = updates


_REDUCTIONS: Final[Mapping[str, Callable[[Array, tuple[Array, ...], Array], None]]] = {
    "add": np.add.at,
    "max": np.maximum.at,
    "min": np.minimum.at,
    "mul": np.multiply.at,
    "none": _replace,
}


Reduction = Annotated[str, OneOf(_REDUCTIONS)]


def _blocks(x: Operand, indices: Operand, updates: Operand, **_: Any) -> list[Tie]:
    lead, gone = indices.rank - 1, x.rank - updates.rank + indices.rank - 1
    blocks: list[Tie] = [(None, [(0, gone + i), (2, lead + i)]) for i in range(x.rank - gone)]
    return [*blocks, *((None, [(1, i), (2, i)]) for i in range(lead))]


@operator("scatter_nd", Facts(same, ties=_blocks))
def scatter_nd(x: Array, indices: Array, updates: Array, *, reduction: Reduction) -> Array:
    """x with x[indices[i]] = updates[i] for every i, or with x[indices[i]] combined by add, mul, max or min.

    The last axis of `indices` (..., k) holds positions along the first k axes of x. updates has the shape (..., the
    other axes of x). Updates of the same position are combined one after another; with "none" the last one is kept.
    """
    same_dtype(x=x, updates=updates)
    k = check_scatter_nd(x.shape, indices.shape, updates.shape)
    check_positions("indices", indices, [-n for n in x.shape[:k]], [n - 1 for n in x.shape[:k]])
    y = x.copy()
    _REDUCTIONS[reduction](y, tuple(indices[..., i] for i in range(k)), updates)
    return y


def check_scatter_nd(x: tuple[int, ...], indices: tuple[int, ...], updates: tuple[int, ...]) -> int:
    """Return k, the number of axes of x that the indices select on. Raises `ShapeError` unless the shapes fit."""
    if not indices or indices[-1] > len(x):
        raise ShapeError(f"scatter_nd: indices {indices} do not fit x {x}")
    k = indices[-1]
    expected = (*indices[:-1], *x[k:])
    if updates != expected:
        raise ShapeError(f"scatter_nd: updates have shape {updates}, expected {expected}")
    return k


@operator("scatter_elements", Facts(same, ties=lambda x, *_, **__: [(None, [(1, i), (2, i)]) for i in range(x.rank)]))
def scatter_elements(x: Array, indices: Array, updates: Array, *, axis: Axis, reduction: Reduction) -> Array:
    """x with x[..., indices[i, j, ...], ...] = updates[i, j, ...] along `axis`, or combined as in `scatter_nd`."""
    same_dtype(x=x, updates=updates)
    axis = normal_axis(axis, x.ndim)
    check_scatter_elements(x.shape, indices.shape, updates.shape, axis)
    check_positions("indices", indices, -x.shape[axis], x.shape[axis] - 1)
    grid = list(np.ogrid[tuple(slice(n) for n in indices.shape)])
    grid[axis] = indices
    y = x.copy()
    _REDUCTIONS[reduction](y, tuple(np.broadcast_arrays(*grid)), updates)
    return y


def check_scatter_elements(x: tuple[int, ...], indices: tuple[int, ...], updates: tuple[int, ...], axis: int) -> None:
    """Raise `ShapeError` unless the shapes fit each other."""
    check_beside("scatter_elements", indices, x, axis)
    if indices != updates:
        raise ShapeError(f"scatter_elements: updates have shape {updates}, expected {indices}, the shape of indices")

"""Operators that select elements by tuples of positions, reverse rows, or find elements that are not zero."""

import math

import numpy as np

from fastgru.errors import ShapeError
from fastgru.reference.attributes import Axis, Size
from fastgru.reference.dims import FIRST, Dim, Dims, Facts, Operand, equal, numbers, same
from fastgru.reference.operator import Array, operator
from fastgru.reference.shape import check_positions

__all__ = ["gather_nd", "nonzero", "reverse_sequence"]


def _picked(x: Operand, indices: Operand, *, batch_dims: int = 0) -> Dims:
    (depth,) = numbers(indices.sizes[-1:])
    lead = [equal(*pair) for pair in zip(x.dims[:batch_dims], indices.dims[:batch_dims], strict=True)]
    return [*lead, *indices.dims[batch_dims:-1], *x.dims[batch_dims + depth :]]


@operator("gather_nd", Facts(_picked, moves=FIRST))
def gather_nd(x: Array, indices: Array, *, batch_dims: Size = 0) -> Array:
    """y[b, i] = x[b, indices[b, i, 0], indices[b, i, 1], ...]: the last axis of indices holds tuples of positions.

    batch_dims: how many leading axes x and indices share. A negative position counts from the end.
    """
    check_gather_nd(x.shape, indices.shape, batch_dims)
    depth = indices.shape[-1]
    sizes = x.shape[batch_dims : batch_dims + depth]
    check_positions("indices", indices, [-n for n in sizes], [n - 1 for n in sizes])
    lead = np.ogrid[tuple(slice(n) for n in indices.shape[:-1])][:batch_dims] if batch_dims else []
    picked = [np.broadcast_to(g, indices.shape[:-1]) for g in lead] + [indices[..., i] for i in range(depth)]
    return np.asarray(x[tuple(picked)]) if picked else np.broadcast_to(x, indices.shape[:-1] + x.shape).copy()


def check_gather_nd(x: tuple[int, ...], indices: tuple[int, ...], batch_dims: int) -> None:
    """Raise `ShapeError` unless the shapes fit each other."""
    if not 0 <= batch_dims < len(indices) or batch_dims > len(x):
        raise ShapeError(f"gather_nd: batch_dims is {batch_dims}, which does not fit x {x} and indices {indices}")
    if x[:batch_dims] != indices[:batch_dims] or indices[-1] > len(x) - batch_dims:
        raise ShapeError(f"gather_nd: indices {indices} do not fit x {x} with batch_dims {batch_dims}")


@operator(
    "reverse_sequence",
    Facts(
        same,
        ties=lambda *_, time_axis, batch_axis: [("N", [(0, batch_axis), (1, 0)]), ("T", [(0, time_axis)])],
        moves=FIRST,
        domains=lambda x, _, time_axis, **__: {1: ("lengths", x.sizes[time_axis])},
    ),
)
def reverse_sequence(x: Array, lengths: Array, *, time_axis: Axis, batch_axis: Axis) -> Array:
    """x with the first lengths[n] steps of each row reversed. The axes of time and batch are 0 and 1, in any order."""
    check_reverse(x.shape, lengths.shape, time_axis, batch_axis)
    T = x.shape[time_axis]
    check_positions("lengths", lengths, 0, T)
    steps, ends = np.arange(T)[:, None], lengths.astype(np.int64)[None, :]
    source = np.where(steps < ends, ends - 1 - steps, steps)
    rows = np.arange(x.shape[batch_axis])[None, :]
    moved = np.moveaxis(x, (time_axis, batch_axis), (0, 1))
    return np.moveaxis(moved[source, rows], (0, 1), (time_axis, batch_axis))


def check_reverse(x: tuple[int, ...], lengths: tuple[int, ...], time_axis: int, batch_axis: int) -> None:
    """Raise `ShapeError` unless time and batch are axes 0 and 1 of x, and lengths has a number for each row."""
    if len(x) < 2 or {time_axis, batch_axis} != {0, 1}:
        raise ShapeError(
            f"reverse_sequence: time_axis is {time_axis} and batch_axis is {batch_axis} for {x}, expected 0 and 1"
        )
    if lengths != (x[batch_axis],):
        raise ShapeError(f"reverse_sequence: lengths have shape {lengths}, expected {(x[batch_axis],)}")


@operator(
    "nonzero",
    Facts(
        lambda x: [Dim(x.rank if x.is_ranked else None), Dim(None)],
        dtype="int64",
        bound=lambda x: x.rank * math.prod(x.shape),
    ),
)
def nonzero(x: Array) -> Array:
    """The positions of the elements that are not zero, (rank, count), in C order."""
    return np.array(np.nonzero(x if x.ndim else x.reshape(1)), dtype=np.int64).reshape(max(x.ndim, 1), -1)[: x.ndim]

"""Operators that select elements by integer positions, or make arrays larger."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Final

import numpy as np

from fastgru.errors import ShapeError
from fastgru.reference.attributes import Axes, Axis, OneOf
from fastgru.reference.dims import FIRST, Dim, Dims, Facts, Operand, UnknownError, apart, changed, joined
from fastgru.reference.operator import Array, operator
from fastgru.reference.shape import check_positions, integers, normal_axis
from fastgru.reference.sizes import Size, add, at_least, multiply

__all__ = ["check_beside", "gather", "gather_elements", "last", "pad", "pad_widths", "tile"]


PADS: Final = ("constant", "edge", "reflect", "wrap")


def _gathered(x: Operand, indices: Operand, *, axis: int) -> Dims:
    at = range(x.rank)[axis]
    where = list(indices.dims)
    if len(where) == 1:
        where = [Dim(where[0].size, where[0].same, x.dims[at].same)]
    return [*x.dims[:at], *where, *x.dims[at + 1 :]]


def _positions_in(x: Operand, _: Operand, *, axis: int) -> dict[int, tuple[str, Size]]:
    return {1: ("ids", x.sizes[axis])}


def _gathered_elements(x: Operand, indices: Operand, *, axis: int) -> list[Size]:
    every = x.elements
    return [every[i] for i in indices.integers]


@operator("gather", Facts(_gathered, elements=_gathered_elements, moves=FIRST, domains=_positions_in, mixes=apart))
def gather(x: Array, indices: Array, *, axis: Axis) -> Array:
    """The elements of x at `indices` along `axis`. The axes of `indices` replace that axis; index -1 is the last."""
    axis = normal_axis(axis, x.ndim)
    check_positions("indices", indices, -x.shape[axis], x.shape[axis] - 1)
    return np.take(x, indices, axis=axis)


def _picked(x: Operand, indices: Operand, *, axis: int) -> Dims:
    """Return the axes of the indices. Each but `axis` is also the axis of x if the sizes are equal or both free."""
    at = range(x.rank)[axis]
    dims = []
    for i, (there, dim) in enumerate(zip(x.dims, indices.dims, strict=True)):
        free = not isinstance(there.size, int) and not isinstance(dim.size, int)
        is_same = i != at and (there.size == dim.size or free)
        dims.append(joined(dim.size, [dim, there]) if is_same else Dim(dim.size, dim.same, there.same))
    return dims


@operator("gather_elements", Facts(_picked, moves=FIRST, domains=_positions_in))
def gather_elements(x: Array, indices: Array, *, axis: Axis) -> Array:
    """y[i, j, ...] = x[..., indices[i, j, ...], ...] along `axis`; indices has the rank of x."""
    axis = normal_axis(axis, x.ndim)
    check_positions("indices", indices, -x.shape[axis], x.shape[axis] - 1)
    check_beside("gather_elements", indices.shape, x.shape, axis)
    grid = list(np.ogrid[tuple(slice(n) for n in indices.shape)])
    grid[axis] = indices
    return x[tuple(grid)]


def check_beside(op: str, indices: tuple[int, ...], x: tuple[int, ...], axis: int) -> None:
    """Raise `ShapeError` unless indices have the rank of x, and no axis but `axis` is larger than that of x."""
    if len(indices) != len(x) or any(n > s for i, (n, s) in enumerate(zip(indices, x, strict=True)) if i != axis):
        raise ShapeError(f"{op}: indices {indices} do not fit x {x} on axis {axis}")


@operator(
    "tile",
    Facts(
        lambda x, repeats: changed(x.dims, {i: multiply(x.sizes[i], n) for i, n in enumerate(repeats.elements)}),
        moves=FIRST,
        mixes=apart,
    ),
)
def tile(x: Array, repeats: Array) -> Array:
    """x repeated along each axis."""
    counts = integers("repeats", repeats)
    if len(counts) != x.ndim or any(c < 0 for c in counts):
        raise ShapeError(f"tile: repeats are {counts}, expected {x.ndim} numbers")
    return np.tile(x, counts)


def _padded(x: Operand, pads: Operand, value: Operand | None = None, *, mode: str, axes: Axes | None = None) -> Dims:
    named = list(range(x.rank)) if axes is None else list(axes)
    amounts: list[Size] = [None for _ in range(2 * len(named))]
    with suppress(UnknownError):
        amounts = pads.elements
    pairs = zip(named, amounts[: len(named)], amounts[len(named) :], strict=True)
    return changed(x.dims, {axis: _padded_size(x.sizes[axis], pair) for axis, *pair in pairs})


def _padded_size(size: Size, pads: Sequence[Size]) -> Size:
    """Return the size of an axis after `pads`, of which negative ones take elements away."""
    grown = [n for n in pads if at_least(n, 0)]
    kept = add(size, *(n for n in pads if n not in grown))
    kept = kept if at_least(kept, 0) else 0 if isinstance(kept, int) else None
    return add(kept, *grown) if all(isinstance(n, int) or n in grown for n in pads) else None


@operator("pad", Facts(_padded))
def pad(
    x: Array, pads: Array, value: Array | None = None, *, mode: Annotated[str, OneOf(PADS)], axes: Axes | None = None
) -> Array:
    """x with `pads` elements added (begins, then ends, of `axes` or of all axes). Negative pads remove elements.

    mode: constant adds `value`, 0 if absent; reflect mirrors x without the edge; edge repeats the edge; wrap continues
        from the other end.
    """
    widths = pad_widths(pads, axes, x.ndim)
    kept = x[tuple(slice(max(-b, 0), max(s - max(-e, 0), 0)) for s, (b, e) in zip(x.shape, widths, strict=True))]
    grown = [(max(b, 0), max(e, 0)) for b, e in widths]
    if mode != "constant":
        return np.pad(kept, grown, mode=mode)  # type: ignore[call-overload, no-any-return]
    if value is not None and value.size != 1:
        raise ShapeError(f"pad: value has shape {value.shape}, expected a scalar")
    return np.pad(kept, grown, constant_values=0 if value is None else value.reshape(()).astype(x.dtype))


def pad_widths(pads: Array, axes: Sequence[int] | None, rank: int) -> list[tuple[int, int]]:
    """Return what `pad` adds before and after every axis of x. Raises `ShapeError` unless each axis has two pads."""
    amounts = integers("pads", pads)
    named = list(range(rank)) if axes is None else [normal_axis(a, rank) for a in axes]
    if len(amounts) != 2 * len(named) or len(set(named)) != len(named):
        raise ShapeError(f"pad: got {len(amounts)} pads for axes {named}, expected two for each axis")
    widths = [(0, 0)] * rank
    for i, axis in enumerate(named):
        widths[axis] = (amounts[i], amounts[i + len(named)])
    return widths


@operator(
    "last",
    Facts(
        lambda x, lengths: [x.dims[0], x.dims[2]] if x.is_ranked else [Dim(None), Dim(None)],
        ties=lambda *_: [("N", [(0, 0), (1, 0)]), ("T", [(0, 1)])],
        moves=FIRST,
        domains=lambda x, _: {1: ("lengths", x.sizes[1])},
        mixes=apart,
    ),
)
def last(x: Array, lengths: Array) -> Array:
    """x (N, T, C), lengths (N,) -> x[n, max(lengths[n] - 1, 0)] (N, C)."""
    if x.ndim != 3 or lengths.shape != x.shape[:1]:
        raise ShapeError(f"last: x {x.shape} and lengths {lengths.dtype} {lengths.shape}, expected (N, T, C) and (N,)")
    check_positions("lengths", lengths, 0, x.shape[1])
    rows = np.arange(x.shape[0])
    return x[rows, np.maximum(lengths.astype(np.int64) - 1, 0)]

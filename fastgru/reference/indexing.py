"""Pieces of arrays and arrays out of pieces. Positions are integers and stay integers."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any, Final

import numpy as np
from numpy.typing import NDArray

from fastgru.errors import InvalidModelError, ShapeError
from fastgru.reference.attributes import Axes, Axis, Count, OneOf, Sizes
from fastgru.reference.dims import FIRST, Dim, Dims, Facts, Operand, UnknownError, changed, equal, joined
from fastgru.reference.operator import operator, same_dtype
from fastgru.reference.shape import integers, normal_axis
from fastgru.reference.sizes import Size, add, at_least, divide, floor_divide, multiply, subtract

__all__ = ["concat", "gather", "gather_elements", "last", "pad", "slice_", "split", "split_sizes", "tile"]

Array = NDArray[Any]

PADS: Final = ("constant", "edge", "reflect", "wrap")
_BEYOND: Final = (1 << 31) - 1  # what files write for "to the end"


def _chained(*operands: Operand, axis: int) -> Dims:
    at = range(operands[0].rank)[axis]
    columns = list(zip(*(operand.dims for operand in operands), strict=True))
    whole = add(*(dim.size for dim in columns[at]))
    grown = columns[at][0] if len(operands) == 1 else joined(None, columns[at]).resized(whole)
    return [grown if i == at else equal(*column) for i, column in enumerate(columns)]


@operator(
    "concat",
    Facts(
        _chained,
        elements=lambda *operands, axis: [n for operand in operands for n in operand.elements],
        moves=slice(None),
    ),
)
def concat(x: Array, *others: Array, axis: Axis) -> Array:
    """The arrays one after the other along `axis`."""
    same_dtype(**{f"x{i}": a for i, a in enumerate((x, *others))})
    return np.concatenate((x, *others), axis=axis)


def _cut(
    x: Operand, given: Operand | None = None, *, axis: int, sizes: Sequence[int] | None = None, parts: int | None = None
) -> Dims | tuple[Dims, ...]:
    length = x.dims[axis].size
    if parts is None:
        try:
            wanted: Sequence[Size] = given.elements if given is not None else sizes or ()
        except UnknownError:
            return changed(x.dims, {axis: None})
    else:
        wanted = split_sizes(length, None, None, parts) if isinstance(length, int) else [divide(length, parts)] * parts
    return tuple(changed(x.dims, {axis: size}) for size in wanted)


@operator("split", Facts(_cut, moves=FIRST))
def split(
    x: Array,
    given: Array | None = None,
    *,
    axis: Axis,
    sizes: Sizes | None = None,
    parts: Count | None = None,
) -> tuple[Array, ...]:
    """x cut along `axis` into `sizes`, the sizes `given`, or `parts` of one size, of which the last may be smaller."""
    cut = split_sizes(x.shape[normal_axis(axis, x.ndim)], given, sizes, parts)
    return tuple(np.split(x, np.cumsum(cut)[:-1], axis=axis))[: len(cut)]


def split_sizes(length: int, given: Array | None, sizes: Sequence[int] | None, parts: int | None) -> list[int]:
    """The sizes into which `split` cuts an axis. Raises `ShapeError` where they do not make it up."""
    if (given is not None) + (sizes is not None) + (parts is not None) != 1:
        raise InvalidModelError("split: expected either sizes or parts")
    if parts is None:
        cut = integers("sizes", given) if given is not None else list(sizes or ())
    elif 1 <= parts <= max(length, 1):
        each = -(-length // parts)
        cut = [each] * (parts - 1) + [length - each * (parts - 1)]
    else:
        raise ShapeError(f"split: parts is {parts}, expected 1 to {max(length, 1)} for an axis of {length}")
    if sum(cut) != length or any(s < 0 for s in cut):
        raise ShapeError(f"split: sizes {cut} for an axis of {length}")
    return cut


def _sliced(
    x: Operand, starts: Operand, ends: Operand, axes: Operand | None = None, steps: Operand | None = None
) -> Dims:
    try:
        begin, stop = starts.elements, ends.elements
        where = range(len(begin)) if axes is None else axes.integers
        step = (1,) * len(begin) if steps is None else steps.integers
    except UnknownError:
        return [dim.resized(None) for dim in x.dims]
    bounds = zip(where, begin, stop, step, strict=True)
    return changed(x.dims, {axis: _sliced_size(x.sizes[axis], s, e, k) for axis, s, e, k in bounds})


def _sliced_size(size: Size, start: Size, end: Size, step: int) -> Size:
    """Free sizes for steps from the beginning to the end, and for an axis in the other order."""
    if isinstance(size, int) and isinstance(start, int) and isinstance(end, int):
        return len(range(size)[_positions(size, start, end, step)])
    if step < 0:
        whole = start == -1 and isinstance(end, int) and end <= -_BEYOND
        return floor_divide(add(size, -step - 1), -step) if whole else None
    first, last = _clamped(start, size), _clamped(end, size)
    if first is None or last is None:
        return None
    if at_least(last, first):
        return floor_divide(add(subtract(last, first), step - 1), step)
    return 0 if at_least(first, last) else None


def _clamped(position: Size, size: Size) -> Size:
    """A position from the beginning, where it is certain which of 0, itself and the size it is."""
    if isinstance(position, int):
        if abs(position) >= _BEYOND:
            return size if position > 0 else 0
        position = position if position >= 0 else add(size, position)
    if at_least(position, 0):
        return position if at_least(size, position) else size if at_least(position, size) else None
    return 0 if at_least(0, position) else None


def _sliced_elements(x: Operand, starts: Operand, ends: Operand, *rest: Operand | None) -> list[Size]:
    (start,), (end,) = starts.integers, ends.integers
    step = rest[1].integers if len(rest) > 1 and rest[1] is not None else (1,)
    return x.elements[_positions(len(x.elements), start, end, *step)]


@operator("slice", Facts(_sliced, elements=_sliced_elements, moves=FIRST))
def slice_(x: Array, starts: Array, ends: Array, axes: Array | None = None, steps: Array | None = None) -> Array:
    """x[start:end:step] on each axis; negative positions count from the end, positions beyond it are clamped.

    A start before the first element is clamped to the first even when the step is negative, where Python's slice
    would give nothing (ONNX Slice).
    """
    begin, stop = integers("starts", starts), integers("ends", ends)
    where = list(range(len(begin))) if axes is None else integers("axes", axes)
    step = [1] * len(begin) if steps is None else integers("steps", steps)
    if not len(begin) == len(stop) == len(where) == len(step):
        raise ShapeError(f"slice: starts {begin}, ends {stop}, axes {where}, steps {step} differ in length")
    named = [normal_axis(a, x.ndim) for a in where]
    if len(set(named)) != len(named):
        raise ShapeError(f"slice: axes {where} name one axis twice")
    index: list[Any] = [slice(None)] * x.ndim
    for axis, s, e, k in zip(named, begin, stop, step, strict=True):
        if k == 0:
            raise ShapeError("slice: a step is 0")
        index[axis] = _positions(x.shape[axis], s, e, k)
    return np.asarray(x[tuple(index)])


def _positions(size: int, start: int, end: int, step: int) -> slice:
    start = start + size if start < 0 else start
    end = end + size if end < 0 else end
    if step > 0:
        return slice(min(max(start, 0), size), min(max(end, 0), size), step)
    start, end = min(max(start, 0), size - 1), min(max(end, -1), size - 1)
    return slice(start, None if end < 0 else end, step) if size else slice(0, 0)


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


@operator("gather", Facts(_gathered, elements=_gathered_elements, moves=FIRST, domains=_positions_in))
def gather(x: Array, indices: Array, *, axis: Axis) -> Array:
    """x taken at `indices` along `axis`, which the axes of `indices` replace; -1 is the last."""
    axis = normal_axis(axis, x.ndim)
    _check_indices("gather", indices, x.shape[axis])
    return np.take(x, indices, axis=axis)


def _picked(x: Operand, indices: Operand, *, axis: int) -> Dims:
    """The axes of the indices; where these are as long as x, or both of a free size, they are those of x."""
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
    _check_indices("gather_elements", indices, x.shape[axis])
    if indices.ndim != x.ndim or any(
        n > s for i, (n, s) in enumerate(zip(indices.shape, x.shape, strict=True)) if i != axis
    ):
        raise ShapeError(f"gather_elements: indices {indices.shape} do not fit x {x.shape} on axis {axis}")
    grid = list(np.ogrid[tuple(slice(n) for n in indices.shape)])
    grid[axis] = indices
    return x[tuple(grid)]


def _check_indices(op: str, indices: Array, size: int) -> None:
    if indices.dtype.kind not in "iu":
        raise ShapeError(f"{op}: indices have dtype {indices.dtype}, expected an integer")
    if indices.size and (indices.min() < -size or indices.max() >= size):
        raise ShapeError(f"{op}: indices from {indices.min()} to {indices.max()} on an axis of {size}")


def _tiled(x: Operand, repeats: Operand) -> Dims:
    return changed(x.dims, {i: multiply(x.sizes[i], n) for i, n in enumerate(repeats.elements)})


@operator("tile", Facts(_tiled, moves=FIRST))
def tile(x: Array, repeats: Array) -> Array:
    """x repeated along each axis."""
    counts = integers("repeats", repeats)
    if len(counts) != x.ndim or any(c < 0 for c in counts):
        raise ShapeError(f"tile: repeats {counts} for {x.ndim} axes")
    return np.tile(x, counts)


def _padded(x: Operand, pads: Operand, value: Operand | None = None, *, mode: str, axes: Axes | None = None) -> Dims:
    named = list(range(x.rank)) if axes is None else list(axes)
    amounts: list[Size] = [None for _ in range(2 * len(named))]
    with suppress(UnknownError):
        amounts = pads.elements
    pairs = zip(named, amounts[: len(named)], amounts[len(named) :], strict=True)
    return changed(x.dims, {axis: _padded_size(x.sizes[axis], pair) for axis, *pair in pairs})


def _padded_size(size: Size, pads: Sequence[Size]) -> Size:
    """What negative pads leave of an axis, and the others."""
    grown = [n for n in pads if at_least(n, 0)]
    kept = add(size, *(n for n in pads if n not in grown))
    kept = kept if at_least(kept, 0) else 0 if isinstance(kept, int) else None
    return add(kept, *grown) if all(isinstance(n, int) or n in grown for n in pads) else None


@operator("pad", Facts(_padded))
def pad(
    x: Array, pads: Array, value: Array | None = None, *, mode: Annotated[str, OneOf(PADS)], axes: Axes | None = None
) -> Array:
    """x with `pads` (begins, then ends, of `axes` or of all) elements added; a negative one takes away.

    mode constant: value, 0 if absent. reflect: mirrored without the edge. edge: the edge itself again and again.
    wrap: from the other end.
    """
    amounts = integers("pads", pads)
    named = list(range(x.ndim)) if axes is None else [normal_axis(a, x.ndim) for a in axes]
    if len(amounts) != 2 * len(named) or len(set(named)) != len(named):
        raise ShapeError(f"pad: {len(amounts)} pads for axes {named}, expected two an axis")
    widths = [(0, 0)] * x.ndim
    for i, axis in enumerate(named):
        widths[axis] = (amounts[i], amounts[i + len(named)])
    kept = x[tuple(slice(max(-b, 0), max(s - max(-e, 0), 0)) for s, (b, e) in zip(x.shape, widths, strict=True))]
    grown = [(max(b, 0), max(e, 0)) for b, e in widths]
    if mode != "constant":
        return np.pad(kept, grown, mode=mode)  # type: ignore[call-overload, no-any-return]
    if value is not None and value.size != 1:
        raise ShapeError(f"pad: value has shape {value.shape}, expected a scalar")
    return np.pad(kept, grown, constant_values=0 if value is None else value.reshape(()).astype(x.dtype))


@operator(
    "last",
    Facts(
        lambda x, lengths: [x.dims[0], x.dims[2]] if x.is_ranked else [Dim(None), Dim(None)],
        ties=lambda *_: [("N", [(0, 0), (1, 0)]), ("T", [(0, 1)])],
        moves=FIRST,
        domains=lambda x, _: {1: ("lengths", x.sizes[1])},
    ),
)
def last(x: Array, lengths: Array) -> Array:
    """x (N, T, C), lengths (N,) -> x[n, max(lengths[n] - 1, 0)] (N, C)."""
    if x.ndim != 3 or lengths.shape != x.shape[:1] or lengths.dtype.kind not in "iu":
        raise ShapeError(f"last: x {x.shape} and lengths {lengths.dtype} {lengths.shape}, expected (N, T, C) and (N,)")
    if lengths.size and (lengths.min() < 0 or lengths.max() > x.shape[1]):
        raise ShapeError(f"last: lengths from {lengths.min()} to {lengths.max()}, expected 0 to {x.shape[1]}")
    rows = np.arange(x.shape[0])
    return x[rows, np.maximum(lengths.astype(np.int64) - 1, 0)]

"""Pieces of arrays and arrays out of pieces. Positions are integers and stay integers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

import numpy as np
from numpy.typing import NDArray

from fastgru.errors import InvalidModelError, ShapeError
from fastgru.reference.attributes import Axes, Axis, Count, OneOf, Sizes
from fastgru.reference.operator import same_dtype
from fastgru.reference.shape import integers, normal_axis

__all__ = ["concat", "gather", "gather_elements", "last", "pad", "slice_", "split", "split_sizes", "tile"]

Array = NDArray[Any]

PADS: Final = ("constant", "edge", "reflect", "wrap")


def concat(x: Array, *others: Array, axis: Axis) -> Array:
    """The arrays one after the other along `axis`."""
    same_dtype(**{f"x{i}": a for i, a in enumerate((x, *others))})
    return np.concatenate((x, *others), axis=axis)


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
    return tuple(np.split(x, np.cumsum(cut)[:-1], axis=axis))


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


def gather(x: Array, indices: Array, *, axis: Axis) -> Array:
    """x taken at `indices` along `axis`, which the axes of `indices` replace; -1 is the last."""
    axis = normal_axis(axis, x.ndim)
    _check_indices("gather", indices, x.shape[axis])
    return np.take(x, indices, axis=axis)


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


def tile(x: Array, repeats: Array) -> Array:
    """x repeated along each axis."""
    counts = integers("repeats", repeats)
    if len(counts) != x.ndim or any(c < 0 for c in counts):
        raise ShapeError(f"tile: repeats {counts} for {x.ndim} axes")
    return np.tile(x, counts)


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


def last(x: Array, lengths: Array) -> Array:
    """x (N, T, C), lengths (N,) -> x[n, max(lengths[n] - 1, 0)] (N, C)."""
    if x.ndim != 3 or lengths.shape != x.shape[:1] or lengths.dtype.kind not in "iu":
        raise ShapeError(f"last: x {x.shape} and lengths {lengths.dtype} {lengths.shape}, expected (N, T, C) and (N,)")
    if lengths.size and (lengths.min() < 0 or lengths.max() > x.shape[1]):
        raise ShapeError(f"last: lengths from {lengths.min()} to {lengths.max()}, expected 0 to {x.shape[1]}")
    rows = np.arange(x.shape[0])
    return x[rows, np.maximum(lengths.astype(np.int64) - 1, 0)]

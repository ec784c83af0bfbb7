"""Operators that cut arrays into several, slice them, or join them along an axis."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from fastgru.errors import InvalidModelError, ShapeError
from fastgru.graph import Node
from fastgru.reference.attributes import Axis, Count, Sizes
from fastgru.reference.dims import FIRST, Dims, Facts, Operand, UnknownError, apart, changed, equal, joined
from fastgru.reference.operator import Array, operator, same_dtype
from fastgru.reference.shape import integers, normal_axis
from fastgru.reference.sizes import Size, add, at_least, divide, floor_divide, subtract

__all__ = ["concat", "slice_", "split", "split_sizes", "takes_last"]


_BEYOND: Final = (1 << 31) - 1  # files write this or more for "to the end"


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
        mixes=apart,
    ),
)
def concat(x: Array, *others: Array, axis: Axis) -> Array:
    """The arrays joined along `axis`."""
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


@operator("split", Facts(_cut, moves=FIRST, mixes=apart))
def split(
    x: Array,
    given: Array | None = None,
    *,
    axis: Axis,
    sizes: Sizes | None = None,
    parts: Count | None = None,
) -> tuple[Array, ...]:
    """x cut along `axis` into `sizes`, the sizes `given`, or `parts` of equal size; the last part may be smaller."""
    cut = split_sizes(x.shape[normal_axis(axis, x.ndim)], given, sizes, parts)
    return tuple(np.split(x, np.cumsum(cut)[:-1], axis=axis))[: len(cut)]


def split_sizes(length: int, given: Array | None, sizes: Sequence[int] | None, parts: int | None) -> list[int]:
    """Return the sizes into which `split` cuts an axis. Raises `ShapeError` if their sum is not `length`."""
    if (given is not None) + (sizes is not None) + (parts is not None) != 1:
        raise InvalidModelError("split: expected either sizes or parts, and not both")
    if parts is None:
        cut = integers("sizes", given) if given is not None else list(sizes or ())
    elif 1 <= parts <= max(length, 1):
        each = -(-length // parts)
        cut = [each] * (parts - 1) + [length - each * (parts - 1)]
    else:
        raise ShapeError(f"split: parts is {parts}, expected 1 to {max(length, 1)} for an axis of {length}")
    if sum(cut) != length or any(s < 0 for s in cut):
        raise ShapeError(f"split: sizes are {cut}, which do not add up to {length}, the size of the axis")
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


def _reversed(
    _: Operand, starts: Operand, ends: Operand, axes: Operand | None = None, steps: Operand | None = None
) -> Mapping[int, bool]:
    if steps is None:
        return {}
    step = steps.integers
    where = range(len(step)) if axes is None else axes.integers
    return {axis: True for axis, k in zip(where, step, strict=True) if k < 0}


def _sliced_size(size: Size, start: Size, end: Size, step: int) -> Size:
    """Return the size after a slice, also for free sizes. A negative step needs a slice of the whole axis then."""
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
    """Return a position counted from the beginning and clamped to 0 and the size, None if the result is uncertain."""
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


@operator("slice", Facts(_sliced, elements=_sliced_elements, moves=FIRST, mixes=_reversed))
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
            raise ShapeError("slice: a step is 0, expected another number")
        index[axis] = _positions(x.shape[axis], s, e, k)
    return np.asarray(x[tuple(index)])


def _positions(size: int, start: int, end: int, step: int) -> slice:
    first, last, _ = slice(start, end, step).indices(size)
    return slice(max(first, 0), None if last < 0 else last, step)


def takes_last(node: Node, constants: Mapping[str, Any]) -> tuple[int | None, bool]:
    """Return the axis of which a node takes only the last element, and whether it keeps that axis.

    The axis is None for any other node.
    """
    given = [np.asarray(constants[name]).reshape(-1).tolist() if name in constants else None for name in node.inputs]
    if node.op == "gather" and given[1] == [-1]:
        return int(node.attrs["axis"]), len(np.shape(constants[node.inputs[1]])) == 1
    if node.op == "slice" and len(given) > 3 and given[1] == [-1] and given[2] and given[3] and len(given[3]) == 1:
        whole = given[2][0] >= _BEYOND and (len(given) < 5 or given[4] == [1])
        return (int(given[3][0]), True) if whole else (None, False)
    return None, False

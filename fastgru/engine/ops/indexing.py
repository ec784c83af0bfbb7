"""Selection and arrangement of elements and blocks by position: gather, tile, pad."""

from collections.abc import Sequence
from math import prod

import numpy as np

from fastgru.engine.buffers import Region, contiguous_strides, itemsize
from fastgru.engine.lowering import Constant, Node, PlanBuilder, Value, View, constant_of, lowering
from fastgru.engine.ops.cast import as_dtype, check_integers
from fastgru.engine.ops.shape import sliced
from fastgru.engine.strides import merged_axes, nditer_words
from fastgru.errors import ShapeError
from fastgru.graph import Array
from fastgru.kernels.operands.indexing import GATHER_ELEMENTS, LAST, LENGTHS
from fastgru.kernels.operands.movement import GATHER
from fastgru.reference.indexing import check_beside, pad_widths
from fastgru.reference.operator import OPS
from fastgru.reference.shape import integers, normal_axis

__all__ = [
    "checked_lengths",
    "evenly_spaced",
    "gathered",
    "lower_gather",
    "lower_gather_elements",
    "lower_last",
    "lower_pad",
    "lower_tile",
]


def checked_lengths(builder: PlanBuilder, lengths: View | None, T: int) -> View | None:
    """Return a copy of the lengths that no other thread can change; copying fails unless all are between 0 and T."""
    if lengths is None:
        return None
    copy = builder.new(lengths.shape, "int64")
    builder.emit("lengths", "int64", LENGTHS, {"x": lengths, "y": copy, "N": lengths.size, "T": T})
    return copy


def gathered(builder: PlanBuilder, value: Value, indices: Value, axis: int, *, wrap: bool) -> View:
    """Return the blocks of the value at `indices` along `axis`; with `wrap`, a negative index counts from the end."""
    check_integers(builder, indices=indices)
    axis = normal_axis(axis, value.ndim)
    if isinstance(indices, Constant) and indices.array.size:
        view = _selected(builder.view(value), indices.array, axis, wrap=wrap)
        if view is not None:
            return view
    x, ids = builder.contiguous(value), builder.contiguous(as_dtype(builder, indices, "int64"))
    before, after = x.shape[:axis], x.shape[axis + 1 :]
    y = builder.new((*before, *ids.shape, *after), x.dtype)
    if ids.size:
        builder.emit("gather", "int64", GATHER, {
            "x": x, "ids": ids, "y": y, "outer": prod(before), "count": ids.size, "entries": x.shape[axis],
            "inner": prod(after) * itemsize(x.dtype), "wrap": wrap,
        })  # fmt: skip
    return y


def _selected(x: View, indices: Array, axis: int, *, wrap: bool) -> View | None:
    """Return the blocks at constant positions as a view; None unless they are evenly spaced along each axis."""
    size = x.shape[axis]
    low, high = int(indices.min()), int(indices.max())
    if not (-size if wrap else 0) <= low <= high < size:
        raise ShapeError(f"index {high if high >= size else low} is out of range for {size} entries")
    where = indices.astype(np.int64) % size
    if (spaced := evenly_spaced(where)) is None:
        return None
    first, steps = spaced
    sizes = (*x.shape[:axis], *where.shape, *x.shape[axis + 1 :])
    strides = (*x.strides[:axis], *(s * x.strides[axis] for s in steps), *x.strides[axis + 1 :])
    return View(x.buffer, x.moved(first * x.strides[axis]), sizes, strides, x.dtype)


def evenly_spaced(where: Array) -> tuple[int, tuple[int, ...]] | None:
    """Return the first position and the step along each of their axes; None if they are not evenly spaced."""
    first = int(where.reshape(-1)[0])
    steps = tuple(int(np.take(where, [1], i).reshape(-1)[0]) - first if n > 1 else 0 for i, n in enumerate(where.shape))
    grid: Sequence[Array] = np.indices(where.shape, sparse=True)
    spaced = sum((g * s for g, s in zip(grid, steps, strict=True)), np.int64(first))
    return (first, steps) if np.array_equal(where, spaced) else None


@lowering("gather")
def lower_gather(builder: PlanBuilder, node: Node, x: Value, indices: Value) -> list[Value]:
    """y = x taken at `indices` along an axis."""
    return [gathered(builder, x, indices, node.attrs["axis"], wrap=True)]


@lowering("gather_elements")
def lower_gather_elements(builder: PlanBuilder, node: Node, x_value: Value, indices: Value) -> list[Value]:
    """y[i, j, ...] = x[..., indices[i, j, ...], ...]."""
    check_integers(builder, indices=indices)
    x, ids = builder.view(x_value), as_dtype(builder, indices, "int64")
    axis = normal_axis(node.attrs["axis"], x.ndim)
    check_beside(node.op, ids.shape, x.shape, axis)
    y = builder.new(ids.shape, x.dtype)
    if y.size:
        beside = tuple(0 if i == axis else s for i, s in enumerate(x.strides))
        builder.emit("gather_elements", f"int{8 * itemsize(x.dtype)}", GATHER_ELEMENTS, {
            "x": x, "ids": ids, "y": y, "along": x.strides[axis], "entries": x.shape[axis],
            "nditer": nditer_words(merged_axes(ids.shape, [beside, ids.strides])),
        })  # fmt: skip
    return [y]


@lowering("last")
def lower_last(builder: PlanBuilder, node: Node, x_value: Value, lengths: Value) -> list[Value]:
    """y (N, C) = the last valid step of each row of x (N, T, C)."""
    if x_value.ndim != 3 or lengths.shape != x_value.shape[:1]:
        raise ShapeError(f"x {x_value.shape} and lengths {lengths.shape}, expected (N, T, C) and (N,)")
    check_integers(builder, lengths=lengths)
    x = builder.view(x_value)
    N, T, C = x.shape
    if T == 0 and N:
        raise ShapeError(f"x has shape {x.shape}, expected at least one step")
    if x.strides[2] != 1 and C > 1:
        x = builder.contiguous(x)
    y = builder.new((N, C), x.dtype)
    ends = builder.contiguous(as_dtype(builder, lengths, "int64"))
    size = itemsize(x.dtype)
    if N:
        builder.emit("last", "int64", LAST, {
            "x": x, "lengths": ends, "y": y, "N": N, "T": T, "block": C * size, "x_n": x.strides[0] * size,
            "x_t": x.strides[1] * size,
        })  # fmt: skip
    return [y]


@lowering("tile")
def lower_tile(builder: PlanBuilder, node: Node, value: Value, repeats: Value) -> list[Value]:
    """Repeat x along each axis: emit one copy for each axis that repeats, beginning with the last."""
    x = builder.view(value)
    counts = integers("the repeats", constant_of(repeats, "the repeats of tile").array)
    if len(counts) != x.ndim or any(c < 0 for c in counts):
        raise ShapeError(f"repeats are {counts}, expected {x.ndim} numbers")
    for axis in reversed(range(x.ndim)):
        if counts[axis] == 1:
            continue
        before, size, after = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
        y = builder.new((*before, counts[axis] * size, *after), x.dtype)
        shape = (*before, counts[axis], size, *after)
        source = x.as_strided(shape, (*x.strides[:axis], 0, *x.strides[axis:]))
        builder.copy(source, y.as_strided(shape, contiguous_strides(shape)))
        x = y
    return [x]


@lowering("pad")
def lower_pad(builder: PlanBuilder, node: Node, x_value: Value, pads: Value, value: Value | None = None) -> list[Value]:
    """Add elements around x; a negative pad removes elements."""
    x = builder.view(x_value)
    widths = pad_widths(constant_of(pads, "the pads").array, node.attrs.get("axes"), x.ndim)
    for axis, (begin, end) in enumerate(widths):
        last = max(x.shape[axis] - max(-end, 0), 0)
        x = sliced(x, axis, min(max(-begin, 0), last), last)
    grown = {axis: (max(b, 0), max(e, 0)) for axis, (b, e) in enumerate(widths) if b > 0 or e > 0}
    mode = node.attrs["mode"]
    if mode == "constant":
        return [_framed(builder, x, grown, value) if grown else x]
    result = x
    for axis, both in grown.items():
        builder.room_for((x.shape[axis] + sum(both),), "int64")
        try:
            positions = np.pad(np.arange(x.shape[axis]), both, mode=mode)
        except ValueError as error:
            raise ShapeError(f"pad: axis {axis} of shape {x.shape}: {error}") from None
        result = gathered(builder, result, Constant(positions), axis, wrap=False)
    return [result]


def _framed(builder: PlanBuilder, x: View, grown: dict[int, tuple[int, int]], value: Value | None) -> View:
    """Return x inside a larger tensor that is filled with one number."""
    if value is not None and prod(value.shape) != 1:
        raise ShapeError(f"pad: value has shape {value.shape}, expected a scalar")
    shape = [n + sum(grown.get(i, (0, 0))) for i, n in enumerate(x.shape)]
    if prod(shape) == 0:
        return builder.new(shape, x.dtype)
    number = as_dtype(builder, Constant(np.zeros(1, x.dtype)) if value is None else value, x.dtype)
    around = View(number.buffer, number.offset, tuple(shape), (0,) * len(shape), x.dtype)
    start = tuple(grown.get(i, (0, 0))[0] for i in range(x.ndim))
    zeros = (0,) * x.ndim
    return builder.assemble(shape, x.dtype, [Region(zeros, around, builder.label), Region(start, x, builder.label)])


@lowering("constant_of_shape")
@lowering("nonzero")
@lowering("range")
def lower_sized_by_data(builder: PlanBuilder, node: Node, *values: Value) -> list[Value]:
    """Refuse the operator, because the size of its result depends on data. Planning evaluates it for constants."""
    for name, value in zip(OPS[node.op].schema.required_inputs, values, strict=True):
        constant_of(value, f"{name} of {node.op}, and with it the size of the result,")
    raise AssertionError(f"{node.op} of constants is evaluated by the plan")

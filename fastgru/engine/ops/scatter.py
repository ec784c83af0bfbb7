"""Scatter: elements and blocks are replaced or combined at positions.

Constant positions that are evenly spaced need no index at run time: the updates are copied as a strided block.
"""

from math import prod

import numpy as np

from fastgru.engine.buffers import Region, contiguous_strides, itemsize
from fastgru.engine.emission import Given
from fastgru.engine.lowering import Constant, Node, PlanBuilder, Value, View, lowering
from fastgru.engine.ops.cast import as_dtype, check_integers
from fastgru.engine.ops.elementwise import same_dtype
from fastgru.engine.ops.indexing import evenly_spaced
from fastgru.engine.positions import expanded, positions
from fastgru.engine.strides import merged_axes, nditer_words
from fastgru.errors import ShapeError, UnsupportedModelError
from fastgru.kernels.operands.declare import Operands
from fastgru.kernels.operands.scatter import REDUCTIONS, SCATTER_ELEMENTS, SCATTER_ND
from fastgru.reference.scatter import check_scatter_elements, check_scatter_nd
from fastgru.reference.shape import normal_axis


@lowering("scatter_nd")
def _lower_scatter_nd(builder: PlanBuilder, node: Node, x: Value, indices: Value, updates: Value) -> list[Value]:
    """Replace blocks of x, or combine them with the updates."""
    reduction = _reduction(builder, node, x, updates)
    check_integers(builder, indices=indices)
    k = check_scatter_nd(x.shape, indices.shape, updates.shape)
    if prod(updates.shape) == 0:
        return [builder.view(x)]
    if prod(x.shape) == 0:
        raise ShapeError(f"x of shape {x.shape} has no elements to replace")
    if isinstance(indices, Constant) and reduction == "none":
        target = _block(x.shape, indices, updates.shape)
        if target is not None:
            return [_replaced(builder, x, target, updates)]
    y, wide = _filled(builder, x, reduction)
    new = builder.contiguous(updates if wide is None else as_dtype(builder, updates, wide))
    ids = builder.contiguous(as_dtype(builder, indices, "int64"))
    _emit(builder, "scatter_nd", reduction, SCATTER_ND, y, {
        "ids": ids, "updates": new, "count": prod(indices.shape[:-1]), "inner": prod(x.shape[k:]), "k": k,
        "sizes": x.shape[:k],
    })  # fmt: skip
    return [y if wide is None else as_dtype(builder, y, builder.dtype(x))]


def _block(shape: tuple[int, ...], indices: Constant, updates: tuple[int, ...]) -> tuple[int, tuple[int, ...]] | None:
    """Return the first element and the strides of the updates in a contiguous tensor of `shape`.

    Returns None if they are not evenly spaced, or if an element comes twice.
    """
    k = indices.shape[-1]
    where = indices.array.astype(np.int64)
    sizes, steps = np.array(shape[:k], np.int64), contiguous_strides(shape)
    if (wrong := (where < -sizes) | (where >= sizes)).any():
        at = tuple(np.argwhere(wrong)[0])
        raise ShapeError(f"index {where[at]} is out of range for {sizes[at[-1]]} entries")
    first = (where % sizes * np.array(steps[:k], np.int64)).sum(-1)
    spaced = evenly_spaced(first)
    if spaced is None or np.unique(first).size < first.size:
        return None
    return spaced[0], (*spaced[1], *steps[k:])


def _replaced(builder: PlanBuilder, x: Value, target: tuple[int, tuple[int, ...]], updates: Value) -> View:
    """Return x with a strided block replaced: as a region if the block is a box of x, otherwise by copies."""
    old, new = builder.view(x), builder.view(updates)
    y = builder.new(old.shape, old.dtype)
    place = View(y.buffer, target[0] * itemsize(old.dtype), new.shape, target[1], old.dtype)
    where = positions(place, old.shape)
    factors = [] if where is None else [f for one in where.factors for f in one]
    named = [f.axis for f in factors if f.axis >= 0]
    if where is None or any(f.step != 1 for f in factors if f.axis >= 0) or len(set(named)) < len(named):
        builder.copy(old, y)
        builder.copy(new, place)
        return y
    flat = expanded(new, where)
    steps = {f.axis: (f.size, s) for f, s in zip(factors, flat.strides, strict=True)}
    shape, strides = zip(*(steps.get(axis, (1, 0)) for axis in range(old.ndim)), strict=True)
    box = new.as_strided(tuple(shape), tuple(strides))
    regions = [Region((0,) * old.ndim, old, builder.label), Region(where.low, box, builder.label)]
    return builder.assemble(old.shape, old.dtype, regions)


@lowering("scatter_elements")
def _lower_scatter_elements(builder: PlanBuilder, node: Node, x: Value, indices: Value, updates: Value) -> list[Value]:
    """Replace elements of x along an axis, or combine them with the updates."""
    reduction = _reduction(builder, node, x, updates)
    check_integers(builder, indices=indices)
    axis = normal_axis(node.attrs["axis"], x.ndim)
    check_scatter_elements(x.shape, indices.shape, updates.shape, axis)
    if prod(updates.shape) == 0:
        return [builder.view(x)]
    y, wide = _filled(builder, x, reduction)
    new = builder.view(updates) if wide is None else as_dtype(builder, updates, wide)
    ids = as_dtype(builder, indices, "int64")
    beside = tuple(0 if i == axis else s for i, s in enumerate(y.strides))
    _emit(builder, "scatter_elements", reduction, SCATTER_ELEMENTS, y, {
        "ids": ids, "updates": new, "along": y.strides[axis], "entries": y.shape[axis],
        "nditer": nditer_words(merged_axes(ids.shape, [beside, ids.strides, new.strides])),
    })  # fmt: skip
    return [y if wide is None else as_dtype(builder, y, builder.dtype(x))]


def _reduction(builder: PlanBuilder, node: Node, x: Value, updates: Value) -> str:
    reduction: str = node.attrs["reduction"]
    dtype = same_dtype(builder, x=x, updates=updates)
    if reduction != "none" and dtype == "bool":
        raise UnsupportedModelError(
            f"reduction {reduction!r} of bool is not implemented; cast the bool to a number first"
        )
    return reduction


def _filled(builder: PlanBuilder, x: Value, reduction: str) -> tuple[View, str | None]:
    """Return a fresh copy of x to write into, and the dtype to compute in, or None if that is the dtype of x."""
    wide = None if reduction == "none" or builder.dtype(x) in (builder.float_dtype, "int64") else "int64"
    old = builder.view(x) if wide is None else as_dtype(builder, x, wide)
    y = builder.new(old.shape, old.dtype)
    builder.copy(old, y)
    return y, wide


def _emit(builder: PlanBuilder, op: str, reduction: str, operands: Operands, y: View, given: Given) -> None:
    given = {**given, "y": y, "code": getattr(REDUCTIONS, reduction)}
    if reduction == "none":
        builder.emit(op, f"int{8 * itemsize(y.dtype)}", operands, given)
    else:
        builder.emit(f"{op}_reduce", y.dtype, operands, given)

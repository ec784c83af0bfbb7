"""Operators that change only the shape, order or extent of a tensor: views, or copies if no strides express them."""

from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.lib.stride_tricks import as_strided

from fastgru.engine.buffers import Region, contiguous_strides, itemsize
from fastgru.engine.lowering import Constant, Node, PlanBuilder, Value, View, constant_of, lowering
from fastgru.engine.strides import broadcast_strides
from fastgru.errors import ShapeError
from fastgru.reference import OPS, evaluate
from fastgru.reference.shape import flat_shape, integers, new_shape, normal_axis

__all__ = ["broadcast_to", "reshaped", "sliced"]


def reshaped(builder: PlanBuilder, value: Value, shape: Sequence[int]) -> View:
    """Return the same elements, in C order, with another shape; they are copied if the strides do not allow a view."""
    shape = tuple(int(n) for n in shape)
    view = builder.view(value)
    if prod(shape) != view.size:
        raise ShapeError(f"{builder.label}: {view.size} elements of shape {view.shape} do not make shape {shape}")
    strides = _restride(view, shape)
    if strides is None:
        view = builder.contiguous(view)
        strides = contiguous_strides(shape)
    return view.as_strided(shape, strides)


def _restride(view: View, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return strides that read the view's elements with `shape`; None if there are none."""
    if view.contiguous:
        return contiguous_strides(shape)
    old = [(n, s) for n, s in zip(view.shape, view.strides, strict=True) if n != 1]
    strides = [0] * len(shape)
    i = 0
    axis = 0
    while axis < len(shape):
        if shape[axis] == 1:
            axis += 1
            continue
        if i == len(old):
            return None
        count, stop = shape[axis], axis + 1
        have, last = old[i][0], i
        while count != have:
            if count < have:
                while stop < len(shape) and shape[stop] == 1:
                    stop += 1
                if stop == len(shape):
                    return None
                count *= shape[stop]
                stop += 1
            else:
                last += 1
                if last == len(old) or old[last - 1][1] != old[last][0] * old[last][1]:
                    return None
                have *= old[last][0]
        step = old[last][1]
        for k in reversed(range(axis, stop)):
            strides[k] = step
            step *= shape[k]
        i, axis = last + 1, stop
    return tuple(strides)


@lowering("reshape")
def lower_reshape(builder: PlanBuilder, node: Node, x: Value, shape: Value) -> list[Value]:
    """In the new shape, 0 stands for the size of x at that axis, and -1 for the size that is left."""
    target = integers("the new shape", constant_of(shape, f"{node}: the new shape").array)
    return [reshaped(builder, x, new_shape(x.shape, target, allow_zero=node.attrs.get("allow_zero", False)))]


@lowering("flatten")
def lower_flatten(builder: PlanBuilder, node: Node, x: Value) -> list[Value]:
    """Reshape to two axes: the axes before `axis`, and the rest."""
    return [reshaped(builder, x, flat_shape(x.shape, node.attrs["axis"]))]


@lowering("expand")
@lowering("slice")
@lowering("split")
@lowering("squeeze")
@lowering("transpose")
@lowering("unsqueeze")
def lower_frame(builder: PlanBuilder, node: Node, value: Value, *parameters: Value | None) -> list[Value]:
    """Lower an operator to a view of x by applying its definition to an array of the same shape and strides.

    The array has no memory of its own, and the definition reads none: it returns views of the array, and the same views
    of x are the outputs.
    """
    x, step = builder.view(value), itemsize(builder.dtype(value))
    names = [*OPS[node.op].schema.required_inputs, *OPS[node.op].schema.optional_inputs][1:]
    known = [
        None if given is None else constant_of(given, f"{node}: {name}").array
        for given, name in zip(parameters, names, strict=False)
    ]
    frame = as_strided(np.zeros(1, x.dtype), x.shape, [s * step for s in x.strides])
    views: list[Value] = []
    for moved in evaluate(node, [frame, *known]):
        if moved.size > x.size:
            builder.room_for(moved.shape, x.dtype)  # a view takes no memory, but reading all of it takes time
        first = moved.__array_interface__["data"][0] - frame.__array_interface__["data"][0] if moved.size else 0
        views.append(View(x.buffer, x.offset + first, moved.shape, tuple(s // step for s in moved.strides), x.dtype))
    if len(views) != len(node.outputs):
        raise ShapeError(f"{node}: got {len(views)} parts, expected {len(node.outputs)} for its outputs")
    return views


def sliced(x: View, axis: int, first: int, last: int) -> View:
    """Return x[first:last] along an axis."""
    shape = (*x.shape[:axis], last - first, *x.shape[axis + 1 :])
    return View(x.buffer, x.moved(first * x.strides[axis]), shape, x.strides, x.dtype)


def broadcast_to(x: View, shape: tuple[int, ...]) -> View:
    """Return a view of x with a shape that x broadcasts to."""
    return x.as_strided(shape, broadcast_strides(x, shape))


@lowering("concat")
def lower_concat(builder: PlanBuilder, node: Node, *inputs: Value) -> list[Value]:
    """Concatenate the inputs along an axis."""
    views = [builder.view(v) for v in inputs]
    axis = normal_axis(node.attrs["axis"], views[0].ndim)
    if len({p.dtype for p in views}) > 1 or len({p.ndim for p in views}) > 1:
        raise ShapeError(f"{node}: got {', '.join(f'{p.dtype} {p.shape}' for p in views)}, expected one dtype and rank")
    rest = {(*p.shape[:axis], *p.shape[axis + 1 :]) for p in views}
    if len(rest) != 1:
        raise ShapeError(f"{node}: shapes {', '.join(str(p.shape) for p in views)} differ on other axes than {axis}")
    first = views[0]
    shape = (*first.shape[:axis], sum(p.shape[axis] for p in views), *first.shape[axis + 1 :])
    regions, at = [], 0
    for view in views:
        start = tuple(at if i == axis else 0 for i in range(len(shape)))
        regions.append(Region(start, view, builder.label))
        at += view.shape[axis]
    return [builder.assemble(shape, first.dtype, regions)]


@lowering("shape")
def lower_shape(builder: PlanBuilder, node: Node, x: Value) -> list[Value]:
    """The sizes of x, a constant of the plan."""
    sizes = np.array(x.shape, np.int64)
    return [Constant(sizes[node.attrs.get("start", 0) : node.attrs.get("end")])]

"""Operators that only move a tensor's frame: views, and a copy where no stride says it."""

from collections.abc import Sequence
from math import prod

import numpy as np

from fastgru.engine.buffers import Constant, Region, Value, View, constant_of, contiguous_strides
from fastgru.engine.builder import PlanBuilder
from fastgru.engine.lowering import lowering
from fastgru.errors import ShapeError
from fastgru.graph import Node
from fastgru.reference.shape import integers, normal_axis
from fastgru.reference.slicing import split_sizes

__all__ = ["reshaped"]


def reshaped(builder: PlanBuilder, value: Value, shape: Sequence[int]) -> View:
    """The same elements in C order under another shape; copied where the strides do not allow a view."""
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
    """Strides that read the view's elements under `shape`, or None where there are none."""
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
    """0 copies a size of x, -1 is what is left."""
    target = integers("the new shape", constant_of(shape, f"{node}: the new shape").array)
    if not node.attrs.get("allow_zero", False):
        if any(n == 0 and i >= x.ndim for i, n in enumerate(target)):
            raise ShapeError(f"{node}: shape {target} copies an axis that shape {x.shape} has not")
        target = [x.shape[i] if n == 0 else n for i, n in enumerate(target)]
    if any(n < -1 for n in target):
        raise ShapeError(f"{node}: shape {target}, expected sizes of at least 0 and at most one -1")
    if -1 in target:
        rest = prod(n for n in target if n != -1)
        if target.count(-1) > 1 or rest == 0 or prod(x.shape) % rest:
            raise ShapeError(f"{node}: shape {x.shape} cannot be reshaped to {target}")
        target[target.index(-1)] = prod(x.shape) // rest
    return [reshaped(builder, x, target)]


@lowering("flatten")
def lower_flatten(builder: PlanBuilder, node: Node, x: Value) -> list[Value]:
    """Two axes: what stands before `axis`, and the rest."""
    axis = node.attrs["axis"]
    if not -x.ndim <= axis <= x.ndim:
        raise ShapeError(f"{node}: axis {axis} is outside {x.ndim} axes")
    axis += x.ndim if axis < 0 else 0
    return [reshaped(builder, x, (prod(x.shape[:axis]), prod(x.shape[axis:])))]


@lowering("squeeze")
def lower_squeeze(builder: PlanBuilder, node: Node, value: Value) -> list[Value]:
    """Drop axes of size 1."""
    x = builder.view(value)
    axes = {normal_axis(a, x.ndim) for a in node.attrs["axes"]} or {i for i, n in enumerate(x.shape) if n == 1}
    if wrong := [a for a in sorted(axes) if x.shape[a] != 1]:
        raise ShapeError(f"{node}: axes {wrong} of shape {x.shape} are not of size 1")
    kept = [i for i in range(x.ndim) if i not in axes]
    shape, strides = tuple(x.shape[i] for i in kept), tuple(x.strides[i] for i in kept)
    return [x.as_strided(shape, strides)]


@lowering("unsqueeze")
def lower_unsqueeze(builder: PlanBuilder, node: Node, value: Value) -> list[Value]:
    """Insert axes of size 1."""
    x = builder.view(value)
    rank = x.ndim + len(node.attrs["axes"])
    axes = {normal_axis(a, rank) for a in node.attrs["axes"]}
    if len(axes) != len(node.attrs["axes"]):
        raise ShapeError(f"{node}: axes {list(node.attrs['axes'])} name one axis twice")
    sizes, steps = iter(x.shape), iter(x.strides)
    shape = tuple(1 if i in axes else next(sizes) for i in range(rank))
    strides = tuple(0 if i in axes else next(steps) for i in range(rank))
    return [x.as_strided(shape, strides)]


@lowering("transpose")
def lower_transpose(builder: PlanBuilder, node: Node, value: Value) -> list[Value]:
    """Axes in another order."""
    x = builder.view(value)
    perm = list(node.attrs["perm"])
    if sorted(perm) != list(range(x.ndim)):
        raise ShapeError(f"{node}: perm {perm} does not fit shape {x.shape}")
    shape, strides = tuple(x.shape[p] for p in perm), tuple(x.strides[p] for p in perm)
    return [x.as_strided(shape, strides)]


@lowering("expand")
def lower_expand(builder: PlanBuilder, node: Node, value: Value, to: Value) -> list[Value]:
    """Broadcast, with strides of 0."""
    x = builder.view(value)
    target = tuple(integers("the new shape", constant_of(to, f"{node}: the new shape").array))
    if min(target, default=0) < 0:
        raise ShapeError(f"{node}: the new shape is {target}, expected sizes of at least 0")
    shape = _broadcast_shape(node, x.shape, target)
    builder.room_for(shape, x.dtype)  # a view takes no memory, but who reads it takes the time
    return [broadcast_to(x, shape)]


def broadcast_to(x: View, shape: tuple[int, ...]) -> View:
    """A view of x under a shape that x broadcasts to."""
    lead = len(shape) - x.ndim
    sizes, steps = (1,) * lead + x.shape, (0,) * lead + x.strides
    strides = tuple(0 if n == 1 and full != 1 else s for n, s, full in zip(sizes, steps, shape, strict=True))
    return x.as_strided(shape, strides)


def _broadcast_shape(node: Node, a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    try:
        return tuple(int(n) for n in np.broadcast_shapes(a, b))
    except ValueError:
        raise ShapeError(f"{node}: shapes {a} and {b} do not broadcast") from None


@lowering("slice")
def lower_slice(
    builder: PlanBuilder, node: Node, value: Value, begins: Value, stops: Value, along: Value | None = None,
    by: Value | None = None,
) -> list[Value]:  # fmt: skip
    """A view with steps, negative ones too; bounds are clamped as ONNX defines."""

    def known(bounds: Value) -> list[int]:
        return integers("the bounds", constant_of(bounds, f"{node}: the bounds").array)

    x, starts, ends = builder.view(value), known(begins), known(stops)
    axes = [normal_axis(a, x.ndim) for a in (range(len(starts)) if along is None else known(along))]
    steps = [1] * len(starts) if by is None else known(by)
    if not len(starts) == len(ends) == len(axes) == len(steps) == len(set(axes)):
        raise ShapeError(f"{node}: starts {starts}, ends {ends}, axes {axes}, steps {steps} do not fit together")
    shape, strides, first = list(x.shape), list(x.strides), 0
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step == 0:
            raise ShapeError(f"{node}: a step of 0")
        size = x.shape[axis]
        low, high = (0, size) if step > 0 else (-1, size - 1)
        start = min(max(start + size if start < 0 else start, low if step > 0 else 0), high)
        end = min(max(end + size if end < 0 else end, low), size if step > 0 else size - 1)
        count = max(0, -(-(end - start) // step))
        first += start * x.strides[axis] if count else 0
        shape[axis], strides[axis] = count, x.strides[axis] * step
    return [View(x.buffer, x.moved(first), tuple(shape), tuple(strides), x.dtype)]


@lowering("split")
def lower_split(builder: PlanBuilder, node: Node, value: Value, parts: Value | None = None) -> list[Value]:
    """Views side by side along an axis."""
    x = builder.view(value)
    axis = normal_axis(node.attrs["axis"], x.ndim)
    given = None if parts is None else constant_of(parts, f"{node}: the sizes").array
    sizes = split_sizes(x.shape[axis], given, node.attrs.get("sizes"), node.attrs.get("parts"))
    if len(sizes) != len(node.outputs):
        raise ShapeError(f"{node}: sizes {sizes} for {len(node.outputs)} outputs")
    views: list[Value] = []
    first = 0
    for size in sizes:
        shape = (*x.shape[:axis], size, *x.shape[axis + 1 :])
        views.append(View(x.buffer, x.moved(first * x.strides[axis]), shape, x.strides, x.dtype))
        first += size
    return views


@lowering("concat")
def lower_concat(builder: PlanBuilder, node: Node, *inputs: Value) -> list[Value]:
    """Each input in its place."""
    views = [builder.view(v) for v in inputs]
    axis = normal_axis(node.attrs["axis"], views[0].ndim)
    if len({p.dtype for p in views}) > 1 or len({p.ndim for p in views}) > 1:
        raise ShapeError(f"{node}: got {', '.join(f'{p.dtype} {p.shape}' for p in views)}, expected one dtype and rank")
    rest = {(*p.shape[:axis], *p.shape[axis + 1 :]) for p in views}
    if len(rest) != 1:
        raise ShapeError(f"{node}: shapes {', '.join(str(p.shape) for p in views)} differ beside axis {axis}")
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
    """The sizes, known when the plan is made."""
    sizes = np.array(x.shape, np.int64)
    return [Constant(sizes[node.attrs.get("start", 0) : node.attrs.get("end")])]

"""Layers that move, cut or join, under the names of torch's functions, and those that do nothing in inference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fastgru.graph import TensorSpec
from fastgru.importers.architecture.layer import Layer
from fastgru.importers.architecture.registry import layer_type
from fastgru.importers.architecture.reshape import moved
from fastgru.importers.architecture.values import shape_of, shown

__all__: list[str] = []

Parts = tuple[tuple[str, TensorSpec], ...]

_END: Final = (1 << 63) - 1


@layer_type("AlphaDropout", "Dropout", "Dropout1d", "Dropout2d", training="p inplace")
@layer_type("Identity")
def _identity(layer: Layer) -> TensorSpec:
    """x as it is: dropping is for training."""
    return layer.x


@layer_type("Transpose", options="dim0 dim1")
def _transpose(layer: Layer) -> TensorSpec:
    perm = list(range(layer.rank))
    a, b = layer.axis("dim0"), layer.axis("dim1")
    perm[a], perm[b] = perm[b], perm[a]
    return moved(layer, layer.x, perm)


@layer_type("Permute", options="dims")
def _permute(layer: Layer) -> TensorSpec:
    perm = [layer.normal_axis(d, layer.rank) for d in layer.options.integers("dims")]
    if sorted(perm) != list(range(layer.rank)):
        raise layer.wrong_input(f"{len(perm)} axes, each named once in dims")
    return moved(layer, layer.x, perm)


@layer_type("Unsqueeze", options="dim")
def _unsqueeze(layer: Layer) -> TensorSpec:
    axis, shape, dims = layer.axis("dim", rank=layer.rank + 1), shape_of(layer.x), layer.x.dims
    shape, dims = (*shape[:axis], 1, *shape[axis:]), (*dims[:axis], None, *dims[axis:])
    return layer.apply("unsqueeze", layer.x, shape=shape, dims=dims, axes=[axis])


@layer_type("Squeeze", options="dim")
def _squeeze(layer: Layer) -> TensorSpec:
    axes = layer.axes("dim")
    if any(shape_of(layer.x)[a] != 1 for a in axes):
        raise layer.wrong_input(f"size 1 on axis {', '.join(map(str, axes))}")
    kept = [a for a in range(layer.rank) if a not in axes]
    shape, dims = tuple(shape_of(layer.x)[a] for a in kept), tuple(layer.x.dims[a] for a in kept)
    return layer.apply("squeeze", layer.x, shape=shape, dims=dims, axes=axes)


@layer_type("Slice", options="dim start end step")
def _slice(layer: Layer) -> TensorSpec:
    """x[start:end:step] along dim, as Python slices."""
    axis, step = layer.axis("dim"), layer.options.integer("step", 1, least=1)
    start = layer.options.integer("start", 0)
    end = layer.options.integer("end") if "end" in layer.options else None
    shape, dims = list(shape_of(layer.x)), list(layer.x.dims)
    size = shape[axis]
    shape[axis] = None if size is None else len(range(*slice(start, end, step).indices(size)))
    if (start, end, step) != (0, None, 1):
        dims[axis] = None
    bounds = {"start": start, "end": _END if end is None else end, "axis": axis, "step": step}
    names = [layer.constant(name, [value]) for name, value in bounds.items()]
    return layer.apply("slice", layer.x, *names, shape=tuple(shape), dims=tuple(dims))


@layer_type("Select", options="dim index")
def _select(layer: Layer) -> TensorSpec:
    """x without the axis dim, at index of it; -1 is the last."""
    axis, index = layer.axis("dim"), layer.options.integer("index")
    size = shape_of(layer.x)[axis]
    if size is not None and not -size <= index < size:
        raise layer.wrong_input(f"an element {index} on axis {axis}")
    shape, dims = shape_of(layer.x), layer.x.dims
    shape, dims = (*shape[:axis], *shape[axis + 1 :]), (*dims[:axis], *dims[axis + 1 :])
    return layer.apply("gather", layer.x, layer.constant("index", index), shape=shape, dims=dims, axis=axis)


@layer_type("Flip", options="dim")
def _flip(layer: Layer) -> TensorSpec:
    """x from its last element to its first along dim."""
    bounds = {"start": -1, "end": -_END - 1, "axis": layer.axis("dim"), "step": -1}
    return layer.apply("slice", layer.x, *(layer.constant(name, [value]) for name, value in bounds.items()))


@layer_type("LastStep", options="batch_first lengths")
def _last_step(layer: Layer) -> TensorSpec:
    """The last step of (T, N, C), or (N, T, C) with batch_first -> (N, C); with lengths, the last valid one."""
    layer.need_rank(3, form="3 axes: (T, N, C), or (N, T, C) with batch_first")
    time = 1 if layer.options.flag("batch_first", False) else 0
    shape, dims = shape_of(layer.x), layer.x.dims
    shape, dims = (shape[1 - time], shape[2]), (dims[1 - time], dims[2])
    if "lengths" not in layer.options:
        return layer.apply("gather", layer.x, layer.constant("index", -1), shape=shape, dims=dims, axis=time)
    lengths = layer.value(layer.options.text("lengths"))
    rows = layer.x if time else moved(layer, layer.x, [1, 0, 2])
    return layer.apply("last", rows, lengths, shape=shape, dims=dims)


@layer_type("Concat", options="dim", inputs=(1, None))
def _concat(layer: Layer) -> TensorSpec:
    axis = layer.axis("dim")
    shape, dims = list(shape_of(layer.x)), list(layer.x.dims)
    total: int | None = 0
    for index, x in enumerate(layer.inputs):
        each = shape_of(x)
        if x.dtype != layer.x.dtype or len(each) != layer.rank:
            raise layer.wrong_input(f"{layer.x.dtype} with {layer.rank} axes", index)
        for a, size in enumerate(each):
            if a != axis and size is not None and shape[a] not in (None, size):
                raise layer.wrong_input(f"{shown(layer.x)} but for axis {axis}", index)
            shape[a], dims[a] = (size, None) if shape[a] is None and size is not None else (shape[a], dims[a])
        total = None if total is None or each[axis] is None else total + (each[axis] or 0)
    shape[axis] = total
    dims[axis] = dims[axis] if len(layer.inputs) == 1 else None
    return layer.apply("concat", *layer.inputs, shape=tuple(shape), dims=tuple(dims), axis=axis)


@layer_type("Split", options="dim sizes")
def _split(layer: Layer) -> Parts:
    """x cut along dim into sizes; the parts are "name.0", "name.1"..."""
    sizes = layer.options.integers("sizes", least=1)
    return _parts(layer, layer.axis("dim", 0), sizes)


@layer_type("Chunk", options="dim chunks")
def _chunk(layer: Layer) -> Parts:
    """x cut along dim into so many parts of equal size, of which the last may be smaller."""
    axis, count = layer.axis("dim", 0), layer.options.integer("chunks", least=1)
    size = shape_of(layer.x)[axis]
    if not size:
        raise layer.wrong_input(f"a known size on axis {axis}")
    each = -(-size // count)
    return _parts(layer, axis, [min(each, size - at) for at in range(0, size, each)])


def _parts(layer: Layer, axis: int, sizes: Sequence[int]) -> Parts:
    shape, dims = shape_of(layer.x), layer.x.dims
    if shape[axis] not in (None, sum(sizes)):
        raise layer.wrong_input(f"{sum(sizes)} elements on axis {axis}")
    forms = [
        TensorSpec(
            str(k), layer.x.dtype, (*shape[:axis], n, *shape[axis + 1 :]), (*dims[:axis], None, *dims[axis + 1 :])
        )
        for k, n in enumerate(sizes)
    ]
    made = layer.add("split", [layer.x], forms, axis=axis, sizes=list(sizes))
    return tuple((str(k), value) for k, value in enumerate(made))


@layer_type("Cast", options="to")
def _cast(layer: Layer) -> TensorSpec:
    to = layer.options.choice("to", ("float32", "int64", "int32", "bool"))
    return layer.apply("cast", layer.x, dtype=to, to=to)


@layer_type("Expand", options="sizes")
def _expand(layer: Layer) -> TensorSpec:
    """Axes of size 1 repeated up to sizes; -1 leaves an axis as it is."""
    sizes = layer.options.integers("sizes", least=-1)
    if len(sizes) != layer.rank:
        raise layer.wrong_input(f"{len(sizes)} axes, one for each of sizes")
    for axis, (size, wanted) in enumerate(zip(shape_of(layer.x), sizes, strict=True)):
        if wanted != -1 and size not in (None, 1, wanted):
            raise layer.wrong_input(f"1 element on axis {axis}, to become {wanted}")
    shape = tuple(size if wanted == -1 else wanted for size, wanted in zip(shape_of(layer.x), sizes, strict=True))
    target = layer.constant("sizes", [1 if wanted == -1 else wanted for wanted in sizes])
    return layer.apply("expand", layer.x, target, shape=shape, dims=layer.x.dims)

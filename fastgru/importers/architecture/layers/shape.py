"""Layers that move, cut, pad or join elements, named like torch's functions, and layers without effect in inference.

Amounts of padding are in the order of torch.nn.functional.pad, the last axis first.
"""

from collections.abc import Sequence
from typing import Final

from fastgru.graphbuilder import Value
from fastgru.importers.architecture.layers.reshape import moved
from fastgru.importers.architecture.registry import DescribedLayer, layer_type, shown

__all__ = ["padded", "sliced"]

Parts = tuple[tuple[str, Value], ...]

_END: Final = (1 << 63) - 1
_MODES: Final = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
_MODULES: Final = {
    "Constant": "constant", "Circular": "wrap", "Reflection": "reflect", "Replication": "edge", "Zero": "constant",
}  # fmt: skip


@layer_type("AlphaDropout", "Dropout", "Dropout1d", "Dropout2d", training="p inplace", floats=False)
@layer_type("Identity", floats=False)
def _identity(layer: DescribedLayer) -> Value:
    """Return x itself, because dropout has no effect in inference."""
    return layer.x


@layer_type("Transpose", options="dim0 dim1", floats=False)
def _transpose(layer: DescribedLayer) -> Value:
    perm = list(range(layer.rank))
    a, b = layer.axis("dim0"), layer.axis("dim1")
    perm[a], perm[b] = perm[b], perm[a]
    return moved(layer, layer.x, perm)


@layer_type("Permute", options="dims", floats=False)
def _permute(layer: DescribedLayer) -> Value:
    perm = [layer.normal_axis(d, layer.rank) for d in layer.options.integers("dims")]
    if sorted(perm) != list(range(layer.rank)):
        raise layer.wrong_input(f"{len(perm)} axes, each named once in dims")
    return moved(layer, layer.x, perm)


@layer_type("Unsqueeze", options="dim", floats=False)
def _unsqueeze(layer: DescribedLayer) -> Value:
    return layer.apply("unsqueeze", layer.x, axes=[layer.axis("dim", rank=layer.rank + 1)])


@layer_type("Squeeze", options="dim", floats=False)
def _squeeze(layer: DescribedLayer) -> Value:
    axes = layer.axes("dim")
    if any(layer.x.shape[a] != 1 for a in axes):
        raise layer.wrong_input(f"size 1 on axis {', '.join(map(str, axes))}")
    return layer.apply("squeeze", layer.x, axes=axes)


@layer_type("Slice", options="dim start end step", floats=False)
def _slice(layer: DescribedLayer) -> Value:
    """x[start:end:step] along dim, as in Python."""
    axis, step = layer.axis("dim"), layer.options.integer("step", 1, least=1)
    start = layer.options.integer("start", 0)
    end = layer.options.integer("end") if "end" in layer.options else None
    return sliced(layer, layer.x, start, _END if end is None else end, axis, step)


def sliced(layer: DescribedLayer, x: Value, start: int, end: int, axis: int, step: int = 1) -> Value:
    """Return x from `start` up to `end` along `axis`."""
    bounds = {"start": start, "end": end, "axis": axis, "step": step}
    return layer.apply("slice", x, *(layer.constant(name, [value]) for name, value in bounds.items()))


@layer_type("Select", options="dim index", floats=False)
def _select(layer: DescribedLayer) -> Value:
    """Take the element `index` along dim and remove this axis; -1 is the last element."""
    axis, index = layer.axis("dim"), layer.options.integer("index")
    size = layer.x.shape[axis]
    if size is not None and not -size <= index < size:
        raise layer.wrong_input(f"an element {index} on axis {axis}")
    return layer.apply("gather", layer.x, layer.constant("index", index), axis=axis)


@layer_type("Flip", options="dim", floats=False)
def _flip(layer: DescribedLayer) -> Value:
    """Reverse x along dim."""
    return sliced(layer, layer.x, -1, -_END - 1, layer.axis("dim"), -1)


@layer_type("LastStep", options="batch_first lengths", floats=False)
def _last_step(layer: DescribedLayer) -> Value:
    """(T, N, C), or (N, T, C) with batch_first -> the last step (N, C); with lengths, the last valid step."""
    layer.need_rank(3, form="3 axes: (T, N, C), or (N, T, C) with batch_first")
    time = 1 if layer.options.flag("batch_first", False) else 0
    if (lengths := layer.asked_lengths(1 - time)) is None:
        return layer.apply("gather", layer.x, layer.constant("index", -1), axis=time)
    rows = layer.x if time else moved(layer, layer.x, [1, 0, 2])
    return layer.apply("last", rows, lengths)


@layer_type("Concat", options="dim", inputs=(1, None), floats=False)
def _concat(layer: DescribedLayer) -> Value:
    axis = layer.axis("dim")
    shape = list(layer.x.shape)
    for index, x in enumerate(layer.inputs):
        each = x.shape
        if x.dtype != layer.x.dtype or len(each) != layer.rank:
            raise layer.wrong_input(f"{layer.x.dtype} with {layer.rank} axes", index)
        for a, size in enumerate(each):
            if a != axis and size is not None and shape[a] not in (None, size):
                raise layer.wrong_input(f"{shown(layer.x)} but for axis {axis}", index)
            shape[a] = size if shape[a] is None else shape[a]
    return layer.apply("concat", *layer.inputs, axis=axis)


@layer_type("Split", options="dim sizes", floats=False)
def _split(layer: DescribedLayer) -> Parts:
    """Split x along dim into parts of these sizes, named "name.0", "name.1"..."""
    sizes = layer.options.integers("sizes", least=1)
    return _parts(layer, layer.axis("dim", 0), sizes)


@layer_type("Chunk", options="dim chunks", floats=False)
def _chunk(layer: DescribedLayer) -> Parts:
    """Split x along dim into at most `chunks` parts of equal size; the last one may be smaller."""
    axis, count = layer.axis("dim", 0), layer.options.integer("chunks", least=1)
    size = layer.x.shape[axis]
    if not size:
        raise layer.wrong_input(f"a known size on axis {axis}")
    each = -(-size // count)
    return _parts(layer, axis, [min(each, size - at) for at in range(0, size, each)])


def _parts(layer: DescribedLayer, axis: int, sizes: Sequence[int]) -> Parts:
    if layer.x.shape[axis] not in (None, sum(sizes)):
        raise layer.wrong_input(f"{sum(sizes)} elements on axis {axis}")
    names = [str(k) for k in range(len(sizes))]
    return tuple(zip(names, layer.add("split", [layer.x], names, axis=axis, sizes=list(sizes)), strict=True))


@layer_type("Cast", options="to", floats=False)
def _cast(layer: DescribedLayer) -> Value:
    to = layer.options.choice("to", ("float32", "int64", "int32", "bool"))
    return layer.apply("cast", layer.x, to=to)


@layer_type("Expand", options="sizes", floats=False)
def _expand(layer: DescribedLayer) -> Value:
    """Repeat axes of size 1 to reach sizes; -1 leaves an axis unchanged."""
    sizes = layer.options.integers("sizes", least=-1)
    if len(sizes) != layer.rank:
        raise layer.wrong_input(f"{len(sizes)} axes, one for each of sizes")
    for axis, (size, wanted) in enumerate(zip(layer.x.shape, sizes, strict=True)):
        if wanted != -1 and size not in (None, 1, wanted):
            raise layer.wrong_input(f"1 element on axis {axis}, to become {wanted}")
    target = layer.constant("sizes", [1 if wanted == -1 else wanted for wanted in sizes])
    return layer.apply("expand", layer.x, target)


@layer_type("Pad", options="pad mode value")
def _pad(layer: DescribedLayer) -> Value:
    """Pad x. pad: (before, after) for the last axis, then for the axis before it, and so on; negative amounts crop."""
    amounts = layer.options.integers("pad")
    if len(amounts) % 2 or len(amounts) // 2 > layer.rank:
        raise layer.options.wrong("pad", f"two numbers for each axis, of at most {layer.rank}")
    mode, value = _MODES[layer.options.choice("mode", tuple(_MODES), "constant")], layer.options.number("value", 0.0)
    if mode != "constant" and value:
        raise layer.invalid(f"value is {value}, but mode {mode!r} does not use a value: leave it out")
    return _backwards(layer, amounts, mode, value)


@layer_type("ConstantPad1d", "ConstantPad2d", options="padding value")
@layer_type(*(f"{name}Pad{n}d" for name in _MODULES if name != "Constant" for n in (1, 2)), options="padding")
def _module(layer: DescribedLayer) -> Value:
    kind, amounts = layer.type[:-5], _amounts(layer)
    return _backwards(layer, amounts, _MODULES[kind], layer.options.number("value") if kind == "Constant" else 0.0)


def _amounts(layer: DescribedLayer) -> list[int]:
    n = int(layer.type[-2])
    layer.need_rank(n + 1, n + 2, form=f"{n + 1} or {n + 2} axes")
    amounts = layer.options.integers("padding")
    if len(amounts) not in (1, 2 * n):
        raise layer.options.wrong("padding", f"an integer, or {2 * n}")
    return amounts * (2 * n) if len(amounts) == 1 else amounts


def _backwards(layer: DescribedLayer, amounts: Sequence[int], mode: str, value: float) -> Value:
    count = len(amounts) // 2
    axes = list(range(layer.rank - count, layer.rank))
    before, after = list(amounts[0::2])[::-1], list(amounts[1::2])[::-1]
    return padded(layer, layer.x, axes, [*before, *after], mode, value)


def padded(
    layer: DescribedLayer, x: Value, axes: Sequence[int], pads: Sequence[int], mode: str, value: float = 0.0
) -> Value:
    """Return x padded along `axes`. pads: the amounts before each of `axes`, then those after each."""
    for i, axis in enumerate(axes):
        before, after, size = pads[i], pads[i + len(axes)], x.shape[axis]
        most = {"reflect": -1, "wrap": 0}.get(mode)
        if size is None:
            continue
        if size + before + after < 0 or (most is not None and max(before, after) > size + most):
            raise layer.wrong_input(f"another size on axis {axis} for a padding of {before} and {after}")
    if not any(pads):
        return x
    amounts = layer.constant("pads", list(pads))
    fill = layer.constant("value", value, "float64") if mode == "constant" and value else None
    return layer.apply("pad", x, amounts, fill, mode=mode, axes=list(axes))

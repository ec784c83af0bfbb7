"""Functions of `keras.ops` that only move elements."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np

from fastgru.importers.keras.call import Call, Tensor
from fastgru.importers.keras.layers.merging import check_broadcast
from fastgru.importers.keras.registry import operation

_LEAST: Final = int(np.iinfo(np.int64).min)


@operation("Reshape")
def _reshape(call: Call) -> list[Tensor]:
    """Reshape; a size of -1 is inferred, and stays free if the input has free sizes."""
    x, layer = call.x, call.layer
    target = layer.integers("newshape", "shape")
    if target.count(-1) > 1 or any(size < -1 or size == 0 for size in target):
        raise layer.unsupported(f"newshape is {list(target)}", "give sizes above zero, and -1 once at most")
    if -1 in target and None not in x.shape:
        total, known = (math.prod(s for s in sizes if s not in (None, -1)) for sizes in (x.shape, target))
        if total % known:
            raise layer.damaged(f"newshape is {list(target)} for an input of shape {x.shape}")
    return [Tensor(call.graph.add("reshape", [x.value, call.graph.integers(target, f"{call.base}/shape")], call.base))]


def _transposed(call: Call, perm: Sequence[int]) -> list[Tensor]:
    x = call.x
    if sorted(perm) != list(range(x.rank)):
        raise call.layer.damaged(f"the order {list(perm)} for an input of shape {x.shape}")
    if list(perm) == sorted(perm) and x.mask is not None:
        raise call.layer.unsupported(
            "its input has a mask, and it moves no axis: some backends of Keras pass the mask on",
            "leave the function out",
        )
    return [Tensor(call.graph.add("transpose", [x.value], call.base, {"perm": list(perm)}))]


@operation("Transpose")
def _transpose(call: Call) -> list[Tensor]:
    x = call.x
    if call.layer.get("axes", default=None) is None:
        return _transposed(call, list(range(x.rank))[::-1])
    return _transposed(call, [call.axis(x, a, "axes") for a in call.layer.integers("axes")])


@operation("Swapaxes")
def _swapaxes(call: Call) -> list[Tensor]:
    a, b = (call.axis(call.x, call.layer.integer(key), key) for key in ("axis1", "axis2"))
    perm = list(range(call.x.rank))
    perm[a], perm[b] = b, a
    return _transposed(call, perm)


@operation("Moveaxis")
def _moveaxis(call: Call) -> list[Tensor]:
    sources, targets = (
        [call.axis(call.x, a, key) for a in call.layer.integers(key)] for key in ("source", "destination")
    )
    if len(sources) != len(targets) or len(set(sources)) < len(sources) or len(set(targets)) < len(targets):
        raise call.layer.damaged(f"source is {sources}, destination {targets}")
    perm = [a for a in range(call.x.rank) if a not in sources]
    for target, source in sorted(zip(targets, sources, strict=True)):
        perm.insert(target, source)
    return _transposed(call, perm)


@operation("Stack")
def _stack(call: Call) -> list[Tensor]:
    inputs, graph = call.inputs, call.graph
    if len({x.dtype for x in inputs}) != 1:
        raise call.layer.unsupported(f"its operands are {sorted({x.dtype for x in inputs})}", "cast them to one dtype")
    check_broadcast(call, *(x.shape for x in inputs))
    axis = call.axis(inputs[0], call.layer.integer("axis", default=0), rank=inputs[0].rank + 1)
    names = [graph.add("unsqueeze", [x.value], f"{call.base}/{n}", {"axes": [axis]}) for n, x in enumerate(inputs)]
    return [Tensor(graph.add("concat", names, call.base, {"axis": axis}))]


@operation("Split")
def _split(call: Call) -> list[Tensor]:
    """Split an axis into a number of equal parts, or at given positions."""
    x, layer = call.x, call.layer
    axis = call.axis(x, layer.integer("axis", default=0))
    size, given = call.known(x, axis), layer.get("indices_or_sections")
    if isinstance(given, int):
        if given < 1 or given > 1 << 10 or size % given:
            raise layer.damaged(f"indices_or_sections is {given} for an axis of {size}")
        sizes = [size // given] * given
    else:
        cuts = [0, *(min(c, size) for c in layer.integers("indices_or_sections")), size]
        sizes = [b - a for a, b in pairwise(cuts)]
        if len(sizes) > 1 << 10 or any(s < 0 for s in sizes):
            raise layer.damaged(f"indices_or_sections is {cuts[1:-1]!r:.60} for an axis of {size}")
    bases = [f"{call.base}_{n}" if n else call.base for n in range(len(sizes))]
    parts = call.graph.add_many("split", [x.value], bases, {"axis": axis, "sizes": sizes})
    return [Tensor(part) for part in parts]


@operation("Unstack")
def _unstack(call: Call) -> list[Tensor]:
    x, layer = call.x, call.layer
    axis = call.axis(x, layer.integer("axis", default=0))
    size = call.known(x, axis)
    if layer.get("num", default=None) not in (None, size) or not 0 < size <= 1 << 10:
        raise layer.damaged(f"num is {layer.get('num', default=None)!r:.40} for an axis of {size}")
    graph, sizes = call.graph, [1] * size
    names = graph.add_many(
        "split", [x.value], [f"{call.base}/{n}" for n in range(size)], {"axis": axis, "sizes": sizes}
    )
    return [
        Tensor(graph.add("squeeze", [name], f"{call.base}_{n}" if n else call.base, {"axes": [axis]}))
        for n, name in enumerate(names)
    ]


@operation("Roll")
def _roll(call: Call) -> list[Tensor]:
    x, layer, graph = call.x, call.layer, call.graph
    axis = call.one_axis(x)
    size = call.known(x, axis)
    shift = layer.integer("shift") % size if size else 0
    if not 0 < size <= 1 << 20:
        raise layer.unsupported(f"its axis has {size} elements", "roll axes of 1 to 1048576 elements")
    places = graph.integers([int(n) for n in np.roll(np.arange(size), shift)], f"{call.base}/places")
    return [Tensor(graph.add("gather", [x.value, places], call.base, {"axis": axis}))]


@operation("Flip")
def _flip(call: Call) -> list[Tensor]:
    x, graph = call.x, call.graph
    axes = call.axes(x)
    back = [-1] * len(axes)
    parts = (("last", back), ("before_first", [_LEAST] * len(axes)), ("axes", axes), ("steps", back))
    names = [graph.integers(numbers, f"{call.base}/{what}") for what, numbers in parts]
    return [Tensor(graph.add("slice", [x.value, *names], call.base))]


@operation("Pad", checks_arguments=True)
def _pad(call: Call) -> list[Tensor]:
    x, layer, graph = call.x, call.layer, call.graph
    if layer.get("mode", default="constant") != "constant" or x.dtype != "float32":
        raise layer.unsupported(f"mode is {layer.get('mode')!r:.40} on {x.dtype}", "pad float32 by a constant")
    pairs = layer.get("pad_width")
    pairs = pairs if isinstance(pairs, list) else []
    flat: list[Any] = [pair.get("items") if isinstance(pair, Mapping) else pair for pair in pairs]
    if len(flat) != x.rank or any(
        not isinstance(p, list) or len(p) != 2 or any(type(n) is not int or not 0 <= n < 1 << 31 for n in p)
        for p in flat
    ):
        raise layer.unsupported(f"pad_width is {layer.get('pad_width')!r:.60}", "give a pair of numbers for each axis")
    call.check_arguments("args", "constant_values")
    pads = graph.integers([*(p[0] for p in flat), *(p[1] for p in flat)], f"{call.base}/pads")
    value = call.arguments.get("constant_values")
    names = [x.value, pads]
    if value is not None:
        if not isinstance(value, int | float) or abs(value) > 1e300:
            raise layer.unsupported(f"constant_values is {value!r:.40}", "pad by a number")
        names.append(graph.scalar(value, x, f"{call.base}/value"))
    return [Tensor(graph.add("pad", names, call.base, {"mode": "constant"}))]


@operation("Repeat")
def _repeat(call: Call) -> list[Tensor]:
    """Repeat each element `repeats` times in a row."""
    x, layer, graph = call.x, call.layer, call.graph
    axis, times = call.one_axis(x), layer.integer("repeats")
    size = call.known(x, axis)
    if times < 1 or size * times > 1 << 20:
        raise layer.damaged(f"{times} repeats on an axis of {size}")
    places = graph.integers([int(n) for n in np.repeat(np.arange(size), times)], f"{call.base}/places")
    return [Tensor(graph.add("gather", [x.value, places], call.base, {"axis": axis}))]


@operation("Tile")
def _tile(call: Call) -> list[Tensor]:
    x, times = call.x, call.layer.integers("repeats")
    if len(times) != x.rank or min(times) < 1:
        raise call.layer.unsupported(f"repeats is {list(times)}", "give a number above zero for each axis")
    return [Tensor(call.graph.add("tile", [x.value, call.graph.integers(times, f"{call.base}/repeats")], call.base))]


@operation("Take")
def _take(call: Call) -> list[Tensor]:
    """Take fixed positions along an axis."""
    args: Sequence[Any] = call.arguments.get("args", ())
    layer, graph = call.layer, call.graph
    places = args[1] if len(args) == 2 else None
    x = args[0] if args else None
    single = isinstance(places, int) and not isinstance(places, bool)
    items = [places] if single else places
    if layer.get("axis", default=None) is None or not isinstance(x, Tensor) or not isinstance(items, list):
        raise layer.unsupported(
            "its positions are not numbers, or axis is missing", "take fixed positions along an axis"
        )
    axis = call.axis(x, layer.integer("axis"))
    size = call.known(x, axis)
    if not items or any(type(n) is not int or not -size <= n < size for n in items):
        raise layer.damaged(f"the positions {items!r:.60} on an axis of {size}")
    where = graph.integers([n % size for n in items], f"{call.base}/places")
    y = graph.add("gather", [x.value, where], f"{call.base}/taken" if single else call.base, {"axis": axis})
    if single:
        y = graph.add("squeeze", [y], call.base, {"axes": [axis]})
    return [Tensor(y)]

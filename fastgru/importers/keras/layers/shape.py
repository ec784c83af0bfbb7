"""Layers that move, repeat, add or remove elements, and up-sampling."""

import math
from collections.abc import Mapping

import numpy as np

from fastgru.importers.keras.call import Call, Tensor
from fastgru.importers.keras.config import LayerConfig
from fastgru.importers.keras.registry import keras_layer
from fastgru.importers.keras.windows import SpatialInput, numbers


def _product(shape: tuple[int | None, ...]) -> int | None:
    total = 1
    for size in shape:
        if size is None:
            return None
        total *= size
    return total


@keras_layer("Flatten")
def _flatten(call: Call) -> list[Tensor]:
    """Flatten in the order of channels last; like Keras, move the channels to the end first."""
    x, graph = call.x, call.graph
    form = call.layer.get("data_format", default=None)
    if form not in (None, "channels_last", "channels_first"):
        raise call.layer.damaged(f"data_format is {form!r:.40}, expected channels_last or channels_first")
    value = x.value
    if form == "channels_first" and x.rank > 2:
        value = graph.add("transpose", [value], f"{call.base}/channels_last", {"perm": [0, *range(2, x.rank), 1]})
    return [Tensor(graph.add("flatten", [value], call.base, {"axis": 1}))]


@keras_layer("Reshape")
def _reshape(call: Call) -> list[Tensor]:
    x, layer = call.x, call.layer
    target = layer.integers("target_shape")
    if target.count(-1) > 1 or any(size < -1 or size == 0 for size in target):
        raise layer.damaged(f"target_shape is {list(target)}")
    known, total = math.prod(s for s in target if s > 0), _product(x.shape[1:])
    if total is not None and (total % known if -1 in target else total != known):
        raise layer.damaged(f"target_shape is {list(target)} for an input of shape {x.shape}")
    if -1 in target and total is None:
        sizes = [0, *target]
    else:
        sizes = [-1, *(s if s > 0 or total is None else total // known for s in target)]
    return [Tensor(call.graph.add("reshape", [x.value, call.graph.integers(sizes, f"{call.base}/shape")], call.base))]


@keras_layer("Permute")
def _permute(call: Call) -> list[Tensor]:
    x, dims = call.x, call.layer.integers("dims")
    if sorted(dims) != list(range(1, x.rank)):
        raise call.layer.damaged(f"dims is {list(dims)} for an input of shape {x.shape}")
    perm = [0, *dims]
    return [Tensor(call.graph.add("transpose", [x.value], call.base, {"perm": perm}))]


@keras_layer("RepeatVector")
def _repeat_vector(call: Call) -> list[Tensor]:
    x, n = call.x, call.layer.integer("n")
    if x.rank != 2 or n < 1:
        raise call.layer.damaged(f"n is {n} for an input of shape {x.shape}, expected two axes")
    row = call.graph.add("unsqueeze", [x.value], f"{call.base}/row", {"axes": [1]})
    shape = call.graph.integers([1, n, 1], f"{call.base}/shape")
    return [Tensor(call.graph.add("expand", [row, shape], call.base))]


def _amounts(layer: LayerConfig, key: str, rank: int) -> list[tuple[int, int]]:
    """Return the amounts that a layer adds or removes before and after each of `rank` axes."""
    value = layer.get(key, default=1)
    if isinstance(value, Mapping):
        value = value.get("items")
    items = [value] * rank if isinstance(value, int) else value
    if isinstance(items, list) and rank == 1 and len(items) == 2:
        items = [items]
    pairs = []
    for item in items if isinstance(items, list) else ():
        item = item.get("items") if isinstance(item, Mapping) else item
        pair = [item, item] if isinstance(item, int) else item
        if isinstance(pair, list) and len(pair) == 2 and all(type(n) is int and 0 <= n < 1 << 31 for n in pair):
            pairs.append((pair[0], pair[1]))
    if len(pairs) != rank or len(items) != rank:
        raise layer.damaged(f"{key} is {value!r:.60}, expected {rank} pairs of numbers")
    return pairs


@keras_layer("Cropping1D", "Cropping2D")
def _cropping(call: Call) -> list[Tensor]:
    grid, graph = SpatialInput.of(call), call.graph
    pairs = _amounts(call.layer, "cropping", grid.rank)
    ends = [-end if end else np.iinfo(np.int64).max for _, end in pairs]
    positions = (("start", [begin for begin, _ in pairs]), ("end", ends), ("axis", grid.axes))
    names = [graph.integers(v, f"{call.base}/{what}") for what, v in positions]
    return [Tensor(graph.add("slice", [grid.x.value, *names], call.base))]


@keras_layer("ZeroPadding1D", "ZeroPadding2D")
def _padding(call: Call) -> list[Tensor]:
    grid, graph = SpatialInput.of(call), call.graph
    pairs = _amounts(call.layer, "padding", grid.rank)
    pads = graph.integers([*(b for b, _ in pairs), *(e for _, e in pairs)], f"{call.base}/pads")
    return [Tensor(graph.add("pad", [grid.x.value, pads], call.base, {"mode": "constant", "axes": grid.axes}))]


@keras_layer("UpSampling1D", "UpSampling2D")
def _up_sampling(call: Call) -> list[Tensor]:
    """Repeat each step or pixel `size` times, or interpolate linearly at the centres of the new ones."""
    grid, layer = SpatialInput.of(call), call.layer
    times = numbers(layer, grid.rank, "size", "length", default=2)
    how = layer.text("interpolation", default="nearest")
    if how not in ("nearest", "bilinear"):
        raise layer.unsupported(f"interpolation is {how!r:.40}", "use nearest or bilinear")
    if how == "nearest":
        attrs = {"mode": "nearest", "coordinates": "asymmetric", "nearest": "floor"}
    else:
        attrs = {"mode": "linear", "coordinates": "half_pixel"}
    scales = call.graph.constant(np.asarray(times, np.float32), f"{call.base}/scales")
    return [Tensor(call.graph.add("resize", [grid.x.value, None, scales], call.base, {**attrs, "axes": grid.axes}))]

"""Layers that move elements and change none, and pooling over time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from fastgru.importers.keras.call import Call
from fastgru.importers.keras.values import Value

__all__ = ["SHAPING_LAYERS"]


def _product(shape: tuple[int | None, ...]) -> int | None:
    total = 1
    for size in shape:
        if size is None:
            return None
        total *= size
    return total


def _channels_last(call: Call) -> None:
    form = call.layer.get("data_format", default=None)
    if form not in (None, "channels_last") and call.x.rank > 2:
        raise call.layer.unsupported(f"data_format is {form!r}", "use channels_last")


def _flatten(call: Call) -> list[Value]:
    _channels_last(call)
    x = call.x
    y = call.graph.add("flatten", [x.name], call.base, {"axis": 1})
    return [x.but(name=y, shape=(x.shape[0], _product(x.shape[1:])), mask=None)]


def _reshape(call: Call) -> list[Value]:
    x, layer = call.x, call.layer
    target = layer.integers("target_shape")
    if target.count(-1) > 1 or any(size < -1 or size == 0 for size in target):
        raise layer.damaged(f"target_shape is {list(target)}")
    known, total = int(np.prod([s for s in target if s > 0], dtype=object)), _product(x.shape[1:])
    shape: list[int | None] = list(target)
    if -1 in target:
        if total is not None and total % known:
            raise layer.damaged(f"target_shape is {list(target)} for an input of shape {x.shape}")
        shape[target.index(-1)] = None if total is None else total // known
    elif total is not None and total != known:
        raise layer.damaged(f"target_shape is {list(target)} for an input of shape {x.shape}")
    if -1 in target and shape[target.index(-1)] is None:
        sizes = [0, *target]
    else:
        sizes = [-1, *(s or 0 for s in shape)]
    name = call.graph.add("reshape", [x.name, call.graph.integers(sizes, f"{call.base}/shape")], call.base)
    return [x.but(name=name, shape=(x.shape[0], *shape), mask=None)]


def _permute(call: Call) -> list[Value]:
    x, dims = call.x, call.layer.integers("dims")
    if sorted(dims) != list(range(1, x.rank)):
        raise call.layer.damaged(f"dims is {list(dims)} for an input of shape {x.shape}")
    perm = [0, *dims]
    name = call.graph.add("transpose", [x.name], call.base, {"perm": perm})
    return [x.but(name=name, shape=tuple(x.shape[i] for i in perm), mask=None)]


def _repeat_vector(call: Call) -> list[Value]:
    x, n = call.x, call.layer.integer("n")
    if x.rank != 2 or n < 1:
        raise call.layer.damaged(f"n is {n} for an input of shape {x.shape}, expected two axes")
    row = call.graph.add("unsqueeze", [x.name], f"{call.base}/row", {"axes": [1]})
    shape = call.graph.integers([1, n, 1], f"{call.base}/shape")
    name = call.graph.add("expand", [row, shape], call.base)
    return [x.but(name=name, shape=(x.shape[0], n, x.shape[1]), mask=None)]


def _steps(call: Call, key: str) -> tuple[int, int]:
    amounts = call.layer.integers(key, default=1)
    pair = (amounts[0], amounts[0]) if len(amounts) == 1 else amounts
    if len(pair) != 2 or min(pair) < 0 or call.x.rank != 3:
        raise call.layer.damaged(f"{key} is {list(amounts)} for an input of shape {call.x.shape}")
    return pair[0], pair[1]


def _cropping(call: Call) -> list[Value]:
    (begin, end), x, graph = _steps(call, "cropping"), call.x, call.graph
    stop = -end if end else np.iinfo(np.int64).max
    names = [graph.integers([v], f"{call.base}/{w}") for v, w in ((begin, "start"), (stop, "end"), (1, "axis"))]
    name = graph.add("slice", [x.name, *names], call.base)
    length = None if x.shape[1] is None else max(x.shape[1] - begin - end, 0)
    return [x.but(name=name, shape=(x.shape[0], length, x.shape[2]), mask=None)]


def _padding(call: Call) -> list[Value]:
    _channels_last(call)
    (begin, end), x, graph = _steps(call, "padding"), call.x, call.graph
    pads = graph.integers([begin, end], f"{call.base}/pads")
    name = graph.add("pad", [x.name, pads], call.base, {"mode": "constant", "axes": [1]})
    length = None if x.shape[1] is None else x.shape[1] + begin + end
    return [x.but(name=name, shape=(x.shape[0], length, x.shape[2]), mask=None)]


def _pooled(call: Call, name: str, keepdims: bool) -> list[Value]:
    x = call.x
    shape = (x.shape[0], 1, x.shape[2]) if keepdims else (x.shape[0], x.shape[2])
    return [x.but(name=name, shape=shape, mask=None)]


def _max_pooling(call: Call) -> list[Value]:
    """Keras takes the maximum over masked steps, too."""
    _channels_last(call)
    keepdims = call.layer.flag("keepdims", default=False)
    if call.x.rank != 3:
        raise call.layer.damaged(f"an input of shape {call.x.shape}, expected three axes")
    attrs = {"kind": "max", "axes": [1], "keepdims": keepdims}
    return _pooled(call, call.graph.add("reduce", [call.x.name], call.base, attrs), keepdims)


def _average_pooling(call: Call) -> list[Value]:
    _channels_last(call)
    call.check_arguments("mask")
    layer, graph, x = call.layer, call.graph, call.x
    keepdims = layer.flag("keepdims", default=False)
    if x.rank != 3:
        raise layer.damaged(f"an input of shape {x.shape}, expected three axes")
    explicit = call.arguments.get("mask")
    mask = explicit.name if isinstance(explicit, Value) else x.mask
    if mask is None:
        attrs = {"kind": "mean", "axes": [1], "keepdims": keepdims}
        return _pooled(call, graph.add("reduce", [x.name], call.base, attrs), keepdims)
    attrs = {"kind": "sum", "axes": [1], "keepdims": keepdims}
    shown = graph.add("unsqueeze", [mask], f"{call.base}/shown", {"axes": [2]})
    ones = graph.add("cast", [shown], f"{call.base}/ones", {"to": x.dtype})
    kept = graph.add("where", [shown, x.name, graph.scalar(0.0, x, f"{call.base}/zero")], f"{call.base}/kept")
    total = graph.add("reduce", [kept], f"{call.base}/total", attrs)
    count = graph.add("reduce", [ones], f"{call.base}/count", attrs)
    return _pooled(call, graph.add("binary", [total, count], call.base, {"kind": "div"}), keepdims)


SHAPING_LAYERS: Final[Mapping[str, Callable[[Call], list[Value]]]] = {
    "Cropping1D": _cropping,
    "Flatten": _flatten,
    "GlobalAveragePooling1D": _average_pooling,
    "GlobalMaxPooling1D": _max_pooling,
    "Permute": _permute,
    "RepeatVector": _repeat_vector,
    "Reshape": _reshape,
    "ZeroPadding1D": _padding,
}

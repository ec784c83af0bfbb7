"""Shapes as values, and tensors made of nothing but their shape."""

from __future__ import annotations

from typing import Any

import numpy as np
from graph_builder import Builder
from graph_registry import generates
from make_elementwise import TYPES
from make_shape import any_value, length, shape_vector
from onnx import helper


@generates("Shape")
def shape(b: Builder, op: str) -> object:
    x = any_value(b)
    if b.version(op) >= 15 and x.rank and b.chance(0.5):
        return b.add(op, [x], start=b.integer(-x.rank - 1, x.rank), end=b.pick([None, b.integer(-x.rank, x.rank + 1)]))
    return b.add(op, [x])


@generates("Size")
def size(b: Builder, op: str) -> object:
    return b.add(op, [any_value(b)])


@generates("ConstantOfShape")
def constant_of_shape(b: Builder, op: str) -> object:
    source = any_value(b, (1, 4))
    sizes = [s for s in source.sizes if b.chance(0.7)]
    kind = np.dtype(b.pick([b.float, np.int64, np.int32, np.bool_]))
    value = helper.make_tensor("value", TYPES[kind], [1], [1 if kind.kind == "b" else b.integer(-2, 3)])
    return b.add(op, [shape_vector(b, sizes, source)], exact="moves", value=value if b.chance(0.8) else None)


@generates("Range")
def range_(b: Builder, op: str) -> object:
    if b.chance(0.3):
        start, step = b.pick([(0.0, 0.5), (1.0, -0.25), (-2.0, 0.125)])
        numbers = [start, start + step * b.integer(1, 9), step]
        return b.add(op, [b.constant(np.array(n, b.float)) for n in numbers], exact="moves")
    if b.chance(0.5):
        source = any_value(b, (1, 4))
        count = length(b, source, b.integer(0, source.rank - 1))
        if b.version("Squeeze") >= 13:
            end = b.add("Squeeze", [count, b.ints([0])])
        else:
            end = b.add("Squeeze", [count], axes=[0])
        return b.add(op, [b.ints(0), end, b.ints(b.pick([1, 1, 2]))])
    numbers = b.pick([(0, 7, 1), (5, -3, -2), (3, 3, 1), (2, 11, 4)])
    return b.add(op, [b.ints(n) for n in numbers])


@generates("Constant")
def constant(b: Builder, op: str) -> object:
    version = b.version(op)
    forms: list[dict[str, Any]] = []
    if version >= 12:
        forms += [{"value_float": 0.5}, {"value_floats": [0.5, -1.5, 2.0]}, {"value_int": 3}, {"value_ints": [1, -2]}]
    x = b.filled((b.integer(1, 4), b.integer(1, 3)), b.float, -2, 2, True)
    forms.append({"value": helper.make_tensor("value", TYPES[b.float], x.shape, x.ravel().tolist())})
    return b.add(op, [], exact="moves", **b.pick(forms))


@generates("EyeLike")
def eye_like(b: Builder, op: str) -> object:
    x = b.value(b.pick("fi"), (2, 2))
    return b.add(
        op,
        [x],
        exact="moves",
        k=b.pick([None, 1, -1, 5]),
        dtype=b.pick([None, TYPES[b.float], TYPES[np.dtype(np.int64)]]),
    )


@generates("Trilu")
def trilu(b: Builder, op: str) -> object:
    x = b.value(b.pick("ffi"), (2, 4))
    k = b.ints(b.pick([0, 1, -1, 4, -9])) if b.chance(0.6) else None
    return b.add(op, [x, k], exact="moves", upper=b.pick([None, 0, 1]))


@generates("DepthToSpace", "SpaceToDepth")
def blocks(b: Builder, op: str) -> object:
    size = b.integer(1, 3)
    if op == "DepthToSpace":
        channels = size * size * b.integer(1, 3)
        sizes = [b.size(), (channels, channels), b.size(), b.size()]
        attrs = {"mode": b.pick([None, "DCR", "CRD"])} if b.version(op) >= 11 else {}
    else:
        h, w = (size * b.integer(1, 4) for _ in range(2))
        sizes = [b.size(), b.size(), (h, h), (w, w)]
        attrs = {"mode": b.pick([None, "DCR", "CRD"])} if b.version(op) >= 28 else {}
    return b.add(op, [b.fresh(sizes, b.float)], exact="moves", blocksize=size, **attrs)

"""Operations of `keras.ops` that stand in functional models of Keras 3 like layers; masks are made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from fastgru.importers.keras.call import Call
from fastgru.importers.keras.functions import FUNCTIONS, number_or_tensor
from fastgru.importers.keras.merging import broadcast_shape
from fastgru.importers.keras.moving import MOVING
from fastgru.importers.keras.values import Value

__all__ = ["OPERATIONS"]

_ARITHMETIC: Final = {
    "Add": "add", "Divide": "div", "Maximum": "max", "Minimum": "min", "Multiply": "mul", "Power": "pow",
    "Subtract": "sub", "TrueDivide": "div",
}  # fmt: skip
_COMPARE: Final = {
    "Equal": "equal", "Greater": "greater", "GreaterEqual": "greater_equal", "Less": "less",
    "LessEqual": "less_equal", "NotEqual": "not_equal",
}  # fmt: skip
_END: Final = int(np.iinfo(np.int64).max)
_LOGICAL: Final = {"LogicalAnd": "and", "LogicalOr": "or", "LogicalXor": "xor"}


def _pair(call: Call) -> tuple[Value, Value]:
    """Two operands, of which one may be a number."""
    args = call.arguments.get("args", ())
    tensors = [a for a in args if isinstance(a, Value)]
    if len(args) != 2 or not tensors:
        raise call.layer.damaged(f"{len(args)} arguments, expected two")
    operands = [number_or_tensor(call, arg, tensors[0], what) for arg, what in zip(args, "ab", strict=True)]
    if operands[0].dtype != operands[1].dtype:
        raise call.layer.unsupported(f"operands of {operands[0].dtype} and {operands[1].dtype}", "cast one of them")
    return operands[0], operands[1]


def _two(op: str, kind: str, result: str | None) -> Callable[[Call], list[Value]]:
    def handler(call: Call) -> list[Value]:
        a, b = _pair(call)
        if (op == "logical") != (a.dtype == "bool"):
            raise call.layer.unsupported(f"operands of {a.dtype}", "cast them first")
        shape = broadcast_shape(call, a.shape, b.shape)
        name = call.graph.add(op, [a.name, b.name], call.base, {"kind": kind})
        return [Value(name, shape, result or a.dtype)]

    return handler


def _axes(call: Call, x: Value) -> list[int]:
    if call.layer.get("axis", default=None) is None:
        return list(range(x.rank))
    return sorted(call.axis(x, a) for a in call.layer.integers("axis"))


def _reduced(kind: str) -> Callable[[Call], list[Value]]:
    def handler(call: Call) -> list[Value]:
        x = call.x
        if (kind in ("any", "all")) != (x.dtype == "bool"):
            raise call.layer.unsupported(f"an operand of {x.dtype}", "cast it first")
        if call.layer.get("initial", default=None) is not None:
            raise call.layer.unsupported(f"initial is {call.layer.get('initial')!r:.40}", "leave it out")
        axes, keepdims = _axes(call, x), call.layer.flag("keepdims", default=False)
        name = call.graph.add("reduce", [x.name], call.base, {"kind": kind, "axes": axes, "keepdims": keepdims})
        shape = tuple(1 if i in axes else s for i, s in enumerate(x.shape) if keepdims or i not in axes)
        return [Value(name, shape, x.dtype)]

    return handler


def _expand_dims(call: Call) -> list[Value]:
    x = call.x
    grown = x.but(shape=(*x.shape, 1))
    axes = sorted(call.axis(grown, a) for a in call.layer.integers("axis"))
    if len(axes) != 1:
        raise call.layer.unsupported(f"axis is {axes}", "insert one axis at a time")
    shape = (*x.shape[: axes[0]], 1, *x.shape[axes[0] :])
    return [Value(call.graph.add("unsqueeze", [x.name], call.base, {"axes": axes}), shape, x.dtype)]


def _squeeze(call: Call) -> list[Value]:
    x = call.x
    axes = _axes(call, x) if call.layer.get("axis", default=None) is not None else [
        i for i, s in enumerate(x.shape) if s == 1
    ]  # fmt: skip
    shape = tuple(s for i, s in enumerate(x.shape) if i not in axes)
    return [Value(call.graph.add("squeeze", [x.name], call.base, {"axes": axes}), shape, x.dtype)]


def _filled(number: float) -> Callable[[Call], list[Value]]:
    def handler(call: Call) -> list[Value]:
        x = call.inputs[0]
        dtype = call.arguments.get("dtype") or call.layer.get("dtype", default=None) or x.dtype
        if dtype not in ("bool", "float32", "int32", "int64"):
            raise call.layer.unsupported(f"dtype is {dtype!r:.40}", "use float32 or bool")
        shape = call.graph.add("shape", [x.name], f"{call.base}/shape", {"start": 0})
        name = call.graph.add("constant_of_shape", [shape], call.base, {"value": number, "dtype": dtype})
        return [Value(name, x.shape, dtype)]

    return handler


def _logical_not(call: Call) -> list[Value]:
    if call.x.dtype != "bool":
        raise call.layer.unsupported(f"an operand of {call.x.dtype}", "cast it first")
    return [Value(call.graph.add("unary", [call.x.name], call.base, {"kind": "not"}), call.x.shape, "bool")]


def _cast(call: Call) -> list[Value]:
    dtype = call.layer.get("dtype", default=None) or call.arguments.get("dtype")
    if dtype not in ("bool", "float32", "int32", "int64"):
        raise call.layer.unsupported(f"dtype is {dtype!r:.40}", "cast to float32, int32, int64 or bool")
    return [call.x.but(name=call.graph.add("cast", [call.x.name], call.base, {"to": dtype}), dtype=dtype, mask=None)]


def _convert(call: Call) -> list[Value]:
    """What Keras writes around the masks that some layers hand on: the tensor as it is, or cast."""
    dtype = call.layer.get("dtype", default=None) or call.arguments.get("dtype")
    x = call.inputs[0]
    return [x.but(mask=None)] if dtype in (None, x.dtype) else _cast(call)


def _get_item(call: Call) -> list[Value]:
    """x[key] with integers and slices of step 1."""
    args: Sequence[Any] = call.arguments.get("args", ())
    layer, graph, x = call.layer, call.graph, call.inputs[0]
    key = args[1] if len(args) == 2 else None
    items = list(key) if isinstance(key, list) else [key]
    if len(items) > x.rank:
        raise layer.unsupported(f"{len(items)} positions for {x.rank} axes", "index without new axes")
    name, shape, dropped = x.name, list(x.shape), []
    for axis, item in enumerate(items):
        begin, end = _bounds(call, item)
        if isinstance(item, int):
            dropped.append(axis)
        size = shape[axis]
        shape[axis] = None if size is None else len(range(size)[begin:end])
        if (begin, end) != (0, _END):
            where = zip((begin, end, axis), ("from", "to", "axis"), strict=True)
            positions = [graph.integers([v], f"{call.base}/{what}{axis}") for v, what in where]
            name = graph.add("slice", [name, *positions], f"{call.base}/{axis}")
    if dropped:
        name = graph.add("squeeze", [name], call.base, {"axes": dropped})
    return [Value(name, tuple(s for i, s in enumerate(shape) if i not in dropped), x.dtype)]


def _bounds(call: Call, item: Any) -> tuple[int, int]:
    """Where one position of a subscript begins and ends."""
    if isinstance(item, int) and not isinstance(item, bool) and abs(item) < 1 << 31:
        return item, _END if item == -1 else item + 1
    if isinstance(item, Mapping) and item.get("class_name") == "__slice__" and isinstance(item.get("config"), Mapping):
        start, stop, step = (item["config"].get(k) for k in ("start", "stop", "step"))
        if step in (None, 1) and all(v is None or (isinstance(v, int) and abs(v) < 1 << 31) for v in (start, stop)):
            return start or 0, _END if stop is None else stop
    raise call.layer.unsupported(f"the subscript {item!r:.60}", "index with integers and slices of step 1")


OPERATIONS: Final[Mapping[str, Callable[[Call], list[Value]]]] = {
    **FUNCTIONS,
    **MOVING,
    **{name: _two("binary", kind, None) for name, kind in _ARITHMETIC.items()},
    **{name: _two("compare", kind, "bool") for name, kind in _COMPARE.items()},
    **{name: _two("logical", kind, "bool") for name, kind in _LOGICAL.items()},
    **{name.title(): _reduced(name) for name in ("all", "any", "max", "mean", "min", "sum")},
    "Cast": _cast,
    "ConvertToTensor": _convert,
    "ExpandDims": _expand_dims,
    "GetItem": _get_item,
    "LogicalNot": _logical_not,
    "OnesLike": _filled(1),
    "Squeeze": _squeeze,
    "ZerosLike": _filled(0),
}

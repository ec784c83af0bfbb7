"""Functions of `keras.ops` that reduce axes, or run along one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from fastgru.importers.keras.call import Call
from fastgru.importers.keras.functions import float_operand
from fastgru.importers.keras.values import Value

__all__ = ["REDUCTIONS"]


def _axes(call: Call, x: Value) -> list[int]:
    if call.layer.get("axis", default=None) is None:
        return list(range(x.rank))
    return sorted(call.axis(x, a) for a in call.layer.integers("axis"))


def _reduced(call: Call, x: Value, name: str, kind: str, base: str) -> Value:
    axes, keepdims = _axes(call, x), call.layer.flag("keepdims", default=False)
    y = call.graph.add("reduce", [name], base, {"kind": kind, "axes": axes, "keepdims": keepdims})
    shape = tuple(1 if i in axes else s for i, s in enumerate(x.shape) if keepdims or i not in axes)
    return Value(y, shape, x.dtype)


def _check_dtype(call: Call) -> None:
    dtype = call.layer.get("dtype", default=None)
    if dtype not in (None, "float32"):
        raise call.layer.unsupported(f"dtype is {dtype!r:.40}", "leave it out, and cast what comes")


def _reduction(kind: str, call: Call) -> list[Value]:
    x = float_operand(call)
    _check_dtype(call)
    return [_reduced(call, x, x.name, kind, call.base)]


def _cumsum(call: Call) -> list[Value]:
    x = float_operand(call)
    _check_dtype(call)
    if call.layer.get("axis", default=None) is None:
        raise call.layer.unsupported("axis is None", "give one axis")
    attrs = {"axis": call.axis(x, call.layer.integer("axis")), "exclusive": False, "reverse": False}
    return [x.but(name=call.graph.add("cumsum", [x.name], call.base, attrs), mask=None)]


def _norm(call: Call) -> list[Value]:
    if call.layer.get("ord", default=None) not in (None, 2, "fro") or len(_axes(call, call.x)) != 1:
        raise call.layer.unsupported("a norm that is no length along one axis", "give one axis, and no ord")
    return _reduction("l2", call)


def _variance(call: Call, base: str) -> Value:
    """The mean of the squared distances from the mean."""
    x, graph = float_operand(call), call.graph
    attrs = {"kind": "mean", "axes": _axes(call, x), "keepdims": True}
    mean = graph.add("reduce", [x.name], f"{call.base}/mean", attrs)
    apart = graph.add("binary", [x.name, mean], f"{call.base}/centred", {"kind": "sub"})
    square = graph.add("binary", [apart, apart], f"{call.base}/square", {"kind": "mul"})
    return _reduced(call, x, square, "mean", base)


def _std(call: Call) -> list[Value]:
    y = _variance(call, f"{call.base}/variance")
    return [y.but(name=call.graph.add("unary", [y.name], call.base, {"kind": "sqrt"}))]


def _arg(kind: str, call: Call) -> list[Value]:
    x, layer = float_operand(call), call.layer
    if layer.get("axis", default=None) is None:
        raise layer.unsupported("axis is None", "give one axis")
    axis, keepdims = call.axis(x, layer.integer("axis")), layer.flag("keepdims", default=False)
    attrs = {"kind": kind, "axis": axis, "keepdims": keepdims, "select_last": False}
    name = call.graph.add("arg", [x.name], f"{call.base}/index", attrs)
    shape = tuple(1 if i == axis else s for i, s in enumerate(x.shape) if keepdims or i != axis)
    return [Value(call.graph.add("cast", [name], call.base, {"to": "int32"}), shape, "int32")]


def _logical(kind: str, call: Call) -> list[Value]:
    x = call.x
    if x.dtype != "bool":
        raise call.layer.unsupported(f"an operand of {x.dtype}", "cast it first")
    return [_reduced(call, x, x.name, kind, call.base)]


def _numeric(kind: str, call: Call) -> list[Value]:
    x = call.x
    if x.dtype == "bool" or (kind == "mean" and x.dtype != "float32"):
        raise call.layer.unsupported(f"an operand of {x.dtype}", "cast it first")
    if call.layer.get("initial", default=None) is not None:
        raise call.layer.unsupported(f"initial is {call.layer.get('initial')!r:.40}", "leave it out")
    return [_reduced(call, x, x.name, kind, call.base)]


REDUCTIONS: Final[Mapping[str, Callable[[Call], list[Value]]]] = {
    **{name.title(): partial(_logical, name) for name in ("all", "any")},
    **{name.title(): partial(_numeric, name) for name in ("max", "mean", "min", "sum")},
    "Argmax": partial(_arg, "max"),
    "Argmin": partial(_arg, "min"),
    "Cumsum": _cumsum,
    "Logsumexp": partial(_reduction, "log_sum_exp"),
    "Norm": _norm,
    "Prod": partial(_reduction, "prod"),
    "Std": _std,
    "Var": lambda call: [_variance(call, call.base)],
}

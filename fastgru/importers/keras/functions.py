"""Functions of `keras.ops` that compute: element by element, products, and reductions made of several nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from fastgru.conventions import activation_from_keras
from fastgru.importers.keras.activations import SELU
from fastgru.importers.keras.call import Call
from fastgru.importers.keras.merging import broadcast_shape
from fastgru.importers.keras.values import Value
from fastgru.spec import Activation

__all__ = ["FUNCTIONS", "number_or_tensor"]

Handler = Callable[[Call], list[Value]]

_UNARY: Final = {
    "Absolute": "abs", "Arccos": "acos", "Arcsin": "asin", "Arctan": "atan", "Ceil": "ceil", "Cos": "cos",
    "Cosh": "cosh", "Erf": "erf", "Exp": "exp", "Expm1": "expm1", "Floor": "floor", "HardSilu": "hard_swish",
    "Log": "log", "Log1p": "log1p", "Negative": "neg", "Reciprocal": "reciprocal", "Sign": "sign", "Silu": "silu",
    "Sin": "sin", "Sinh": "sinh", "Sqrt": "sqrt", "Tan": "tan",
}  # fmt: skip
_ACTIVATIONS: Final = {
    "HardSigmoid": "hard_sigmoid", "Relu": "relu", "Sigmoid": "sigmoid", "Softplus": "softplus",
    "Softsign": "softsign", "Tanh": "tanh",
}  # fmt: skip


def _operand(call: Call) -> Value:
    x = call.x
    if x.dtype != "float32":
        raise call.layer.unsupported(f"an operand of {x.dtype}", "cast it to float32 first")
    return x


def number_or_tensor(call: Call, arg: Any, like: Value, what: str) -> Value:
    """An argument of a function: a tensor of the model, or a number of the dtype of `like`."""
    if isinstance(arg, Value):
        return arg
    if isinstance(arg, int | float) and abs(arg) < 1e300:
        name = call.graph.scalar(arg, like, f"{call.base}/{what}")
        return Value(name, (1,) * like.rank, like.dtype)
    raise call.layer.unsupported(f"its argument {arg!r:.40}", "use numbers and tensors of the model")


def _arguments(call: Call, count: int) -> list[Any]:
    args = list(call.arguments.get("args", ()))
    if len(args) != count:
        raise call.layer.unsupported(f"{len(args)} arguments by position", f"pass {count}")
    return args


def _unary(kind: str, call: Call, **attrs: float) -> list[Value]:
    x = _operand(call)
    return [x.but(name=call.graph.add("unary", [x.name], call.base, {"kind": kind, **attrs}), mask=None)]


def _applied(call: Call, x: Value, activation: Activation, base: str) -> Value:
    attrs = {"kind": activation.kind, "alpha": activation.alpha, "beta": activation.beta}
    return x.but(name=call.graph.add("activation", [x.name], base, attrs), mask=None)


def _activation(name: str, call: Call) -> list[Value]:
    kind = activation_from_keras(name, call.rules.major, what=str(call.layer))
    return [_applied(call, _operand(call), kind, call.base)]


def _elu(call: Call) -> list[Value]:
    return [_applied(call, _operand(call), Activation("elu", call.layer.number("alpha", default=1.0)), call.base)]


def _leaky_relu(call: Call) -> list[Value]:
    slope = call.layer.number("negative_slope", default=0.2)
    return [_applied(call, _operand(call), Activation("leaky_relu", slope), call.base)]


def _gelu(call: Call) -> list[Value]:
    return _unary("gelu_tanh" if call.layer.flag("approximate", default=True) else "gelu", call)


def _square(call: Call) -> list[Value]:
    x = _operand(call)
    return [x.but(name=call.graph.add("binary", [x.name, x.name], call.base, {"kind": "mul"}), mask=None)]


def _rsqrt(call: Call) -> list[Value]:
    x = _operand(call)
    root = call.graph.add("unary", [x.name], f"{call.base}/root", {"kind": "sqrt"})
    return [x.but(name=call.graph.add("unary", [root], call.base, {"kind": "reciprocal"}), mask=None)]


def _clip(call: Call) -> list[Value]:
    x, layer = _operand(call), call.layer
    low, high = (call.graph.scalar(layer.number(k), x, f"{call.base}/{k}") for k in ("x_min", "x_max"))
    return [x.but(name=call.graph.add("clip", [x.name, low, high], call.base), mask=None)]


def _relu6(call: Call) -> list[Value]:
    x = _operand(call)
    low, high = (call.graph.scalar(v, x, f"{call.base}/{v:g}") for v in (0.0, 6.0))
    return [x.but(name=call.graph.add("clip", [x.name, low, high], call.base), mask=None)]


def _over_axis(op: str, call: Call) -> list[Value]:
    x = _operand(call)
    axis = call.axis(x, call.layer.integer("axis", default=-1))
    return [x.but(name=call.graph.add(op, [x.name], call.base, {"axis": axis}), mask=None)]


def _where(call: Call) -> list[Value]:
    condition, *sides = _arguments(call, 3)
    tensors = [s for s in sides if isinstance(s, Value)]
    if not isinstance(condition, Value) or condition.dtype != "bool" or not tensors:
        raise call.layer.unsupported(
            "its condition or both of its sides are no tensors", "compare tensors of the model"
        )
    a, b = (number_or_tensor(call, side, tensors[0], what) for side, what in zip(sides, "ab", strict=True))
    if a.dtype != b.dtype:
        raise call.layer.unsupported(f"operands of {a.dtype} and {b.dtype}", "cast one of them")
    shape = broadcast_shape(call, condition.shape, a.shape, b.shape)
    return [Value(call.graph.add("where", [condition.name, a.name, b.name], call.base), shape, a.dtype)]


def _matmul(call: Call) -> list[Value]:
    a, b = _arguments(call, 2)
    if not isinstance(a, Value) or not isinstance(b, Value) or a.dtype != "float32" or b.dtype != "float32":
        raise call.layer.unsupported("its operands are no tensors of float32", "multiply tensors of the model")
    if a.rank < 2 or a.rank != b.rank:
        raise call.layer.unsupported(f"operands of shapes {a.shape} and {b.shape}", "give both the same number of axes")
    if None not in (a.shape[-1], b.shape[-2]) and a.shape[-1] != b.shape[-2]:
        raise call.layer.damaged(f"operands of shapes {a.shape} and {b.shape}")
    stack = broadcast_shape(call, a.shape[:-2], b.shape[:-2]) if a.rank > 2 else ()
    name = call.graph.add("matmul", [a.name, b.name], call.base)
    return [Value(name, (*stack, a.shape[-2], b.shape[-1]), a.dtype)]


def _einsum(call: Call) -> list[Value]:
    operands, equation = list(call.inputs), call.layer.text("subscripts").replace(" ", "")
    given, arrow, result = equation.partition("->")
    terms = given.split(",")
    letters = "".join([*terms, result])
    if not arrow or len(terms) != len(operands) or not letters.isalpha() or not letters.isascii():
        raise call.layer.unsupported(f"subscripts {equation!r:.60}", "write every axis as a letter, and the result")
    sizes: dict[str, int | None] = {}
    for term, x in zip(terms, operands, strict=True):
        if len(term) != x.rank or x.dtype != "float32":
            raise call.layer.damaged(f"{term!r:.40} stands for an operand of {x.dtype} and shape {x.shape}")
        for letter, size in zip(term, x.shape, strict=True):
            known = sizes.get(letter)
            if None not in (known, size) and known != size:
                raise call.layer.damaged(f"{letter!r} is {known} and {size}")
            sizes[letter] = size if known is None else known
    if len(set(result)) != len(result) or not set(result) <= set(sizes):
        raise call.layer.damaged(f"subscripts {equation!r:.60}")
    name = call.graph.add("einsum", [x.name for x in operands], call.base, {"equation": equation})
    return [Value(name, tuple(sizes[letter] for letter in result))]


def _axes(call: Call, x: Value) -> list[int]:
    if call.layer.get("axis", default=None) is None:
        return list(range(x.rank))
    return sorted(call.axis(x, a) for a in call.layer.integers("axis"))


def _reduced(call: Call, x: Value, name: str, kind: str, base: str) -> Value:
    axes, keepdims = _axes(call, x), call.layer.flag("keepdims", default=False)
    y = call.graph.add("reduce", [name], base, {"kind": kind, "axes": axes, "keepdims": keepdims})
    shape = tuple(1 if i in axes else s for i, s in enumerate(x.shape) if keepdims or i not in axes)
    return Value(y, shape, x.dtype)


def _reduction(kind: str, call: Call) -> list[Value]:
    x = _operand(call)
    _check_dtype(call)
    return [_reduced(call, x, x.name, kind, call.base)]


def _check_dtype(call: Call) -> None:
    dtype = call.layer.get("dtype", default=None)
    if dtype not in (None, "float32"):
        raise call.layer.unsupported(f"dtype is {dtype!r:.40}", "leave it out, and cast what comes")


def _cumsum(call: Call) -> list[Value]:
    x = _operand(call)
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
    x, graph = _operand(call), call.graph
    attrs = {"kind": "mean", "axes": _axes(call, x), "keepdims": True}
    mean = graph.add("reduce", [x.name], f"{call.base}/mean", attrs)
    apart = graph.add("binary", [x.name, mean], f"{call.base}/centred", {"kind": "sub"})
    square = graph.add("binary", [apart, apart], f"{call.base}/square", {"kind": "mul"})
    return _reduced(call, x, square, "mean", base)


def _std(call: Call) -> list[Value]:
    y = _variance(call, f"{call.base}/variance")
    return [y.but(name=call.graph.add("unary", [y.name], call.base, {"kind": "sqrt"}))]


def _arg(kind: str, call: Call) -> list[Value]:
    x, layer = _operand(call), call.layer
    if layer.get("axis", default=None) is None:
        raise layer.unsupported("axis is None", "give one axis")
    axis, keepdims = call.axis(x, layer.integer("axis")), layer.flag("keepdims", default=False)
    attrs = {"kind": kind, "axis": axis, "keepdims": keepdims, "select_last": False}
    name = call.graph.add("arg", [x.name], f"{call.base}/index", attrs)
    shape = tuple(1 if i == axis else s for i, s in enumerate(x.shape) if keepdims or i != axis)
    return [Value(call.graph.add("cast", [name], call.base, {"to": "int32"}), shape, "int32")]


FUNCTIONS: Final[Mapping[str, Handler]] = {
    **{name: partial(_unary, kind) for name, kind in _UNARY.items()},
    **{name: partial(_activation, kind) for name, kind in _ACTIVATIONS.items()},
    "Argmax": partial(_arg, "max"),
    "Argmin": partial(_arg, "min"),
    "Clip": _clip,
    "Cumsum": _cumsum,
    "Einsum": _einsum,
    "Elu": _elu,
    "Gelu": _gelu,
    "LeakyRelu": _leaky_relu,
    "LogSoftmax": partial(_over_axis, "log_softmax"),
    "Logsumexp": partial(_reduction, "log_sum_exp"),
    "Matmul": _matmul,
    "Norm": _norm,
    "Prod": partial(_reduction, "prod"),
    "Relu6": _relu6,
    "Rsqrt": _rsqrt,
    "Selu": lambda call: _unary("selu", call, **SELU),
    "Softmax": partial(_over_axis, "softmax"),
    "Square": _square,
    "Std": _std,
    "Var": lambda call: [_variance(call, call.base)],
    "Where": _where,
}

"""Functions of `keras.ops` that compute element by element, or multiply matrices."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from fastgru.importers.keras.call import Call, Tensor
from fastgru.importers.keras.layers.activation import apply_activation, apply_function
from fastgru.importers.keras.layers.merging import check_numpy_broadcast
from fastgru.importers.keras.layers.norm import unit_length
from fastgru.importers.keras.registry import operation
from fastgru.spec import Activation

__all__ = ["float_operand", "number_or_tensor"]

_UNARY: Final = {
    "Absolute": "abs", "Arccos": "acos", "Arcsin": "asin", "Arctan": "atan", "Ceil": "ceil", "Cos": "cos",
    "Cosh": "cosh", "Erf": "erf", "Exp": "exp", "Expm1": "expm1", "Floor": "floor", "Isnan": "isnan", "Log": "log",
    "Log1p": "log1p", "Negative": "neg", "Reciprocal": "reciprocal", "Sign": "sign", "Sin": "sin", "Sinh": "sinh",
    "Sqrt": "sqrt", "Tan": "tan",
}  # fmt: skip
_FUNCTIONS: Final = {
    "HardSigmoid": "hard_sigmoid", "HardSilu": "hard_silu", "Relu": "relu", "Relu6": "relu6", "Selu": "selu",
    "Sigmoid": "sigmoid", "Silu": "silu", "Softplus": "softplus", "Softsign": "softsign", "Tanh": "tanh",
}  # fmt: skip


def float_operand(call: Call) -> Tensor:
    """Return the only input, which must be float32."""
    x = call.x
    if x.dtype != "float32":
        raise call.layer.unsupported(f"its operand is {x.dtype}", "cast it to float32 first")
    return x


def number_or_tensor(call: Call, arg: Any, like: Tensor, what: str) -> Tensor:
    """Return an argument as a tensor: a tensor of the model, an array of the file, or a number in `like`'s dtype."""
    if isinstance(arg, Tensor):
        return arg
    if isinstance(arg, Mapping) and arg.get("class_name") in ("__numpy__", "__tensor__"):
        return _array(call, arg, what)
    if isinstance(arg, int | float) and abs(arg) < 1e300:
        wide = {"bool": bool, "float32": int | float}.get(like.dtype, int)
        if not isinstance(arg, wide):
            raise call.layer.unsupported(
                f"its operands are {arg!r} and a tensor of {like.dtype}", "cast the tensor first"
            )
        return Tensor(call.graph.scalar(arg, like, f"{call.base}/{what}"))
    raise call.layer.unsupported(f"its argument {arg!r:.40}", "use numbers and tensors of the model")


def _array(call: Call, data: Mapping[str, Any], what: str) -> Tensor:
    """Return an array that Keras wrote into the configuration."""
    config = data.get("config")
    dtype = config.get("dtype") if isinstance(config, Mapping) else None
    if not isinstance(config, Mapping) or dtype not in ("bool", "float32", "int32", "int64"):
        raise call.layer.unsupported(
            f"one of its arguments is an array of {dtype!r:.40}", "use float32, int32, int64 or bool"
        )
    try:
        array = np.asarray(config.get("value"))
    except (OverflowError, ValueError):
        array = np.asarray(None)
    if array.dtype.kind not in "biuf" or (array.dtype.kind == "f" and dtype != "float32"):
        raise call.layer.damaged(f"one of its arguments is an array of {dtype} with {config.get('value')!r:.40}")
    if array.dtype.kind in "iu" and array.size and np.abs(array).max() >= 1 << 31:
        raise call.layer.damaged(f"one of its arguments is an array of {dtype} with integers of more than 31 bits")
    return Tensor(call.graph.constant(array.astype(dtype), f"{call.base}/{what}"))


def _arguments(call: Call, count: int) -> list[Any]:
    args = list(call.arguments.get("args", ()))
    if len(args) != count:
        raise call.layer.unsupported(f"got {len(args)} arguments by position", f"pass {count}")
    return args


@operation(*_UNARY)
def _unary(call: Call) -> list[Tensor]:
    return _of_kind(call, _UNARY[call.layer.class_name])


def _of_kind(call: Call, kind: str, **attrs: float) -> list[Tensor]:
    x = float_operand(call)
    return [Tensor(call.graph.add("unary", [x.value], call.base, {"kind": kind, **attrs}))]


@operation(*_FUNCTIONS)
def _function(call: Call) -> list[Tensor]:
    return [Tensor(apply_function(call, float_operand(call), _FUNCTIONS[call.layer.class_name], call.base).value)]


@operation("Elu", "LeakyRelu")
def _sloped(call: Call) -> list[Tensor]:
    kind, name, default = {"Elu": ("elu", "alpha", 1.0), "LeakyRelu": ("leaky_relu", "negative_slope", 0.2)}[
        call.layer.class_name
    ]
    number = call.layer.number(name, default=default)
    return [Tensor(apply_activation(call, float_operand(call), Activation(kind, number), call.base).value)]


@operation("Gelu")
def _gelu(call: Call) -> list[Tensor]:
    return _of_kind(call, "gelu_tanh" if call.layer.flag("approximate", default=True) else "gelu")


@operation("Square")
def _square(call: Call) -> list[Tensor]:
    x = float_operand(call)
    return [Tensor(call.graph.add("binary", [x.value, x.value], call.base, {"kind": "mul"}))]


@operation("Rsqrt")
def _rsqrt(call: Call) -> list[Tensor]:
    x = float_operand(call)
    root = call.graph.add("unary", [x.value], f"{call.base}/root", {"kind": "sqrt"})
    return [Tensor(call.graph.add("unary", [root], call.base, {"kind": "reciprocal"}))]


@operation("Clip")
def _clip(call: Call) -> list[Tensor]:
    x, layer = float_operand(call), call.layer
    low, high = (call.graph.scalar(layer.number(k), x, f"{call.base}/{k}") for k in ("x_min", "x_max"))
    return [Tensor(call.graph.add("clip", [x.value, low, high], call.base))]


@operation("LogSoftmax", "Softmax")
def _softmax(call: Call) -> list[Tensor]:
    x, op = float_operand(call), "softmax" if call.layer.class_name == "Softmax" else "log_softmax"
    axis = call.axis(x, call.layer.integer("axis", default=-1))
    return [Tensor(call.graph.add(op, [x.value], call.base, {"axis": axis}))]


@operation("Where")
def _where(call: Call) -> list[Tensor]:
    condition, *sides = _arguments(call, 3)
    tensors = [s for s in sides if isinstance(s, Tensor)]
    if not isinstance(condition, Tensor) or condition.dtype != "bool" or not tensors:
        raise call.layer.unsupported(
            "its condition, or both of its sides, are not tensors", "compare tensors of the model"
        )
    a, b = (number_or_tensor(call, side, tensors[0], what) for side, what in zip(sides, "ab", strict=True))
    if a.dtype != b.dtype:
        raise call.layer.unsupported(f"its operands are {a.dtype} and {b.dtype}", "cast one of them")
    check_numpy_broadcast(call, condition.shape, a.shape, b.shape)
    return [Tensor(call.graph.add("where", [condition.value, a.value, b.value], call.base))]


@operation("Dot", "Matmul")
def _matmul(call: Call) -> list[Tensor]:
    first, second = _arguments(call, 2)
    like = next((arg for arg in (first, second) if isinstance(arg, Tensor)), call.inputs[0])
    a, b = (number_or_tensor(call, arg, like, what) for arg, what in ((first, "a"), (second, "b")))
    if (a.dtype, b.dtype) != ("float32", "float32") or min(a.rank, b.rank) < 2:
        raise call.layer.unsupported(
            f"its operands are {a.dtype} {a.shape} and {b.dtype} {b.shape}", "multiply float32 of two axes and more"
        )
    if call.layer.class_name == "Dot" and b.rank != 2:
        raise call.layer.unsupported(f"its operands have the shapes {a.shape} and {b.shape}", "use keras.ops.matmul")
    if None not in (a.shape[-1], b.shape[-2]) and a.shape[-1] != b.shape[-2]:
        raise call.layer.damaged(f"its operands have the shapes {a.shape} and {b.shape}, which do not fit together")
    check_numpy_broadcast(call, a.shape[:-2], b.shape[:-2])
    return [Tensor(call.graph.add("matmul", [a.value, b.value], call.base))]


@operation("Einsum")
def _einsum(call: Call) -> list[Tensor]:
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
                raise call.layer.damaged(f"axis {letter!r} has the sizes {known} and {size}")
            sizes[letter] = size if known is None else known
    if len(set(result)) != len(result) or not set(result) <= set(sizes):
        raise call.layer.damaged(f"subscripts {equation!r:.60}")
    return [Tensor(call.graph.add("einsum", [x.value for x in operands], call.base, {"equation": equation}))]


@operation("Normalize")
def _normalize(call: Call) -> list[Tensor]:
    x, layer = float_operand(call), call.layer
    if layer.get("order", default=2) != 2:
        raise layer.unsupported(f"order is {layer.get('order')!r:.40}", "normalise by the length, order 2")
    least = 1e-7 if layer.get("epsilon", default=None) is None else layer.number("epsilon")
    axes = sorted(call.axis(x, a) for a in layer.integers("axis", default=-1))
    return [Tensor(unit_length(call, x, axes, call.base, least * least))]


@operation("Round")
def _round(call: Call) -> list[Tensor]:
    if call.layer.integer("decimals", default=0) != 0:
        raise call.layer.unsupported(f"decimals is {call.layer.get('decimals')}", "round to whole numbers")
    return _of_kind(call, "round")

"""Operators that work on each element by itself."""

from typing import Any, Final

from onnx import helper

from fastgru.exporters.onnx.writer import OnnxWriter, attribute, exporter, kind_of
from fastgru.graph import Node
from fastgru.reference.operator import is_floating, numpy_dtype
from fastgru.spec import Activation

_UNARY: Final = {
    "abs": "Abs",
    "acos": "Acos",
    "acosh": "Acosh",
    "asin": "Asin",
    "asinh": "Asinh",
    "atan": "Atan",
    "atanh": "Atanh",
    "bitwise_not": "BitwiseNot",
    "ceil": "Ceil",
    "cos": "Cos",
    "cosh": "Cosh",
    "erf": "Erf",
    "exp": "Exp",
    "floor": "Floor",
    "gelu": "Gelu",
    "hard_swish": "HardSwish",
    "isinf": "IsInf",
    "isnan": "IsNaN",
    "log": "Log",
    "neg": "Neg",
    "not": "Not",
    "reciprocal": "Reciprocal",
    "round": "Round",
    "sign": "Sign",
    "sin": "Sin",
    "sinh": "Sinh",
    "sqrt": "Sqrt",
    "tan": "Tan",
}
_BINARY: Final = {
    "add": "Add",
    "bit_and": "BitwiseAnd",
    "bit_or": "BitwiseOr",
    "bit_xor": "BitwiseXor",
    "div": "Div",
    "max": "Max",
    "min": "Min",
    "mul": "Mul",
    "pow": "Pow",
    "sub": "Sub",
}
_COMPARE: Final = {
    "equal": "Equal",
    "greater": "Greater",
    "greater_equal": "GreaterOrEqual",
    "less": "Less",
    "less_equal": "LessOrEqual",
}
_LOGICAL: Final = {"and": "And", "or": "Or", "xor": "Xor"}
_ACTIVATIONS: Final = {
    "elu": "Elu",
    "hard_sigmoid": "HardSigmoid",
    "leaky_relu": "LeakyRelu",
    "relu": "Relu",
    "sigmoid": "Sigmoid",
    "softplus": "Softplus",
    "softsign": "Softsign",
    "tanh": "Tanh",
    "thresholded_relu": "ThresholdedRelu",
}


@exporter("activation")
def _activation(node: Node, write: OnnxWriter) -> None:
    (x,), (y,) = node.inputs, node.outputs
    nan = float("nan")
    f = Activation(node.attrs["kind"], node.attrs.get("alpha", nan), node.attrs.get("beta", nan))
    if f.kind == "affine":
        if (f.alpha, f.beta) == (1, 0):
            write.emit("Identity", x, out=y)
            return
        scaled = x if f.alpha == 1 else write.emit("Mul", x, write.scalar(f.alpha, x), out=None if f.beta else y)
        if f.beta:
            write.emit("Add", scaled, write.scalar(f.beta, x), out=y)
    elif f.kind == "scaled_tanh":
        inner = write.emit("Tanh", write.emit("Mul", x, write.scalar(f.beta, x)))
        write.emit("Mul", inner, write.scalar(f.alpha, x), out=y)
    else:
        attrs: dict[str, Any] = {}
        if f.kind in ("elu", "hard_sigmoid", "leaky_relu", "thresholded_relu"):
            attrs["alpha"] = attribute(f.alpha, "alpha", node, write)
        if f.kind == "hard_sigmoid":
            attrs["beta"] = attribute(f.beta, "beta", node, write)
        write.emit(kind_of(node, _ACTIVATIONS), x, out=y, **attrs)


@exporter("unary")
def _unary(node: Node, write: OnnxWriter) -> None:
    (x,), (y,) = node.inputs, node.outputs
    match node.attrs["kind"]:
        case "silu":
            write.emit("Mul", x, write.emit("Sigmoid", x), out=y)
        case "gelu_tanh":
            write.emit("Gelu", x, out=y, approximate="tanh")
        case "selu":
            numbers = {name: attribute(node.attrs[name], name, node, write) for name in ("alpha", "gamma")}
            write.emit("Selu", x, out=y, **numbers)
        case _:
            write.emit(kind_of(node, _UNARY), x, out=y)


@exporter("binary")
def _binary(node: Node, write: OnnxWriter) -> None:
    (a, b), (y,) = node.inputs, node.outputs
    kind = node.attrs["kind"]
    if kind == "fmod" or (kind == "mod" and not is_floating(numpy_dtype(write.dtype(a)))):
        write.emit("Mod", a, b, out=y, fmod=int(kind == "fmod"))
    else:
        write.emit(kind_of(node, _BINARY), a, b, out=y)


@exporter("compare")
def _compare(node: Node, write: OnnxWriter) -> None:
    if node.attrs["kind"] == "not_equal":
        write.emit("Not", write.emit("Equal", *node.inputs), out=node.outputs[0])
    else:
        write.emit(kind_of(node, _COMPARE), *node.inputs, out=node.outputs[0])


@exporter("logical")
def _logical(node: Node, write: OnnxWriter) -> None:
    write.emit(kind_of(node, _LOGICAL), *node.inputs, out=node.outputs[0])


@exporter("cast")
def _cast(node: Node, write: OnnxWriter) -> None:
    element = helper.np_dtype_to_tensor_dtype(numpy_dtype(write.floats(node.attrs["to"])))
    write.emit("Cast", *node.inputs, out=node.outputs[0], to=element)

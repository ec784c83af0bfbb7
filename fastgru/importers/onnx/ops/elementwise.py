"""Element-wise operators, with broadcasting between inputs."""

from dataclasses import replace
from functools import partial
from typing import Final

from fastgru.graphbuilder import Value
from fastgru.importers.onnx.builder import OnnxGraphBuilder
from fastgru.importers.onnx.registry import OnnxNode, operator, same
from fastgru.importers.onnx.tensors import dtype_name
from fastgru.reference.operator import is_floating, numpy_dtype

# ONNX name -> (kind, versions of the definition)
_UNARY: Final = {
    "Abs": ("abs", (6, 13)),
    "Acos": ("acos", (7, 22)),
    "Acosh": ("acosh", (9, 22)),
    "Asin": ("asin", (7, 22)),
    "Asinh": ("asinh", (9, 22)),
    "Atan": ("atan", (7, 22)),
    "Atanh": ("atanh", (9, 22)),
    "BitwiseNot": ("bitwise_not", (18,)),
    "Ceil": ("ceil", (6, 13)),
    "Cos": ("cos", (7, 22)),
    "Cosh": ("cosh", (9, 22)),
    "Erf": ("erf", (9, 13)),
    "Exp": ("exp", (6, 13)),
    "Floor": ("floor", (6, 13)),
    "HardSwish": ("hard_swish", (14, 22)),
    "IsNaN": ("isnan", (9, 13, 20)),
    "Log": ("log", (6, 13)),
    "Neg": ("neg", (6, 13)),
    "Not": ("not", (1,)),
    "Reciprocal": ("reciprocal", (6, 13)),
    "Round": ("round", (11, 22)),
    "Sign": ("sign", (9, 13)),
    "Sin": ("sin", (7, 22)),
    "Sinh": ("sinh", (9, 22)),
    "Sqrt": ("sqrt", (6, 13)),
    "Tan": ("tan", (7, 22)),
}
_ACTIVATIONS: Final = {
    "Sigmoid": ("sigmoid", (6, 13)),
    "Softplus": ("softplus", (1, 22)),
    "Softsign": ("softsign", (1, 22)),
    "Tanh": ("tanh", (6, 13)),
}
# ONNX name -> (kind, versions, {attribute: default})
_ACTIVATIONS_WITH: Final = {
    "Elu": ("elu", (6, 22), {"alpha": 1.0}),
    "HardSigmoid": ("hard_sigmoid", (6, 22), {"alpha": 0.2, "beta": 0.5}),
    "LeakyRelu": ("leaky_relu", (6, 16), {"alpha": 0.01}),
    "ThresholdedRelu": ("thresholded_relu", (10, 22), {"alpha": 1.0}),
}
_BINARY: Final = {
    "Add": ("add", (7, 13, 14)),
    "BitwiseAnd": ("bit_and", (18,)),
    "BitwiseOr": ("bit_or", (18,)),
    "BitwiseXor": ("bit_xor", (18,)),
    "Div": ("div", (7, 13, 14)),
    "Mul": ("mul", (7, 13, 14)),
    "Pow": ("pow", (7, 12, 13, 15)),
    "Sub": ("sub", (7, 13, 14)),
}
_VARIADIC: Final = {
    "Max": ("max", (6, 8, 12, 13)),
    "Min": ("min", (6, 8, 12, 13)),
    "Sum": ("add", (6, 8, 13)),
}
_COMPARE: Final = {
    "Equal": ("equal", (7, 11, 13, 19)),
    "Greater": ("greater", (7, 9, 13)),
    "GreaterOrEqual": ("greater_equal", (12, 16)),
    "Less": ("less", (7, 9, 13)),
    "LessOrEqual": ("less_equal", (12, 16)),
}
_LOGICAL: Final = {"And": ("and", (7,)), "Or": ("or", (7,)), "Xor": ("xor", (7,))}


def _joined(node: OnnxNode, build: OnnxGraphBuilder, kind: str) -> Value:
    """Combine all inputs from left to right; a single input is returned as it is."""
    y = node.input(0)
    for i in range(1, len(node.inputs)):
        y = build.emit("binary", y, node.input(i), kind=kind)
    return y


for _op, _table, _arity in (
    ("unary", _UNARY, 1),
    ("activation", _ACTIVATIONS, 1),
    ("binary", _BINARY, 2),
    ("compare", _COMPARE, 2),
    ("logical", _LOGICAL, 2),
):
    for _name, (_kind, _versions) in _table.items():
        operator(_name, versions=_versions, inputs=(_arity, _arity))(same(_op, kind=_kind))
for _name, (_kind, _versions, _defaults) in _ACTIVATIONS_WITH.items():
    operator(_name, versions=_versions, inputs=(1, 1))(same("activation", _defaults, kind=_kind))
for _name, (_kind, _versions) in _VARIADIC.items():
    operator(_name, versions=_versions, inputs=(1, None))(partial(_joined, kind=_kind))


@operator("Relu", versions=(6, 13, 14), inputs=(1, 1))
def _relu(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    x = node.input(0)
    if x.dtype is None or is_floating(numpy_dtype(x.dtype)):
        return build.emit("activation", x, kind="relu")
    return build.emit("binary", x, build.scalar(0, x), kind="max")


@operator("Mean", versions=(6, 8, 13), inputs=(1, None))
def _mean(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    total = _joined(node, build, "add")
    return build.emit("binary", total, build.scalar(len(node.inputs), total), kind="div")


@operator("BitShift", versions=(11, 28), inputs=(2, 2))
def _bit_shift(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    direction = node.attrs.choice("direction", ("LEFT", "RIGHT"))
    return build.emit("binary", node.input(0), node.input(1), kind=f"shift_{direction.lower()}")


@operator("Mod", versions=(10, 13, 28), inputs=(2, 2))
def _mod(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    kind = "fmod" if node.attrs.flag("fmod", False) else "mod"
    return build.emit("binary", node.input(0), node.input(1), kind=kind)


@operator("Celu", versions=(12, 28), inputs=(1, 1))
def _celu(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    """alpha * elu(x / alpha), which is max(0, x) + min(0, alpha * (exp(x / alpha) - 1))."""
    x = node.input(0)
    alpha = node.attrs.number("alpha", 1.0)
    if alpha <= 0:
        raise node.unsupported(f"attribute 'alpha' is {alpha}", "it must be positive")
    if alpha == 1:
        return build.emit("activation", x, kind="elu", alpha=1.0)
    factor = build.scalar(alpha, x)
    y = build.emit("activation", build.emit("binary", x, factor, kind="div"), kind="elu", alpha=1.0)
    return build.emit("binary", y, factor, kind="mul")


@operator("Mish", versions=(18, 22), inputs=(1, 1))
def _mish(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    """x * tanh(softplus(x))."""
    x = node.input(0)
    inner = build.emit("activation", x, kind="softplus")
    return build.emit("binary", x, build.emit("activation", inner, kind="tanh"), kind="mul")


@operator("Swish", versions=(24,), inputs=(1, 1))
def _swish(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    """x * sigmoid(alpha * x)."""
    x = node.input(0)
    alpha = node.attrs.number("alpha", 1.0)
    if alpha == 1:
        return build.emit("unary", x, kind="silu")
    inner = build.emit("binary", x, build.scalar(alpha, x), kind="mul")
    return build.emit("binary", x, build.emit("activation", inner, kind="sigmoid"), kind="mul")


@operator("Gelu", versions=(20,), inputs=(1, 1))
def _gelu(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    kinds = {"none": "gelu", "tanh": "gelu_tanh"}
    return build.emit("unary", node.input(0), kind=kinds[node.attrs.choice("approximate", kinds, "none")])


_SELU: Final = {"alpha": 1.67326319217681884765625, "gamma": 1.05070102214813232421875}
operator("Selu", versions=(6, 22), inputs=(1, 1))(same("unary", _SELU, kind="selu"))
operator("PRelu", versions=(7, 9, 16), inputs=(2, 2))(same("prelu"))
operator("Where", versions=(9, 16), inputs=(3, 3))(same("where"))


@operator("IsInf", versions=(10, 20), inputs=(1, 1))
def _isinf(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    x = node.input(0)
    positive, negative = node.attrs.flag("detect_positive", True), node.attrs.flag("detect_negative", True)
    found = build.emit("unary", x, kind="isinf")
    if positive and negative:
        return found
    if not positive and not negative:
        return build.emit("logical", found, found, kind="xor")
    sign = build.emit("compare", x, build.scalar(0, x), kind="greater" if positive else "less")
    return build.emit("logical", found, sign, kind="and")


@operator("Clip", versions=(6, 11, 12, 13), inputs=(1, 3))
def _clip(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    x = node.input(0)
    if node.version >= 11:
        return build.emit("clip", x, node.optional(1), node.optional(2))
    bounds = [build.scalar(node.attrs.number(name, 0.0), x) if name in node.attrs else None for name in ("min", "max")]
    return build.emit("clip", x, *bounds)


def _cast_to(node: OnnxNode, build: OnnxGraphBuilder, to: str) -> Value:
    # Both attributes concern only float8 types, which `dtype_name` refuses.
    node.attrs.integer("saturate", 1)
    node.attrs.string("round_mode", "up")
    x = node.input(0)
    if x.dtype == to:
        return x
    y = build.emit("cast", x, to=to)
    if y.elements is None and to in ("float32", "float64"):
        # Keep the sizes: TensorFlow's exporter compares counters as float32, which is exact for 2^24 iterations.
        y.facts = replace(y.facts, elements=x.elements)
    return y


@operator(
    "Cast", versions=(6, 9, 13, 19, 21, 23, 24, 25, 28), inputs=(1, 1), limits="no strings, no float8, no 4-bit types"
)
def _cast(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    return _cast_to(node, build, dtype_name(node.attrs.integer("to"), node.what))


@operator("CastLike", versions=(15, 19, 21, 23, 24, 25), inputs=(2, 2), limits="the same as for Cast")
def _cast_like(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    to = node.input(1).dtype
    if to is None:
        raise node.unsupported("the element type of input 1 does not follow from the file", "use Cast")
    return _cast_to(node, build, to)

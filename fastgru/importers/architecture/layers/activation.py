"""Activations and other element-wise functions, with torch's names and defaults."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from fastgru.conventions import SELU
from fastgru.graphbuilder import Value
from fastgru.importers.architecture.registry import DescribedLayer, layer_type

_PLAIN: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    "Abs": ("unary", {"kind": "abs"}),
    "Cos": ("unary", {"kind": "cos"}),
    "Erf": ("unary", {"kind": "erf"}),
    "Exp": ("unary", {"kind": "exp"}),
    "Hardsigmoid": ("activation", {"kind": "hard_sigmoid", "alpha": 1 / 6, "beta": 0.5}),
    "Hardswish": ("unary", {"kind": "hard_swish"}),
    "Log": ("unary", {"kind": "log"}),
    "Log1p": ("unary", {"kind": "log1p"}),
    "Neg": ("unary", {"kind": "neg"}),
    "Reciprocal": ("unary", {"kind": "reciprocal"}),
    "ReLU": ("activation", {"kind": "relu"}),
    "SELU": ("unary", {"kind": "selu", **SELU}),
    "SiLU": ("unary", {"kind": "silu"}),
    "Sigmoid": ("activation", {"kind": "sigmoid"}),
    "Sign": ("unary", {"kind": "sign"}),
    "Sin": ("unary", {"kind": "sin"}),
    "Softsign": ("activation", {"kind": "softsign"}),
    "Sqrt": ("unary", {"kind": "sqrt"}),
    "Tanh": ("activation", {"kind": "tanh"}),
}


# Functions of torch that are not modules, and so have no option `inplace`.
_FUNCTIONS: Final = ("Abs", "Cos", "Erf", "Exp", "Log", "Log1p", "Neg", "Reciprocal", "Sign", "Sin", "Sqrt")


@layer_type(*(name for name in _PLAIN if name not in _FUNCTIONS), training="inplace")
@layer_type(*_FUNCTIONS)
def _plain(layer: DescribedLayer) -> Value:
    op, attrs = _PLAIN[layer.type]
    return layer.apply(op, layer.x, **attrs)


@layer_type("ELU", options="alpha", training="inplace")
@layer_type("LeakyReLU", options="negative_slope", training="inplace")
def _sloped(layer: DescribedLayer) -> Value:
    kind, option, default = {"ELU": ("elu", "alpha", 1.0), "LeakyReLU": ("leaky_relu", "negative_slope", 0.01)}[
        layer.type
    ]
    return layer.apply("activation", layer.x, kind=kind, alpha=layer.options.number(option, default))


@layer_type("GELU", options="approximate")
def _gelu(layer: DescribedLayer) -> Value:
    kinds = {"none": "gelu", "tanh": "gelu_tanh"}
    return layer.apply("unary", layer.x, kind=kinds[layer.options.choice("approximate", tuple(kinds), "none")])


@layer_type("Softplus", options="beta threshold")
def _softplus(layer: DescribedLayer) -> Value:
    """log(1 + exp(beta * x)) / beta; torch returns x above the threshold, which differs by less than rounding."""
    if layer.options.number("threshold", 20.0) < 20:
        raise layer.unsupported("a threshold below 20", "leave it out, or write the function with other layers")
    beta = layer.options.number("beta", 1.0)
    if beta <= 0:
        raise layer.options.wrong("beta", "a number above 0")
    if beta == 1:
        return layer.apply("activation", layer.x, kind="softplus")
    soft = layer.apply("activation", _affine(layer, layer.x, beta), kind="softplus")
    return _affine(layer, soft, 1 / beta)


@layer_type("LogSigmoid")
def _log_sigmoid(layer: DescribedLayer) -> Value:
    """-softplus(-x)."""
    soft = layer.apply("activation", _affine(layer, layer.x, -1.0), kind="softplus")
    return _affine(layer, soft, -1.0)


@layer_type("Mish", training="inplace")
def _mish(layer: DescribedLayer) -> Value:
    """x * tanh(softplus(x))."""
    soft = layer.apply("activation", layer.x, kind="softplus")
    return layer.apply("binary", layer.x, layer.apply("activation", soft, kind="tanh"), kind="mul")


@layer_type("Clamp", options="min max")
def _clamp(layer: DescribedLayer) -> Value:
    if "min" not in layer.options and "max" not in layer.options:
        raise layer.invalid("min and max are both missing, expected at least one of them")
    low, high = (layer.options.number(n) if n in layer.options else None for n in ("min", "max"))
    return _clip(layer, low, high)


@layer_type("Hardtanh", options="min_val max_val", training="inplace")
def _hardtanh(layer: DescribedLayer) -> Value:
    return _clip(layer, layer.options.number("min_val", -1.0), layer.options.number("max_val", 1.0))


@layer_type("ReLU6", training="inplace")
def _relu6(layer: DescribedLayer) -> Value:
    return _clip(layer, 0.0, 6.0)


def _clip(layer: DescribedLayer, low: float | None, high: float | None) -> Value:
    bounds = [None if v is None else layer.constant(n, v, "float64") for n, v in (("low", low), ("high", high))]
    return layer.apply("clip", layer.x, *bounds)


@layer_type("Pow", options="exponent")
def _pow(layer: DescribedLayer) -> Value:
    exponent = layer.constant("exponent", layer.options.number("exponent"), "float64")
    return layer.apply("binary", layer.x, exponent, kind="pow")


@layer_type("Affine", options="scale offset")
def _scaled(layer: DescribedLayer) -> Value:
    """scale * x + offset."""
    scale, offset = layer.options.number("scale", 1.0), layer.options.number("offset", 0.0)
    return _affine(layer, layer.x, scale, offset)


@layer_type("LogSoftmax", "Softmax", options="dim")
def _softmax(layer: DescribedLayer) -> Value:
    return layer.apply("softmax" if layer.type == "Softmax" else "log_softmax", layer.x, axis=layer.axis("dim"))


@layer_type("PReLU", sizes="num_parameters", weights=True)
def _prelu(layer: DescribedLayer) -> Value:
    """PReLU with one slope for all elements, or one per channel along axis 1."""
    slope = layer.weight("weight", ("C",))
    layer.check_sizes(num_parameters=slope.size)
    if slope.size != 1:
        if layer.rank < 2 or layer.x.shape[1] not in (None, slope.size):
            raise layer.wrong_input(
                f"(N, {slope.size}, ...), as {layer.parameters.key('weight')!r} has {slope.size} slopes"
            )
        slope = slope.reshape(-1, *(1 for _ in range(layer.rank - 2)))
    return layer.apply("prelu", layer.x, layer.stored("weight", np.ascontiguousarray(slope)))


@layer_type("GLU", options="dim")
def _glu(layer: DescribedLayer) -> Value:
    """a * sigmoid(b), where a and b are the halves of x along an axis."""
    axis = layer.axis("dim", -1)
    size = layer.x.shape[axis]
    if size is None or size % 2:
        raise layer.wrong_input(f"an even size on axis {axis}")
    a, b = layer.add("split", [layer.x], ["half", "half"], axis=axis, sizes=[size // 2] * 2)
    return layer.apply("binary", a, layer.apply("activation", b, kind="sigmoid"), kind="mul")


def _affine(layer: DescribedLayer, x: Value, scale: float, offset: float = 0.0) -> Value:
    return layer.apply("activation", x, kind="affine", alpha=scale, beta=offset)

"""Activation functions by their Keras names, and layers that consist of one such function."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from fastgru.conventions import SELU, activation_from_keras
from fastgru.errors import UnsupportedModelError
from fastgru.importers.keras.call import Call, Tensor
from fastgru.importers.keras.config import LayerConfig
from fastgru.importers.keras.custom import CustomLayer
from fastgru.importers.keras.custom_call import apply_custom
from fastgru.importers.keras.registry import class_of, keras_layer
from fastgru.importers.keras.weights import NoWeights
from fastgru.nearest import offered
from fastgru.spec import Activation

__all__ = ["activate", "apply_activation", "apply_function", "recurrent_activation"]

_UNARY: Final[Mapping[str, Mapping[str, Any]]] = {
    "exponential": {"kind": "exp"},
    "gelu": {"kind": "gelu"},
    "hard_silu": {"kind": "hard_swish"},
    "hard_swish": {"kind": "hard_swish"},
    "selu": {"kind": "selu", **SELU},
    "silu": {"kind": "silu"},
    "swish": {"kind": "silu"},
}
_GRU_KINDS: Final = frozenset(
    {"elu", "hard_sigmoid", "leaky_relu", "linear", "relu", "sigmoid", "softplus", "softsign", "tanh"}
)

_WITHOUT_WEIGHTS: Final = frozenset({"ELU", "LeakyReLU", "ReLU", "Softmax", "ThresholdedReLU"})


def _name(layer: LayerConfig, *keys: str, default: str = "linear") -> str:
    """Return the name of the function in an attribute of `layer`; None in the file means linear.

    Raises `UnsupportedModelError` for a user's function, of which a file has only the name.
    """
    value = layer.get(*keys, default=default)
    if value is None:
        return "linear"
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        inner, module = value.get("config"), value.get("module")
        if isinstance(inner, str) and isinstance(module, str) and module.startswith("keras"):
            return inner
        name = inner if isinstance(inner, str) else value.get("class_name")
        raise layer.unsupported(
            f"{keys[0]} is the custom function or layer {name!r}",
            "use a built-in activation, or write it as a layer of its own;"
            f" for such a layer, custom_objects={{{name!r}: ...}} takes a function of NumPy arrays",
        )
    raise layer.damaged(f"{keys[0]} is {value!r:.60}, expected the name of a function")


def recurrent_activation(call: Call, layer: LayerConfig, *keys: str, default: str) -> Activation:
    """Return an activation of a recurrent cell."""
    return activation_from_keras(_name(layer, *keys, default=default), call.rules.major, what=str(layer))


def activate(call: Call, x: Tensor) -> Tensor:
    """Apply the layer's activation to x: a function by name, or another layer without weights."""
    value = call.layer.get("activation", default="linear")
    if isinstance(value, Mapping) and value.get("class_name") in _WITHOUT_WEIGHTS:
        inner = LayerConfig.from_json(value, f"{call.layer}: activation")
        if not inner.custom:
            return class_of(inner, call.graph.custom).handler(call.of(inner, call.weights, x))[0]
    named = value.get("config") if isinstance(value, Mapping) else value
    if isinstance(named, str) and (own := call.graph.custom.function(named)) is not None:
        return _custom(call, x, own, named)
    name = _name(call.layer, "activation")
    return apply_function(call, x, name, f"{call.base}/{name}")


def _custom(call: Call, x: Tensor, own: CustomLayer, name: str) -> Tensor:
    """Apply a function of the caller to x."""
    if isinstance(own.layer, str):
        return apply_function(call, x, own.layer, f"{call.base}/{own.layer}")
    layer = LayerConfig(f"activation {name!r}", call.layer.name, {})
    inner = replace(call.of(layer, NoWeights(), x.but(mask=None)), base=f"{call.base}/{name}")
    return x.but(value=apply_custom(own, inner)[0].value)


def apply_function(call: Call, x: Tensor, name: str, base: str) -> Tensor:
    """Apply the function `name` to x; softmax and log_softmax run over the last axis."""
    graph = call.graph
    if name == "linear":
        return x
    if name in _GRU_KINDS:
        return apply_activation(call, x, activation_from_keras(name, call.rules.major, what=str(call.layer)), base)
    if name in ("softmax", "log_softmax"):
        return x.but(value=graph.add(name, [x.value], base, {"axis": x.rank - 1}))
    if name in _UNARY:
        return x.but(value=graph.add("unary", [x.value], base, _UNARY[name]))
    if name == "relu6":
        low, high = (graph.scalar(v, x, f"{call.base}/{v:g}") for v in (0.0, 6.0))
        return x.but(value=graph.add("clip", [x.value, low, high], base))
    if name == "mish":
        inner = apply_activation(call, x, Activation("softplus"), f"{base}/softplus")
        inner = apply_activation(call, inner, Activation("tanh"), f"{base}/tanh")
        return x.but(value=graph.add("binary", [x.value, inner.value], base, {"kind": "mul"}))
    known = sorted({*_GRU_KINDS, *_UNARY, "softmax", "log_softmax", "relu6", "mish"})
    raise UnsupportedModelError(
        f"{call.layer}: activation {name!r} is not implemented; {offered(name, known)}; for your own activation,"
        f" custom_objects={{{name!r}: ...}} takes a function of NumPy arrays"
    )


def apply_activation(call: Call, x: Tensor, activation: Activation, base: str) -> Tensor:
    """Apply to x an activation that recurrent layers can also have."""
    attrs = {"kind": activation.kind, "alpha": activation.alpha, "beta": activation.beta}
    return x.but(value=call.graph.add("activation", [x.value], base, attrs))


@keras_layer("Activation", stepwise=True)
def _activation(call: Call) -> list[Tensor]:
    return [activate(call, call.x)]


# Layer -> (kind, names of its parameter from newest to oldest, default)
_SLOPES: Final = {
    "ELU": ("elu", ("alpha",), 1.0),
    "LeakyReLU": ("leaky_relu", ("negative_slope", "alpha"), 0.3),
    "ThresholdedReLU": ("thresholded_relu", ("theta",), 1.0),
}


@keras_layer(*_SLOPES, stepwise=True)
def _sloped(call: Call) -> list[Tensor]:
    kind, names, default = _SLOPES[call.layer.class_name]
    number = call.layer.number(*names, default=default)
    return [apply_activation(call, call.x, Activation(kind, number), call.base)]


@keras_layer("ReLU", stepwise=True)
def _relu(call: Call) -> list[Tensor]:
    """Apply ReLU: x above the threshold, else 0, at most max_value; minus slope * relu(threshold - x)."""
    layer, graph, x = call.layer, call.graph, call.x
    slope = 0.0 if layer.get("negative_slope", default=None) is None else layer.number("negative_slope")
    threshold = 0.0 if layer.get("threshold", default=None) is None else layer.number("threshold")
    limit = None if layer.get("max_value", default=None) is None else layer.number("max_value")
    if limit is None and threshold == 0:
        kind = Activation("leaky_relu", slope) if slope else Activation("relu")
        return [apply_activation(call, x, kind, call.base)]
    above = Activation("thresholded_relu", threshold) if threshold else Activation("relu")
    y = apply_activation(call, x, above, f"{call.base}/above")
    if limit is not None:
        low, high = graph.scalar(0.0, x, f"{call.base}/low"), graph.scalar(limit, x, f"{call.base}/max_value")
        y = y.but(value=graph.add("clip", [y.value, low, high], f"{call.base}/limited"))
    if slope:
        below = apply_activation(call, x, Activation("affine", -1.0, threshold), f"{call.base}/distance")
        below = apply_activation(call, below, Activation("relu"), f"{call.base}/below")
        below = apply_activation(call, below, Activation("affine", -slope, 0.0), f"{call.base}/slope")
        y = y.but(value=graph.add("binary", [y.value, below.value], call.base, {"kind": "add"}))
    return [y]


@keras_layer("PReLU")
def _prelu(call: Call) -> list[Tensor]:
    (alpha,) = call.weights.take(call.layer, "alpha")
    if alpha.ndim != call.x.rank - 1 or any(
        a != 1 and s is not None and a != s for a, s in zip(alpha.shape, call.x.shape[1:], strict=True)
    ):
        raise call.layer.damaged(f"alpha has shape {alpha.shape} for an input of shape {call.x.shape}")
    slope = call.graph.constant(alpha, f"{call.home}/alpha")
    return [call.x.but(value=call.graph.add("prelu", [call.x.value, slope], call.base))]


@keras_layer("Softmax")
def _softmax(call: Call) -> list[Tensor]:
    axes = call.layer.integers("axis", default=-1)
    if len(axes) != 1:
        raise call.layer.unsupported(f"axis is {list(axes)}", "take the softmax over one axis")
    axis = call.axis(call.x, axes[0])
    return [call.x.but(value=call.graph.add("softmax", [call.x.value], call.base, {"axis": axis}))]


@keras_layer("Rescaling", stepwise=True)
def _rescaling(call: Call) -> list[Tensor]:
    layer, x = call.layer, call.x
    scale, offset = layer.number("scale"), layer.number("offset", default=0.0)
    return [
        apply_activation(call, x, Activation("affine", float(np.float32(scale)), float(np.float32(offset))), call.base)
    ]

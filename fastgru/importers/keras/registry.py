"""Which handler a layer has, and why others have none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from fastgru.errors import UnsupportedModelError
from fastgru.importers.keras.activations import ACTIVATION_LAYERS
from fastgru.importers.keras.bidirectional import bidirectional
from fastgru.importers.keras.call import Call
from fastgru.importers.keras.dense import DENSE_LAYERS
from fastgru.importers.keras.layer import Layer
from fastgru.importers.keras.merging import MERGING_LAYERS
from fastgru.importers.keras.operations import OPERATIONS
from fastgru.importers.keras.recurrent import RECURRENT_LAYERS, recurrent
from fastgru.importers.keras.shaping import SHAPING_LAYERS
from fastgru.importers.keras.values import Value

__all__ = ["MODELS", "OPERATIONS_MODULE", "apply", "handler_of", "is_operation"]

OPERATIONS_MODULE: Final = "keras.src.ops"

Handler = Callable[[Call], list[Value]]

MODELS: Final = frozenset({"Functional", "Model", "Sequential"})

_LAYERS: Final[Mapping[str, Handler]] = {
    **ACTIVATION_LAYERS,
    **DENSE_LAYERS,
    **MERGING_LAYERS,
    **SHAPING_LAYERS,
    **dict.fromkeys(RECURRENT_LAYERS, recurrent),
    "Bidirectional": bidirectional,
    "TimeDistributed": lambda call: _time_distributed(call),
}

# Layers that do the same to every step, so that applying them to each step is applying them to all.
_STEPWISE: Final = frozenset(
    {"Activation", "ActivityRegularization", "AlphaDropout", "Dense", "Dropout", "ELU", "GaussianDropout"}
    | {"GaussianNoise", "Identity", "LeakyReLU", "ReLU", "Rescaling", "ThresholdedReLU"}
)
_LAST_AXIS: Final = frozenset({"BatchNormalization", "LayerNormalization", "Softmax"})

_REASONS: Final[Mapping[str, str]] = {
    "ConvLSTM2D": "run are GRU, LSTM and SimpleRNN layers",
    "Lambda": "it holds Python code, which is never run from a file: write it with layers",
    "SlicingOpLambda": "write it with layers, or export the model to ONNX",
    "TFOpLambda": "write it with layers, or export the model to ONNX",
    "TensorFlowOpLayer": "write it with layers, or export the model to ONNX",
}


def is_operation(layer: Layer) -> bool:
    """True for what Keras 3 writes of a function of `keras.ops`; legacy files do not name the module."""
    if layer.module:
        return layer.module.startswith(OPERATIONS_MODULE)
    return layer.class_name in OPERATIONS and layer.class_name not in _LAYERS


def handler_of(layer: Layer) -> Handler:
    """The handler, or `UnsupportedModelError` that says why there is none."""
    table = OPERATIONS if is_operation(layer) and layer.class_name != "Concatenate" else _LAYERS
    if layer.custom:
        raise layer.unsupported("a class of your own", "its code is not in the file: write it with Keras's layers")
    if layer.class_name not in table:
        way = _REASONS.get(layer.class_name, "write it with other layers, or export the model to ONNX")
        raise UnsupportedModelError(f"{layer}: this class is not implemented: {way}")
    return table[layer.class_name]


def apply(call: Call) -> list[Value]:
    """The outputs of a call."""
    _check_dtype(call.layer)
    if not call.inputs:
        raise call.layer.damaged("it is called without a tensor")
    return handler_of(call.layer)(call)


def _check_dtype(layer: Layer) -> None:
    policy = layer.get("dtype", default=None)
    if isinstance(policy, Mapping) and str(policy.get("class_name")).startswith("Quantized"):
        raise layer.unsupported("its weights are quantised", "save the model before quantize()")
    if layer.get("quantization_config", default=None) is not None:
        raise layer.unsupported("quantization_config", "save the model before quantize()")


def _time_distributed(call: Call) -> list[Value]:
    call.check_arguments("mask")
    inner, x = call.layer.inner("layer"), call.x
    if inner.class_name not in _STEPWISE | _LAST_AXIS or x.rank < 3:
        raise call.layer.unsupported(
            f"applied to a {inner.class_name} on {x.rank} axes",
            f"it is read around {', '.join(sorted(_STEPWISE | _LAST_AXIS))}",
        )
    if inner.class_name in _LAST_AXIS and tuple(inner.integers("axis", default=-1)) not in ((-1,), (x.rank - 2,)):
        raise call.layer.unsupported(f"{inner.class_name} over axis {inner.get('axis')!r}", "use the last axis")
    if inner.class_name in _LAST_AXIS:
        inner = inner.replaced(axis=-1)
    explicit = call.arguments.get("mask")
    mask = explicit.name if isinstance(explicit, Value) else x.mask
    outputs = apply(call.of(inner, call.weights.child("layer", inner), x))
    return [y.but(mask=mask if call.rules.recurrent_keeps_mask else None) for y in outputs]

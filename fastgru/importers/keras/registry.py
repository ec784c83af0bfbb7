"""Which handler a layer has, and why others have none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from fastgru.errors import UnsupportedModelError
from fastgru.importers.keras.activations import ACTIVATION_LAYERS
from fastgru.importers.keras.attention import ATTENTION_LAYERS
from fastgru.importers.keras.bidirectional import bidirectional
from fastgru.importers.keras.call import Call
from fastgru.importers.keras.cells import CELLS
from fastgru.importers.keras.convolution import CONVOLUTION_LAYERS
from fastgru.importers.keras.dense import DENSE_LAYERS
from fastgru.importers.keras.distributed import time_distributed
from fastgru.importers.keras.heads import HEAD_LAYERS
from fastgru.importers.keras.layer import Layer
from fastgru.importers.keras.merging import MERGING_LAYERS
from fastgru.importers.keras.normalisation import NORMALISATION_LAYERS
from fastgru.importers.keras.operations import OPERATIONS
from fastgru.importers.keras.pooling import POOLING_LAYERS
from fastgru.importers.keras.recurrent import RECURRENT_LAYERS, cell_step, recurrent
from fastgru.importers.keras.shaping import SHAPING_LAYERS
from fastgru.importers.keras.values import Value

__all__ = ["MODELS", "OPERATIONS_MODULE", "apply", "handler_of", "is_operation", "layers"]

OPERATIONS_MODULE: Final = "keras.src.ops"

Handler = Callable[[Call], list[Value]]

MODELS: Final = frozenset({"Functional", "Model", "Sequential"})

_LAYERS: Final[Mapping[str, Handler]] = {
    **ACTIVATION_LAYERS,
    **ATTENTION_LAYERS,
    **CONVOLUTION_LAYERS,
    **DENSE_LAYERS,
    **HEAD_LAYERS,
    **MERGING_LAYERS,
    **NORMALISATION_LAYERS,
    **POOLING_LAYERS,
    **SHAPING_LAYERS,
    **dict.fromkeys(RECURRENT_LAYERS, recurrent),
    **dict.fromkeys(CELLS, cell_step),
    "Bidirectional": bidirectional,
    "TimeDistributed": time_distributed,
}

_REASONS: Final[Mapping[str, str]] = {
    "ConvLSTM2D": "run are GRU, LSTM and SimpleRNN layers",
    "Lambda": "it holds Python code, which is never run from a file: write it with layers or functions of keras.ops, or"
    " export the model to ONNX",
    "SlicingOpLambda": "write it with layers, or export the model to ONNX",
    "TFOpLambda": "write it with layers, or export the model to ONNX",
    "TensorFlowOpLayer": "write it with layers, or export the model to ONNX",
}


def layers() -> tuple[str, ...]:
    """The classes of layers that are read, by name."""
    return tuple(sorted(_LAYERS))


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

"""The registry of the functions that read layers and functions of `keras.ops`, and the reasons for refusing others.

    @keras_layer("Flatten")
    def _flatten(call): ...

    @operation("Squeeze")
    def _squeeze(call): ...

A function takes a `Call` and returns the tensors of its outputs.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Final

from fastgru.importers.keras.call import Call, Tensor
from fastgru.importers.keras.config import LayerConfig
from fastgru.importers.keras.custom import CustomObjects
from fastgru.importers.keras.custom_call import apply_custom
from fastgru.importers.keras.masks import Mask, mask_of
from fastgru.modules import enter
from fastgru.nearest import offered
from fastgru.records import dataclass

__all__ = [
    "MODELS",
    "OPERATIONS_MODULE",
    "LayerClass",
    "apply",
    "class_of",
    "is_operation",
    "is_read",
    "keras_layer",
    "layers",
    "operation",
    "operations",
    "positional_arguments",
    "reason",
]

OPERATIONS_MODULE: Final = "keras.src.ops"

Handler = Callable[[Call], list[Tensor]]

_TRAINING: Final = ("training",)

MODELS: Final = frozenset({"Functional", "Model", "Sequential"})

_REASONS: Final[Mapping[str, str]] = {
    "ConvLSTM2D": "use GRU, LSTM or SimpleRNN layers",
    "Lambda": "write it with layers or functions of keras.ops, or export the model to ONNX",
    "SlicingOpLambda": "write it with layers, or export the model to ONNX",
    "TFOpLambda": "write it with layers, or export the model to ONNX",
    "TensorFlowOpLayer": "write it with layers, or export the model to ONNX",
}


@dataclass(frozen=True)
class LayerClass:
    """A class of layers, or a function of `keras.ops`.

    positional: names of the arguments that Keras passes by position after the first argument of a call.
    checks_arguments: the handler itself checks the arguments of a call; otherwise arguments are refused.
    stepwise: the layer does the same to every step, so that it can be applied to all steps at once.
    """

    handler: Handler
    positional: tuple[str, ...] = _TRAINING
    checks_arguments: bool = False
    stepwise: bool = False


_LAYERS: Final[dict[str, LayerClass]] = {}
_OPERATIONS: Final[dict[str, LayerClass]] = {}


def keras_layer(
    *class_names: str,
    positional: tuple[str, ...] = _TRAINING,
    checks_arguments: bool = False,
    stepwise: bool = False,
) -> Callable[[Handler], Handler]:
    """Register the decorated function for these classes; for the options see `LayerClass`.

    A class of the user's own has the name under which Keras registered it, such as "corp>PCEN".
    """

    def register(handler: Handler) -> Handler:
        found = LayerClass(handler, positional, checks_arguments, stepwise)
        return _enter(_LAYERS, class_names, found)

    return register


def operation(*class_names: str, checks_arguments: bool = False) -> Callable[[Handler], Handler]:
    """Register the decorated function for these functions of `keras.ops`, by the classes that Keras writes."""

    def register(handler: Handler) -> Handler:
        return _enter(_OPERATIONS, class_names, LayerClass(handler, checks_arguments=checks_arguments))

    return register


def _enter(table: dict[str, LayerClass], class_names: tuple[str, ...], found: LayerClass) -> Handler:
    for name in class_names:
        enter(table, name, found, found.handler)
    return found.handler


def layers() -> tuple[str, ...]:
    """Return the names of the supported classes of layers, sorted."""
    return tuple(sorted(_LAYERS))


def operations() -> tuple[str, ...]:
    """Return the names of the supported functions of `keras.ops`, sorted."""
    return tuple(sorted(_OPERATIONS))


def is_operation(layer: LayerConfig) -> bool:
    """Return whether a layer of a Keras 3 file is a function of `keras.ops`; legacy files do not name the module."""
    if layer.module:
        return layer.module.startswith(OPERATIONS_MODULE)
    return layer.class_name in _OPERATIONS and layer.class_name not in _LAYERS


def positional_arguments(layer: LayerConfig) -> tuple[str, ...]:
    """Return the names of the arguments that a call may pass by position after the first."""
    found = _LAYERS.get(layer.registered or layer.class_name)
    return _TRAINING if found is None else found.positional


def is_read(layer: LayerConfig) -> bool:
    """Return whether a layer, a model or a function is a supported one of Keras."""
    if layer.custom:
        return layer.registered in _LAYERS
    return layer.class_name in MODELS or layer.class_name in ("InputLayer", *_table_of(layer))


def class_of(layer: LayerConfig, custom: CustomObjects) -> LayerClass:
    """Return the entry of a layer's class or of its custom object; raise `UnsupportedModelError` if there is none."""
    found = custom.of(layer)
    if found is not None and not isinstance(found.layer, str):
        return LayerClass(partial(apply_custom, found), checks_arguments=True)
    layer = layer if found is None else _as_class(layer, found.layer)
    table = _table_of(layer)
    if layer.registered in _LAYERS:
        return _LAYERS[layer.registered]
    if layer.custom or layer.class_name not in table:
        raise layer.unsupported(*reason(layer))
    return table[layer.class_name]


def _table_of(layer: LayerConfig) -> dict[str, LayerClass]:
    return _OPERATIONS if is_operation(layer) and layer.class_name != "Concatenate" else _LAYERS


def reason(layer: LayerConfig) -> tuple[str, str]:
    """Return why a layer is not supported, and the way round."""
    if layer.custom:
        return "a class of your own", "its code is not in the file: write it with Keras's layers"
    held = "it holds Python code, which is never run from a file"
    return held if layer.class_name == "Lambda" else "this class is not implemented", _REASONS.get(
        layer.class_name, "write it with other layers, or export the model to ONNX"
    )


def _as_class(layer: LayerConfig, class_name: str) -> LayerConfig:
    """Return the layer with the class of a Keras layer and an unchanged configuration."""
    if class_name not in _LAYERS:
        raise layer.unsupported(
            f"custom_objects names {class_name!r} for it, which is not an implemented class of Keras",
            offered(class_name, layers()),
        )
    return replace(layer, class_name=class_name, module="keras.layers", custom=False, registered="")


def apply(call: Call) -> list[Tensor]:
    """Apply the layer of a call and return its outputs."""
    found = class_of(call.layer, call.graph.custom)
    own = call.graph.custom.of(call.layer)
    if own is not None:
        if not isinstance(own.layer, str):
            return found.handler(call)
        call = replace(call, layer=_as_class(call.layer, own.layer))
    if not found.checks_arguments:
        call.check_arguments("args", "mask", "dtype")
    _check_dtype(call.layer)
    if not call.inputs:
        raise call.layer.damaged("it is called without a tensor")
    kind = mask_of(call.layer, call.rules, function=is_operation(call.layer))
    if kind is Mask.OWN:
        return found.handler(call)
    if kind is Mask.REFUSED and any(isinstance(x, Tensor) and x.mask for x in (*call.inputs, *call.arguments.values())):
        raise call.layer.unsupported("its input has a mask", "drop the mask before it, or use another layer")
    first, *rest = found.handler(replace(call, inputs=[x.but(mask=None) for x in call.inputs]))
    handed = call.masks()[1][0] if kind is Mask.KEEPS else None
    return [Tensor(first.value, handed), *rest]


def _check_dtype(layer: LayerConfig) -> None:
    policy = layer.get("dtype", default=None)
    if isinstance(policy, Mapping) and str(policy.get("class_name")).startswith("Quantized"):
        raise layer.unsupported("its weights are quantised", "save the model before quantize()")
    if layer.get("quantization_config", default=None) is not None:
        raise layer.unsupported("quantization_config", "save the model before quantize()")

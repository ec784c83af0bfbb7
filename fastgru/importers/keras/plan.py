"""A model's configuration as calls: which layer is applied to which tensors, with which arguments.

A Sequential model is a chain. A functional model lists the calls of each layer ("inbound nodes"), and names tensors as
(layer, number of the call, number of the output).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from types import MappingProxyType
from typing import Any, Final

from fastgru.importers.keras.config import LayerConfig
from fastgru.importers.keras.refs import (
    Ref,
    Written,
    is_shape,
    is_tensor,
    map_refs,
    refs_in,
    revive,
    shapes_in,
    tensors_of,
)
from fastgru.importers.keras.registry import (
    MODELS,
    OPERATIONS_MODULE,
    is_operation,
    is_read,
    operations,
    positional_arguments,
)
from fastgru.records import dataclass

__all__ = ["LayerCall", "ModelPlan", "plan_model"]

MAX_CALLS: Final = 20_000


@dataclass(frozen=True)
class LayerCall:
    """inputs: the tensors of the first argument (all tensors for an operation). arguments: the others, by name."""

    layer: str
    node: int
    inputs: tuple[Ref, ...]
    arguments: Mapping[str, Any]

    def refs(self) -> list[Ref]:
        return [*self.inputs, *refs_in(self.arguments)]


@dataclass(frozen=True)
class ModelPlan:
    """Layers by name, calls in topological order, inputs (names of InputLayers) and outputs.

    written: the dtypes and shapes of tensors that the file gives; Keras 3 writes most of them.
    sources: InputLayers in place of layers that have become inputs.
    """

    layers: Mapping[str, LayerConfig]
    calls: Sequence[LayerCall]
    inputs: Sequence[str]
    outputs: Sequence[Ref]
    written: Mapping[Ref, Written] = MappingProxyType({})
    sources: Mapping[str, LayerConfig] = MappingProxyType({})


def plan_model(model: LayerConfig) -> ModelPlan:
    """Return the plan of a Sequential or functional model. Raises `InvalidModelError` if it contradicts itself."""
    data = model.get("layers")
    if not isinstance(data, list):
        raise model.damaged("layers is not a list")
    if len(data) > MAX_CALLS:
        raise model.damaged(f"got {len(data)} layers, expected at most {MAX_CALLS}")
    layers = [LayerConfig.from_json(item, f"{model}: layers[{n}]") for n, item in enumerate(data)]
    named = {layer.name: layer for layer in layers}
    if len(named) != len(layers):
        (twice, _), *_ = Counter(layer.name for layer in layers).most_common(1)
        raise model.damaged(f"two layers are called {twice!r}")
    if model.class_name == "Sequential":
        return _sequential(model, layers, data)
    return _functional(model, named, data)


def _sequential(model: LayerConfig, layers: list[LayerConfig], data: list[Any]) -> ModelPlan:
    if layers and layers[0].class_name == "InputLayer":
        source, rest = layers[0], layers[1:]
    else:
        shape = model.get("build_input_shape", default=None)
        first = layers[0].config if layers else {}
        config = {
            "batch_shape": first.get("batch_input_shape", shape),
            "dtype": first.get("input_dtype", "float32"),
        }
        name = f"{layers[0].name}_input" if layers else "input"
        source, rest = LayerConfig("InputLayer", name, config), layers
    calls, at = [], Ref(source.name, 0, 0)
    for layer in rest:
        calls.append(LayerCall(layer.name, 0, (at,), {}))
        at = Ref(layer.name, 0, 0)
    written: dict[Ref, Written] = {}
    for before, item in zip(layers, data[1:], strict=False):
        built = item.get("build_config")
        sizes: Any = built.get("input_shape") if isinstance(built, Mapping) else None
        if is_shape(sizes):
            written[Ref(before.name, 0, 0)] = "float32", tuple(sizes)
    named = {source.name: source, **{layer.name: layer for layer in rest}}
    return ModelPlan(named, calls, [source.name], [at], written)


def _functional(model: LayerConfig, layers: Mapping[str, LayerConfig], data: list[Any]) -> ModelPlan:
    calls = []
    layers = {name: _told_apart(layer, item) for (name, layer), item in zip(layers.items(), data, strict=True)}
    for (name, layer), item in zip(layers.items(), data, strict=True):
        nodes = item.get("inbound_nodes", [])
        if not isinstance(nodes, list):
            raise layer.damaged("inbound_nodes is not a list")
        calls += [_read_call(layer, name, n, node) for n, node in enumerate(nodes)]
    if len(calls) > MAX_CALLS:
        raise model.damaged(f"got {len(calls)} calls of layers, expected at most {MAX_CALLS}")
    inputs = [ref.layer for ref in tensors_of(model, model.get("input_layers"))]
    outputs = list(tensors_of(model, model.get("output_layers")))
    for name in inputs:
        if name not in layers:
            raise model.damaged(f"input_layers names {name!r}, which is not a layer")
    outputs = [_written_call(layers[ref.layer], ref, data) if ref.layer in layers else ref for ref in outputs]
    written = {ref: form for item in data for ref, form in shapes_in(item.get("inbound_nodes"))}
    calls, outputs = _without_own_nodes(layers, calls, outputs)
    return ModelPlan(layers, _in_order(model, layers, calls), inputs, outputs, written)


def _told_apart(layer: LayerConfig, data: Mapping[str, Any]) -> LayerConfig:
    """Give a function of keras.ops its module, because legacy files of Keras 3 name no modules.

    keras.ops.add(a, b) has two arguments, the layer Add()([a, b]) has one; most layers have the attribute `trainable`.
    """
    nodes = data.get("inbound_nodes")
    if layer.module or layer.custom or not isinstance(nodes, list) or not nodes or not isinstance(nodes[0], Mapping):
        return layer
    if layer.class_name in ("InputLayer", *MODELS):
        return layer
    args = nodes[0].get("args")
    function = (isinstance(args, list) and len(args) > 1) or "trainable" not in layer.config
    return replace(layer, module=OPERATIONS_MODULE) if function and layer.class_name in operations() else layer


def _read_call(layer: LayerConfig, name: str, number: int, node: Any) -> LayerCall:
    if isinstance(node, Mapping):  # Keras 3
        args, kwargs = revive(node.get("args", [])), revive(node.get("kwargs", {}))
        if not isinstance(args, list) or not isinstance(kwargs, dict):
            raise layer.damaged(f"inbound_nodes[{number}] has no args and kwargs")
        if is_operation(layer):
            return LayerCall(name, number, tuple(refs_in(args)), {"args": args, **kwargs})
        if not is_read(layer):
            rest = [value for value in args[1:] if not isinstance(value, Ref)]
            more = {"by position": rest} if any(value is not None for value in rest) else {}
            return LayerCall(name, number, tuple(refs_in(args)), {**more, **kwargs})
        return LayerCall(name, number, tuple(refs_in(args[:1])), {**_positional(layer, args[1:]), **kwargs})
    if not isinstance(node, list):
        raise layer.damaged(f"inbound_nodes[{number}] is not a list")
    entries = [node] if is_tensor(node) else node
    inputs, arguments = [], {}
    for entry in entries:
        if not is_tensor(entry):
            raise layer.damaged(f"inbound_nodes[{number}] names {entry!r:.60}, expected [layer, node, tensor]")
        inputs.append(Ref(*entry[:3]))
        if len(entry) > 3:
            if not isinstance(entry[3], Mapping):
                raise layer.damaged(f"inbound_nodes[{number}] has arguments {entry[3]!r:.60}")
            arguments.update(revive(dict(entry[3]), lists=True))
    return LayerCall(name, number, tuple(inputs), arguments)


def _positional(layer: LayerConfig, rest: Sequence[Any]) -> dict[str, Any]:
    """Return the positional arguments of Keras 3 after the first, by the names in the layer's call signature."""
    names = ("training", "mask") if layer.class_name in MODELS else positional_arguments(layer)
    if len(rest) > len(names):
        raise layer.unsupported(f"it is called with {len(rest) + 1} arguments", "pass one tensor, or a list of tensors")
    return dict(zip(names, rest, strict=False))


def _written_call(layer: LayerConfig, ref: Ref, data: list[Any]) -> Ref:
    """Return an output's `Ref` with calls counted from 0; Keras 3 counts calls of nested models from 1 in outputs."""
    newer = any(isinstance(node, Mapping) for item in data for node in item.get("inbound_nodes", ()))
    counted = newer and layer.class_name in ("Functional", "Model") and ref.node > 0
    return replace(ref, node=ref.node - 1) if counted else ref


def _without_own_nodes(
    layers: Mapping[str, LayerConfig], calls: list[LayerCall], outputs: list[Ref]
) -> tuple[list[LayerCall], list[Ref]]:
    """Number the calls of nested models from 0.

    If a nested model counts its own inputs as call 0, the file does not contain that call, and names its calls from 1.
    Every call in the file is used, so the least number in use shows which of the two it is.
    """
    least: dict[str, int] = {}
    for ref in [*outputs, *(ref for call in calls for ref in call.refs())]:
        least[ref.layer] = min(ref.node, least.get(ref.layer, ref.node))
    shifted = {name for name, layer in layers.items() if layer.class_name in MODELS and least.get(name) == 1}

    def shift(ref: Ref) -> Ref:
        return Ref(ref.layer, ref.node - 1, ref.tensor) if ref.layer in shifted else ref

    moved = [LayerCall(c.layer, c.node, tuple(shift(r) for r in c.inputs), map_refs(c.arguments, shift)) for c in calls]
    return moved, [shift(ref) for ref in outputs]


def _in_order(model: LayerConfig, layers: Mapping[str, LayerConfig], calls: list[LayerCall]) -> list[LayerCall]:
    """Return the calls in topological order."""
    made = {(call.layer, call.node): n for n, call in enumerate(calls)}
    given = {name for name, layer in layers.items() if layer.class_name == "InputLayer"}
    known = {*made, *((name, 0) for name in given)}
    # Add every call first, so that calls that need no others keep their order.
    order = TopologicalSorter[int](dict.fromkeys(made.values(), ()))
    for n, call in enumerate(calls):
        for need in {(ref.layer, ref.node) for ref in call.refs()}:
            if need not in known:
                raise model.damaged(
                    f"layer {call.layer!r} takes call {need[1]} of {need[0]!r}, which is not in the file"
                )
            if need[0] not in given:
                order.add(n, made[need])
    try:
        return [calls[n] for n in order.static_order()]
    except CycleError as error:
        cycle = " -> ".join(repr(calls[n].layer) for n in error.args[1][:9])
        raise model.damaged(f"its layers form a cycle: {cycle}") from None

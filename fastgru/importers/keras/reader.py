"""Reads a whole Keras model into a graph."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any

from fastgru.errors import InvalidModelError, ShapeError, SpecError, UnsupportedModelError
from fastgru.graph import Graph, TensorSpec
from fastgru.graphbuilder import Value
from fastgru.importers.keras.call import KerasGraphBuilder, Tensor
from fastgru.importers.keras.config import LayerConfig
from fastgru.importers.keras.container import Container, open_container, open_pair
from fastgru.importers.keras.custom import CustomObjects, names_of
from fastgru.importers.keras.part import cut
from fastgru.importers.keras.plan import ModelPlan, plan_model
from fastgru.importers.keras.refs import Ref
from fastgru.importers.keras.refusal import listed, named_source
from fastgru.importers.keras.registry import MODELS
from fastgru.importers.keras.rules import Rules
from fastgru.importers.keras.run import ModelReading, Outputs, Place, output_of
from fastgru.importers.keras.weights import open_weights
from fastgru.importers.part import Inputs
from fastgru.sources import Source, opened

__all__ = ["read_keras"]


def read_keras(
    source: Source,
    *,
    inputs: Inputs | None = None,
    outputs: Sequence[str] | None = None,
    allow_unread: bool = False,
    configuration: Any = None,
    custom_objects: Mapping[str, Any] | str | PathLike[str] | None = None,
) -> Graph:
    """Return the graph of a whole model that Keras 1, 2 or 3 saved: .keras, .h5 or .hdf5, Sequential or functional.

    configuration: the parsed JSON of `model.to_json`, if `source` is a file from `model.save_weights`.
    outputs: names of layers of the outermost model whose outputs the graph gives; by default the model's own outputs.
    inputs: names of layers whose outputs become the inputs of the graph, instead of the model's own inputs; or a dict
        from name to shape, or to None if the file has the shape. Arrays that a part leaves out are no error.
    allow_unread: accept arrays in the file that belong to no layer of the model.
    custom_objects: replacements for layers whose code is not in the file (see `fastgru.importers.keras.custom`), or the
        path of a file with them.

    Inputs are named like the input layers, outputs like the layers that make them (`name_1`, `name_2` for the second
    and third output of a layer). Arrays are (N, T, F) as in Keras, with a free batch. A stateful layer adds an input
    `<layer>_state_in` (N, H) and an output `<layer>_state_out` of the same shape, paired in `Graph.states`; Keras
    starts it with zeros. An input that only embeddings read is int32.

    Raises `UnsupportedModelError` that lists every layer that is not implemented, and why; `InvalidModelError` for a
    damaged file; `UnreadTensorsError` for arrays that were not read.
    """
    with opened(source) as content:
        container = open_container(content) if configuration is None else open_pair(configuration, content)
        try:
            return _read(container, content.path, (inputs, outputs), CustomObjects(custom_objects), allow_unread)
        except (ShapeError, SpecError) as error:
            raise InvalidModelError(f"{container.weights.name}: {error}") from error
        except RecursionError:
            raise InvalidModelError(f"{container.weights.name}: the configuration is nested too deeply") from None


def _read(
    container: Container,
    path: str | None,
    part: tuple[Inputs | None, Sequence[str] | None],
    custom: CustomObjects,
    allow_unread: bool,
) -> Graph:
    rules = Rules.of(container.version, container.backend)
    model = LayerConfig.from_json(container.config, f"{container.weights.name}: the model's configuration")
    if model.class_name not in MODELS:
        raise UnsupportedModelError(
            f"{model}: a model of a class of your own: only Sequential and functional models can be read without"
            " their code; save it as one of these, export it to ONNX, or describe its layers (architecture=) over these"
            " weights"
        )
    store, weights = open_weights(container.weights)
    reading = ModelReading(KerasGraphBuilder(custom), rules)
    plan = plan_model(model)
    is_part = part != (None, None)
    reading.is_part = is_part
    if is_part:
        plan = cut(plan, reading, weights, *part)
    inputs = reading.make_inputs(plan)
    named = reading.run(plan, weights, [Tensor(value) for value in inputs.values()], Place())
    wanted = _wanted_outputs(model, plan, named, part[1])
    names = [name for layer in reading.layers for name in names_of(layer)]
    if reading.faults:
        custom.check_all_named(container.config, names)
        raise UnsupportedModelError(listed(reading.faults, named_source(path), reading.missing)) from reading.cause
    custom.check_all_used(names, is_part=is_part)
    if not allow_unread and not is_part:
        store.check_all_read()
    graph = _finish(reading.graph, inputs, wanted, time_major=reading.time_major)
    meta = {"format": container.format, "producer": "Keras", "version": rules.version}
    if container.backend is not None:
        meta["backend"] = container.backend
    return replace(graph, name=model.name, meta=meta).validate()


def _wanted_outputs(
    model: LayerConfig, plan: ModelPlan, named: Mapping[tuple[str, int], Outputs], names: Sequence[str] | None
) -> list[tuple[str, Tensor]]:
    """Return the outputs with their names in the graph."""
    refs = list(plan.outputs)
    if names is not None:
        refs = [Ref(name, 0, n) for name in names for n in range(len(named[name, 0]))]
    wanted: dict[str, Tensor] = {}
    for ref in refs:
        value = output_of(model, named, ref)
        stem = ref.layer if ref.tensor == 0 else f"{ref.layer}_{ref.tensor}"
        name, n = stem, 0
        while name in wanted:
            n += 1
            name = f"{stem}_call{n}"
        if value is not None:
            wanted[name] = value
    return list(wanted.items())


def _finish(
    builder: KerasGraphBuilder, inputs: Mapping[str, Value], wanted: Sequence[tuple[str, Tensor]], *, time_major: bool
) -> Graph:
    """Return the graph with these outputs, followed by the next values of its states."""
    sources, states = dict(inputs), {}
    outputs: dict[str, Value] = {}
    ends: dict[str, Value] = {}
    for base, (before, after) in builder.states.items():
        assert after is not None
        source, target = _free(f"{base}_in", sources), _free(f"{base}_out", ends)
        sources[source], ends[target], states[source] = before, after, target
    for name, tensor in wanted:
        taken = name in ends or sources.get(name, tensor.value) is not tensor.value
        outputs[_free(f"{name}_output", {*sources, *ends, *outputs}) if taken else name] = tensor.value
    outputs |= ends
    specs = {name: _spec(name, value, time_major) for name, value in (*sources.items(), *outputs.items())}
    return builder.graph(sources, outputs, declared=specs, states=states)


def _free(name: str, taken: Collection[str]) -> str:
    return name if name not in taken else _free(f"{name}_1", taken)


def _spec(name: str, value: Value, time_major: bool) -> TensorSpec:
    """Return the spec of a value; its first axis is the batch, unless some layers have the time first."""
    assert value.dtype is not None
    return TensorSpec(name, value.dtype, value.shape, () if time_major else ("batch", *[None] * (len(value.shape) - 1)))

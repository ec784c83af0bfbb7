"""A whole Keras model as a graph."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fastgru.errors import InvalidModelError, ShapeError, SpecError, UnsupportedModelError
from fastgru.graph import Graph
from fastgru.importers.keras.call import KerasGraphBuilder, Tensor
from fastgru.importers.keras.config import LayerConfig
from fastgru.importers.keras.container import Container, open_container, open_pair
from fastgru.importers.keras.outputs import finish, wanted_outputs
from fastgru.importers.keras.plan import plan_model
from fastgru.importers.keras.registry import MODELS
from fastgru.importers.keras.rules import Rules
from fastgru.importers.keras.run import ModelReading, Place
from fastgru.importers.keras.weights import open_weights
from fastgru.sources import Source, opened

__all__ = ["read_keras"]


def read_keras(
    source: Source, *, outputs: Sequence[str] = (), allow_unread: bool = False, configuration: Any = None
) -> Graph:
    """The graph of a whole model that Keras 1, 2 or 3 saved: .keras, .h5 or .hdf5, Sequential or functional.

    configuration: what `model.to_json` gave, as JSON's objects, where `source` holds what `model.save_weights` wrote.
    outputs: names of layers of the outermost model whose outputs the graph gives besides the model's own.
    allow_unread: accept arrays in the file that belong to no layer of the model.

    Inputs are named as the input layers, outputs as the layers that make them (`name_1`, `name_2` for the second and
    third output of a layer); arrays are (N, T, F) as in Keras, and the batch is free. A stateful layer adds an input
    `<layer>_state_in` (N, H) and an output `<layer>_state_out` of the same shape, paired in `Graph.states`; Keras
    starts with zeros there. An input that only embeddings read is int32.

    Raises `UnsupportedModelError` that lists every layer that is not implemented, and why; `InvalidModelError` for a
    damaged file; `UnreadTensorsError` for arrays that nobody read.
    """
    with opened(source) as content:
        container = open_container(content) if configuration is None else open_pair(configuration, content)
        try:
            return _read(container, outputs, allow_unread)
        except (ShapeError, SpecError) as error:
            raise InvalidModelError(f"{container.weights.name}: {error}") from error
        except RecursionError:
            raise InvalidModelError(f"{container.weights.name}: the configuration is nested too deeply") from None


def _read(container: Container, extra: Sequence[str], allow_unread: bool) -> Graph:
    rules = Rules.of(container.version, container.backend)
    model = LayerConfig.from_json(container.config, f"{container.weights.name}: the model's configuration")
    if model.class_name not in MODELS:
        raise UnsupportedModelError(
            f"{model}: a model of a class of your own: only Sequential and functional models are files without code;"
            " save it as one of these, or export it to ONNX"
        )
    store, weights = open_weights(container.weights)
    reading = ModelReading(KerasGraphBuilder(), rules)
    plan = plan_model(model)
    inputs = reading.make_inputs(plan)
    named = reading.run(plan, weights, [Tensor(value) for value in inputs.values()], Place())
    wanted = wanted_outputs(model, plan, named, extra)
    if reading.faults:
        raise UnsupportedModelError(_listed(reading.faults))
    if not allow_unread:
        store.check_all_read()
    graph = finish(reading.graph, inputs, wanted, time_major=reading.time_major)
    meta = {"format": container.format, "producer": "Keras", "version": rules.version}
    if container.backend is not None:
        meta["backend"] = container.backend
    return replace(graph, name=model.name, meta=meta).validate()


def _listed(faults: Sequence[str]) -> str:
    unique = list(dict.fromkeys(faults))
    if len(unique) == 1:
        return unique[0]
    shown = "".join(f"\n  {fault}" for fault in unique[:50])
    more = f"\n  and {len(unique) - 50} more" if len(unique) > 50 else ""
    return f"{len(unique)} things in this model are not supported:{shown}{more}"

"""A whole Keras model as a graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from fastgru.errors import InvalidModelError, ShapeError, SpecError, UnsupportedModelError
from fastgru.graph import Graph, Node, TensorSpec
from fastgru.importers.keras.call import Call
from fastgru.importers.keras.container import Container, open_container
from fastgru.importers.keras.layer import Layer
from fastgru.importers.keras.plan import MAX_CALLS, LayerCall, Plan, Ref, map_refs, plan_model
from fastgru.importers.keras.registry import MODELS, apply, handler_of
from fastgru.importers.keras.rules import Rules
from fastgru.importers.keras.values import GraphBuilder, Value
from fastgru.importers.keras.weights import Weights, open_weights
from fastgru.sources import Source

__all__ = ["read_keras"]

MAX_NESTING: Final = 16
_INPUT_DTYPES: Final = frozenset({"bool", "int8", "int16", "int32", "int64", "uint8", "uint16"})

Outputs = list[Value | None]


def read_keras(source: Source, *, outputs: Sequence[str] = (), allow_unread: bool = False) -> Graph:
    """The graph of a whole model that Keras 1, 2 or 3 saved: .keras, .h5 or .hdf5, Sequential or functional.

    outputs: names of layers of the outermost model whose outputs the graph gives besides the model's own.
    allow_unread: accept arrays in the file that belong to no layer of the model.

    Inputs are named as the input layers, outputs as the layers that make them (`name_1`, `name_2` for the second and
    third output of a layer); arrays are (N, T, F) as in Keras, and the batch is free. A stateful layer adds an input
    `<layer>_state_in` (N, H) and an output `<layer>_state_out` of the same shape, paired in `Graph.states`; Keras
    starts with zeros there. An input that only embeddings read is int32.

    Raises `UnsupportedModelError` that lists every layer that is not implemented, and why; `InvalidModelError` for a
    damaged file; `UnreadTensorsError` for arrays that nobody read.
    """
    container = open_container(source)
    with container.weights:
        try:
            return _read(container, outputs, allow_unread)
        except (ShapeError, SpecError) as error:
            raise InvalidModelError(f"{container.weights.name}: {error}") from error
        except RecursionError:
            raise InvalidModelError(f"{container.weights.name}: the configuration is nested too deeply") from None


def _read(container: Container, extra: Sequence[str], allow_unread: bool) -> Graph:
    rules = Rules.of(container.version)
    model = Layer.from_json(container.config, f"{container.weights.name}: the model's configuration")
    if model.class_name not in MODELS:
        raise UnsupportedModelError(
            f"{model}: a model of a class of your own: only Sequential and functional models are files without code;"
            " save it as one of these, or export it to ONNX"
        )
    store, weights = open_weights(container.weights)
    reading = _Reading(GraphBuilder(), rules)
    plan = plan_model(model)
    inputs, specs = reading.make_inputs(plan)
    named = reading.run(plan, weights, inputs, prefix="", calls=1, depth=0)
    wanted = _wanted(model, plan, named, extra)
    if reading.faults:
        raise UnsupportedModelError(_listed(reading.faults))
    if not allow_unread:
        store.check_all_read()
    graph = _finish(reading.graph, specs, wanted, time_major=reading.time_major)
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


@dataclass
class _Reading:
    graph: GraphBuilder
    rules: Rules
    faults: list[str] = field(default_factory=list)
    done: int = 0
    time_major: bool = False

    def make_inputs(self, plan: Plan) -> tuple[list[Value], list[TensorSpec]]:
        """The model's own inputs."""
        values, specs = [], []
        ids = _only_embedded(plan)
        for name in plan.inputs:
            layer = plan.layers[name]
            shape = _input_shape(layer, plan)
            dtype = layer.get("dtype", "input_dtype", default="float32")
            dtype = dtype if isinstance(dtype, str) and dtype in _INPUT_DTYPES else "float32"
            for key in ("sparse", "ragged"):
                if layer.get(key, default=False):
                    raise layer.unsupported(f"{key} is true", "use a dense input, padded, with Masking")
            dtype = "int32" if name in ids and dtype == "float32" else dtype
            values.append(Value(self.graph.fresh(name), shape, dtype))
            specs.append(TensorSpec(name, dtype, shape, ("batch", *(None for _ in shape[1:]))))
        if len({spec.name for spec in specs}) != len(specs):
            raise InvalidModelError("input_layers names one input twice")
        return values, specs

    def run(
        self, plan: Plan, weights: Weights, inputs: Sequence[Value | None], *, prefix: str, calls: int, depth: int
    ) -> dict[tuple[str, int], Outputs]:
        """The outputs of every call of a model, None for those that something unsupported makes."""
        if depth > MAX_NESTING:
            raise InvalidModelError(f"models nested more than {MAX_NESTING} deep")
        if len(inputs) != len(plan.inputs):
            raise InvalidModelError(f"a nested model takes {len(plan.inputs)} inputs, {len(inputs)} came")
        layers = list(plan.layers.values())
        of_layer = dict(zip(plan.layers, weights.layers(layers), strict=True))
        values: dict[tuple[str, int], Outputs] = {
            (name, 0): [value] for name, value in zip(plan.inputs, inputs, strict=True)
        }
        counts: dict[str, int] = {}
        for call in plan.calls:
            counts[call.layer] = counts.get(call.layer, 0) + 1
        for call in plan.calls:
            self.done += 1
            if self.done > MAX_CALLS:
                raise InvalidModelError(f"nested models call layers more than {MAX_CALLS} times")
            layer = plan.layers[call.layer]
            values[call.layer, call.node] = self._call(
                layer, call, of_layer[call.layer], values, prefix, calls * counts[call.layer], depth
            )
        return values

    def _call(
        self,
        layer: Layer,
        call: LayerCall,
        weights: Weights,
        values: Mapping[tuple[str, int], Outputs],
        prefix: str,
        calls: int,
        depth: int,
    ) -> Outputs:
        def look_up(ref: Ref) -> Value | None:
            made = values.get((ref.layer, ref.node))
            if made is None:
                raise layer.damaged(f"it takes call {ref.node} of {ref.layer!r}, which is not there")
            if None in made:
                return None
            if ref.tensor >= len(made):
                raise layer.damaged(f"it takes output {ref.tensor} of {ref.layer!r}, which has {len(made)}")
            return made[ref.tensor]

        inputs = [look_up(ref) for ref in call.inputs]
        arguments = map_refs(call.arguments, look_up)
        broken = None in [look_up(ref) for ref in call.refs()]
        base = f"{prefix}{layer.name}" if call.node == 0 else f"{prefix}{layer.name}_{call.node}"
        try:
            if layer.class_name in MODELS and not layer.custom:
                return self._nested(layer, weights, inputs, arguments, f"{base}/", calls, depth)
            handler_of(layer)
            if broken:
                return [None]
            self.time_major |= bool(layer.get("time_major", default=False))
            known = [value for value in inputs if value is not None]
            one = Call(self.graph, self.rules, layer, weights, known, arguments, base, calls)
            if layer.class_name not in ("Bidirectional", "CuDNNGRU", "GRU", "RNN"):
                one.check_arguments("args", "mask", "dtype")
            return list(apply(one))
        except UnsupportedModelError as error:
            self.faults.append(str(error))
            return [None]

    def _nested(
        self,
        layer: Layer,
        weights: Weights,
        inputs: Sequence[Value | None],
        arguments: Mapping[str, Any],
        prefix: str,
        calls: int,
        depth: int,
    ) -> Outputs:
        if arguments.get("training") is True:
            raise layer.unsupported("called with training=True", "save the model without it")
        masks = arguments.get("mask")
        given = list(inputs)
        for n, mask in enumerate(masks if isinstance(masks, list) else [masks]):
            value = given[n] if n < len(given) else None
            if isinstance(mask, Value) and value is not None:
                given[n] = value.but(mask=mask.name)
        plan = plan_model(layer)
        named = self.run(plan, weights, given, prefix=prefix, calls=calls, depth=depth + 1)
        return [_output(layer, named, ref) for ref in plan.outputs]


def _output(model: Layer, named: Mapping[tuple[str, int], Outputs], ref: Ref) -> Value | None:
    made = named.get((ref.layer, ref.node))
    if made is None or (ref.tensor >= len(made) and None not in made):
        raise model.damaged(f"its output {ref.tensor} of call {ref.node} of {ref.layer!r} is not there")
    return None if None in made else made[ref.tensor]


def _wanted(
    model: Layer, plan: Plan, named: Mapping[tuple[str, int], Outputs], extra: Sequence[str]
) -> list[tuple[str, Value]]:
    """The outputs by the names they will have."""
    refs = list(plan.outputs)
    for name in extra:
        made = named.get((name, 0))
        if made is None:
            known = ", ".join(sorted(layer for layer, _ in named))
            raise InvalidModelError(f"outputs names {name!r}, which is no layer of the model; there are {known}")
        refs += [ref for n in range(len(made)) if (ref := Ref(name, 0, n)) not in refs]
    wanted: dict[str, Value] = {}
    for ref in refs:
        value = _output(model, named, ref)
        stem = ref.layer if ref.tensor == 0 else f"{ref.layer}_{ref.tensor}"
        name, n = stem, 0
        while name in wanted:
            n += 1
            name = f"{stem}_call{n}"
        if value is not None:
            wanted[name] = value
    return list(wanted.items())


def _input_shape(layer: Layer, plan: Plan) -> tuple[int | None, ...]:
    """The shape that the file gives an input, with the batch free; a first nested model may give it."""
    shape = layer.get("batch_shape", "batch_input_shape", default=None)
    if shape is None and plan.calls:
        first = plan.layers[plan.calls[0].layer]
        if first.class_name in MODELS:
            inner = plan_model(first)
            if len(inner.inputs) == 1:
                return _input_shape(inner.layers[inner.inputs[0]], inner)
    if isinstance(shape, Mapping):
        shape = shape.get("items")
    if shape is None:
        raise layer.unsupported(
            "the file does not tell the shape of the input", "build the model with an Input layer before saving it"
        )
    if (
        not isinstance(shape, list)
        or not shape
        or any(s is not None and (not isinstance(s, int) or isinstance(s, bool) or not 0 < s < 1 << 31) for s in shape)
    ):
        raise layer.damaged(f"the input's shape is {shape!r:.60}")
    return (None, *shape[1:])


def _only_embedded(plan: Plan) -> set[str]:
    """Inputs that nothing but Embedding layers (and the comparison that makes their masks) reads."""
    readers: dict[str, set[str]] = {}
    for call in plan.calls:
        for ref in call.refs():
            readers.setdefault(ref.layer, set()).add(plan.layers[call.layer].class_name)
    return {
        name for name, classes in readers.items() if "Embedding" in classes and classes <= {"Embedding", "NotEqual"}
    }


def _finish(
    builder: GraphBuilder, inputs: Sequence[TensorSpec], wanted: Sequence[tuple[str, Value]], *, time_major: bool
) -> Graph:
    """Name the outputs, and leave out what they do not need."""
    renamed, nodes, specs = _name_outputs(builder, {s.name for s in [*inputs, *builder.state_inputs]}, wanted)
    targets = set(builder.states.values())
    needed = {spec.name for spec in specs} | targets
    kept: list[Node] = []
    for node in reversed(nodes):
        if needed.intersection(node.outputs):
            # An output that nobody reads gets no name, so that nothing is computed for it.
            kept.append(replace(node, outputs=tuple(n if n in needed else "" for n in node.outputs)))
            needed.update(node.inputs)
    constants = {renamed.get(n, n): a for n, a in builder.constants.items() if renamed.get(n, n) in needed}
    if time_major:  # the batch is not the first axis everywhere
        inputs, specs = ([replace(spec, dims=()) for spec in group] for group in (inputs, specs))
    return Graph(
        (*inputs, *builder.state_inputs),
        (*specs, *builder.state_outputs),
        tuple(reversed(kept)),
        constants,
        dict(builder.states),
    )


def _name_outputs(
    builder: GraphBuilder, inputs: set[str], wanted: Sequence[tuple[str, Value]]
) -> tuple[dict[str, str], list[Node], list[TensorSpec]]:
    nodes = list(builder.nodes)
    made = {name for node in nodes for name in node.outputs}
    renamed: dict[str, str] = {}
    fixed = inputs | set(builder.states.values())
    reserved = {name for name, _ in wanted} | fixed
    specs = []
    for name, value in wanted:
        if name in fixed and name != value.name:
            name = builder.fresh(f"{name}_output")
        if value.name != name and (value.name in fixed or value.name in renamed or value.name not in made):
            # Another output, or an input, has this value already: copy it.
            shape = builder.integers([0] * value.rank, f"{name}/same")
            nodes.append(Node("reshape", (value.name, shape), (name,), {}, name=name))
        else:
            renamed[value.name] = name
        dims = ("batch", *(None for _ in value.shape[1:]))
        specs.append(TensorSpec(name, value.dtype, value.shape, dims))
    # A name that an output takes may be that of another value, which then moves away.
    for name in [*made, *builder.constants]:
        if name in reserved and name not in renamed and name not in fixed and name != "":
            renamed[name] = builder.fresh(f"{name}/value")

    def rename(names: Sequence[str]) -> tuple[str, ...]:
        return tuple(renamed.get(n, n) for n in names)

    copies = len(builder.nodes)
    nodes = [
        replace(node, inputs=rename(node.inputs), outputs=rename(node.outputs) if i < copies else node.outputs)
        for i, node in enumerate(nodes)
    ]
    return renamed, nodes, specs

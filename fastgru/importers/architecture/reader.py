"""Builds a graph from a description and the weights of a checkpoint."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from fastgru.errors import InvalidModelError, ShapeError
from fastgru.graph import Graph, shape_text
from fastgru.graphbuilder import GraphBuilder, Value
from fastgru.importers.architecture.description import Architecture, Description, LayerEntry, parse, read_text
from fastgru.importers.architecture.options import LayerOptions
from fastgru.importers.architecture.parameters import Parameters
from fastgru.importers.architecture.registry import DescribedLayer
from fastgru.importers.states import pair_states
from fastgru.importers.weights import Weights, read_weights
from fastgru.nearest import offered
from fastgru.sources import Source

__all__ = ["build_architecture", "read_architecture"]


def read_architecture(
    source: Source, architecture: Architecture, *, allow_unread: bool = False, key: str | None = None
) -> Graph:
    """Return the graph that `architecture` describes, with the tensors of `source`, a file for `read_weights`.

    key: the path of the dict of tensors in the file; None means the key of the description.

    Raises the errors of `build_architecture` and `read_weights`.
    """
    description = _described(architecture)
    weights = read_weights(source, key=description.key if key is None else key)
    graph = _build(description, weights, allow_unread)
    return replace(graph, meta={**graph.meta, "weights": weights.format})


def build_architecture(architecture: Architecture, weights: Mapping[str, Any], *, allow_unread: bool = False) -> Graph:
    """Return the graph that `architecture` (a mapping, a path, or the bytes of a text) describes, with these weights.

    Raises `UnsupportedModelError` for unknown types and options, offering existing ones; `InvalidModelError` for
    anything missing or contradictory; `ShapeError` naming the layer, the key, the shape and the expected one;
    `UnreadTensorsError` for tensors that no layer reads, unless allow_unread.
    """
    description = _described(architecture)
    if description.key is not None:
        raise InvalidModelError(
            f"key is {description.key!r}, but the weights are not a file: pass the weights under this key"
        )
    if not isinstance(weights, Mapping):
        raise InvalidModelError(
            f"weights: got {type(weights).__name__}, expected a mapping from names to arrays"
            ": fastgru.read_weights(path) reads a file into one, and a module of torch has its state_dict()"
        )
    return _build(description, weights if isinstance(weights, Weights) else Weights(weights), allow_unread)


def _described(architecture: Architecture) -> Description:
    if isinstance(architecture, Mapping):
        return parse(architecture, "architecture")
    return parse(*read_text(architecture))


def _build(description: Description, weights: Weights, allow_unread: bool) -> Graph:
    network = _Network(description, weights)
    for index, entry in enumerate(description.layers):
        network.add(index, entry)
    graph = network.finish()
    if not allow_unread:
        _check_unread(weights, description)
    return graph


def _check_unread(weights: Weights, description: Description) -> None:
    for pattern in description.ignore:
        if not any(fnmatchcase(name, pattern) for name in weights):
            raise InvalidModelError(f"ignore: {pattern!r} matches no tensor of {weights.source}")
    weights.check_all_read(description.ignore)


class _Network:
    """The network while it is built: its values by their names in the description."""

    def __init__(self, description: Description, weights: Weights) -> None:
        self.description, self.weights = description, weights
        opened = [pair for entry in description.layers for pair in entry.states.items()]
        reserved = [*(spec.name for spec in description.inputs), *(name for pair in opened for name in pair)]
        if twice := sorted({name for name in reserved if reserved.count(name) > 1}):
            raise InvalidModelError(
                f"inputs and states: {', '.join(map(repr, twice))} occurs more than once: give each another name"
            )
        self.builder = GraphBuilder("float32")
        self.inputs = {s.name: self.builder.input(s.name, s.dtype, s.shape, s.dims) for s in description.inputs}
        self.values = dict(self.inputs)
        self.layers: dict[str, list[Value]] = {}
        self.last = description.inputs[0].name
        self.state_outputs: dict[str, Value] = {}
        self.states: dict[str, str] = {}

    def value(self, name: str, reader: str) -> Value:
        """Return a value by name; raise `InvalidModelError` if `reader` has no such value before it."""
        if name not in self.values:
            there = offered(name, list(self.values)[-20:])
            raise InvalidModelError(f"{reader}: there is no value {name!r} before it; {there}")
        return self.values[name]

    def _lengths(self, size: int | None, dim: str | None) -> Value:
        """Return the lengths of the rows: the input "lengths", which is added when a layer first needs it."""
        if "lengths" not in self.values:
            self._open_state("lengths", self.builder.input("lengths", "int64", (size,), (dim,)))
        return self.values["lengths"]

    def add(self, index: int, entry: LayerEntry) -> None:
        """Add one layer to the graph."""
        name = self._name_of(index, entry)
        what = f"layer {name!r} ({entry.kind.name})"
        least, most = entry.kind.inputs
        names = ((self.last,) if most != 0 else ()) if entry.inputs is None else entry.inputs
        if len(names) < least or (most is not None and len(names) > most):
            expected = str(least) if most == least else f"{least} or more" if most is None else f"{least} to {most}"
            raise InvalidModelError(f"{what}: got {len(names)} inputs, expected {expected}")
        options = LayerOptions(entry.options, what)
        parameters = Parameters(self.weights, self._prefix_of(entry, what), entry.keys, what)
        layer = DescribedLayer(
            name=name,
            type=entry.kind.name,
            inputs=tuple(self.value(n, what) for n in names),
            input_names=tuple(names),
            states=tuple(entry.states),
            options=options,
            parameters=parameters,
            builder=self.builder,
            value=lambda n: self.value(n, what),
            lengths=self._lengths,
            dimension=self._dimension,
            open_state=self._open_state,
        )
        if entry.kind.floats:
            layer.need_float()
        made = entry.kind.handler(layer)
        if unasked := options.unasked():
            raise InvalidModelError(f"{what}: {', '.join(unasked)} has no effect with the other options: leave it out")
        if unused := parameters.unused_keys():
            raise InvalidModelError(f"{what}: keys has {', '.join(map(repr, unused))}, which this layer does not have")
        parts: tuple[tuple[str, Value], ...] = made if isinstance(made, tuple) else (("", made),)
        for part, value in parts:
            self._define(f"{name}.{part}" if part else name, value, what)
        self.layers[name] = [value for _, value in parts]
        self.last = f"{name}.{parts[0][0]}" if parts[0][0] else name
        for (source, target), (_, value) in zip(entry.states.items(), parts[1:], strict=False):
            self.state_outputs[target], self.states[source] = value, target

    def _name_of(self, index: int, entry: LayerEntry) -> str:
        if entry.name or (entry.prefix and entry.prefix not in self.values):
            return entry.name or entry.prefix or ""
        key = entry.options.get("key")
        if isinstance(key, str) and key and key not in self.values:
            return key
        return f"{entry.kind.name.lower()}_{index}"

    def _prefix_of(self, entry: LayerEntry, what: str) -> str:
        if entry.prefix is not None or not entry.kind.has_weights or "key" in entry.options:
            return entry.prefix or ""
        if not entry.name and not entry.keys:
            raise InvalidModelError(
                f"{what}: the prefix of its weights is missing: give a prefix, or a name that is the prefix"
            )
        return entry.name

    def _define(self, name: str, value: Value, what: str) -> None:
        if name in self.values:
            raise InvalidModelError(f"{what}: another value already has the name {name!r}")
        self.values[name] = value

    def _dimension(self, name: str) -> tuple[Value, int] | None:
        mine = (self.values[spec.name] for spec in self.description.inputs)
        return next(((value, value.dims.index(name)) for value in mine if name in value.dims), None)

    def _open_state(self, name: str, form: Value) -> Value:
        assert form.dtype is not None
        self._define(name, self.builder.input(name, form.dtype, form.shape, form.dims), "states")
        self.inputs[name] = self.values[name]
        return self.values[name]

    def finish(self) -> Graph:
        """Return the graph with named outputs."""
        wanted = {name: self.value(of, "outputs") for name, of in self.description.outputs or ((self.last, self.last),)}
        taken = {*self.state_outputs, *self.inputs}
        if twice := [name for name in wanted if name in taken]:
            raise InvalidModelError(
                f"outputs: {', '.join(map(repr, twice))} is already the name of an input or a state"
            )
        wanted |= self.state_outputs
        self._check_dead(wanted.values())
        graph = self.builder.graph(self.inputs, wanted)
        meta = {"format": "architecture", "producer": "PyTorch"}
        return replace(graph, states=self._pairs(graph), name=self.description.name, meta=meta).validate()

    def _check_dead(self, ends: Iterable[Value]) -> None:
        needed = self.builder.needed(ends)
        dead = [name for name, value in self.inputs.items() if value not in needed]
        dead += [name for name, made in self.layers.items() if not needed.intersection(made)]
        if dead:
            raise InvalidModelError(f"no output needs {', '.join(map(repr, dead[:20]))}")

    def _pairs(self, graph: Graph) -> dict[str, str]:
        by_input = {spec.name: spec for spec in graph.inputs}
        by_output = {spec.name: spec for spec in graph.outputs}
        pairs = dict(self.states)
        for source, target in self.description.states.items():
            if source not in by_input or target not in by_output or source in pairs:
                raise InvalidModelError(f"states: {source!r} -> {target!r} is not a pair of an input and an output")
            before, after = by_input[source], by_output[target]
            if not before.agrees(after):
                raise ShapeError(
                    f"states: {source!r} is {before.dtype} {shape_text(before.shape, before.dims)}, {target!r} is"
                    f" {after.dtype} {shape_text(after.shape, after.dims)}"
                )
            pairs[source] = target
        if not self.description.states:
            taken = set(pairs) | set(pairs.values())
            free = ([spec for spec in group if spec.name not in taken] for group in (graph.inputs, graph.outputs))
            pairs |= pair_states(*free)
        return pairs

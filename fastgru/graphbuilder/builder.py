"""The builder: it adds nodes by operator, inputs and attributes, and infers facts about their outputs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fastgru.errors import FastGRUError, InvalidModelError
from fastgru.graph import Array, Graph, TensorSpec
from fastgru.graphbuilder.folding import Folding
from fastgru.graphbuilder.naming import Naming, needed_nodes
from fastgru.graphbuilder.value import BuiltNode, Value
from fastgru.reference.facts import ValueFacts, infer
from fastgru.reference.operator import is_floating
from fastgru.spec import RECURRENT

__all__ = ["MAX_RANK", "GraphBuilder"]


MAX_RANK = 32  # the limit of the oldest NumPy that is supported


class GraphBuilder:
    """A builder that collects nodes. Values are named at the end, when it is known which of them are needed.

    float_dtype: the dtype of all floating-point constants, for a graph that has one precision; None for their own.
    folding: computes nodes of constants at once; None to keep them as nodes.
    """

    def __init__(self, float_dtype: str | None = None, *, folding: Folding | None = None) -> None:
        self.nodes: list[BuiltNode] = []
        self.float_dtype = float_dtype
        self.folding = folding
        self._constants: dict[str, Value] = {}

    def input(
        self, hint: str, dtype: str, shape: Sequence[int | None] | None, dims: Sequence[str | None] = ()
    ) -> Value:
        """Return a value for an input, which `graph` names. shape: None if the rank is not known."""
        sizes = None if shape is None else tuple(shape)
        names = (*dims, *[None] * (len(sizes or ()) - len(dims))) if any(dims) else ()
        return Value(hint, ValueFacts.of_spec(TensorSpec(hint, dtype, sizes, names)), given=True)

    def read(self, graph: Graph) -> dict[str, Value]:
        """Return values for the inputs and constants of another graph, by name."""
        values = {spec.name: self.input(spec.name, spec.dtype, spec.shape, spec.dims) for spec in graph.inputs}
        return values | {name: self.constant(array, name) for name, array in graph.constants.items()}

    def constant(self, array: Any, hint: str) -> Value:
        """The first constant with this hint if its array is equal, as for tied weights; otherwise a new constant."""
        array = np.asarray(array)
        seen = self._constants.get(hint)
        if seen is not None and _equal(seen.array, array):
            return seen
        facts = ValueFacts.of_array(array)
        if self.float_dtype is not None and is_floating(array.dtype):
            facts = replace(facts, dtype=self.float_dtype)
        return self._constants.setdefault(hint, Value(hint, facts)) if seen is None else Value(hint, facts)

    def integers(self, values: int | Sequence[int], hint: str) -> Value:
        """A constant of int64, such as a shape, axes or positions."""
        return self.constant(np.asarray(values, dtype=np.int64), hint)

    def add(self, op: str, inputs: Sequence[Value | None], name: str, attrs: Mapping[str, Any] | None = None) -> Value:
        """Add a node with one output, and return this output. name: of the node, and a hint for the value."""
        return self.add_many(op, inputs, [name], attrs)[0]

    def add_many(
        self,
        op: str,
        inputs: Sequence[Value | None],
        names: Sequence[str],
        attrs: Mapping[str, Any] | None = None,
        *,
        label: str | None = None,
    ) -> tuple[Value, ...]:
        """Add a node, and return its outputs, one for each hint in `names`.

        label: the name of the node, by default the first hint.

        If the builder folds, the outputs are constants if all inputs are, or if all elements are known. Raises
        `InvalidModelError` if the operator cannot have such inputs.
        """
        given, attrs, label = _without_tail(op, inputs), dict(attrs or {}), names[0] if label is None else label
        try:
            known = infer(op, [None if value is None else value.facts for value in given], attrs, len(names))
            values = tuple(Value(hint, facts) for hint, facts in zip(names, known, strict=True))
            for value in values:
                if (value.rank or 0) > MAX_RANK:
                    raise InvalidModelError(f"got a tensor with {value.rank} axes, expected at most {MAX_RANK}")
            folded = self._folded(op, given, attrs, values)
        except FastGRUError as error:
            raise InvalidModelError(f"{label}: {error}") from None
        if folded is not None:
            return folded
        self.nodes.append(BuiltNode(op, given, values, attrs, label))
        return values

    def _folded(
        self, op: str, inputs: Sequence[Value | None], attrs: Mapping[str, Any], values: Sequence[Value]
    ) -> tuple[Value, ...] | None:
        if self.folding is None:
            return None
        read = [value for value in inputs if value is not None]
        inferred = any(value.inferred for value in read)
        if all(value.facts.array is not None for value in read):
            facts = [None if value is None else value.facts for value in inputs]
            results = self.folding.fold(op, facts, attrs, [value.facts for value in values], exactly=inferred)
            if results is not None:
                made = zip(results, values, strict=True)
                return tuple(Value(value.hint, ValueFacts.of_array(a), inferred=inferred) for a, value in made)
        (value, *more) = values
        if more or value.elements is None or not all(isinstance(n, int) for n in value.elements):
            return None
        known = np.array(value.elements, dtype=value.dtype).reshape((-1,) if value.rank else ())
        inferred = inferred or not all(v.given or v.array is not None for v in read)
        return (Value(value.hint, ValueFacts.of_array(known), inferred=inferred),)

    def needed(self, outputs: Iterable[Value]) -> set[Value]:
        """Return the values that `outputs` depend on, including `outputs`."""
        return needed_nodes(self.nodes, outputs)[1]

    def graph(
        self,
        inputs: Mapping[str, Value],
        outputs: Mapping[str, Value],
        *,
        names: Iterable[tuple[str, Value]] = (),
        declared: Mapping[str, TensorSpec] | None = None,
        states: Mapping[str, str] | None = None,
    ) -> Graph:
        """Return the graph of the nodes that `outputs` need.

        Values are named after inputs and outputs, then from `names`, then by hints. A value that is already an output
        or an input is copied for its second name. declared: specs of inputs and outputs that replace the inferred ones.
        """
        promised = dict(inputs)
        taken = set(promised.values())
        for name, value in outputs.items():
            if promised.get(name) is not value:
                if value.array is None and value in taken:
                    value = self.add("reshape", [value, self.add("shape", [value], name)], name)
                promised[name] = value
                taken.add(value)
        kept, needed = needed_nodes(self.nodes, promised.values())
        naming = Naming(promised)
        naming.prefer(names, kept)
        nodes = tuple(naming.node(node, needed) for node in kept)
        dims = {dim for value in inputs.values() if value.sizes is not None for dim in value.dims if dim}
        specs = {name: value.spec(name, dims) for name, value in promised.items() if name not in (declared or {})}
        specs.update(declared or {})
        return Graph(
            tuple(specs[name] for name in inputs),
            tuple(specs[name] for name in outputs),
            nodes,
            naming.constants,
            states=dict(states or {}),
        )


def _equal(a: Array | None, b: Array) -> bool:
    return a is b or (a is not None and a.dtype == b.dtype and np.array_equal(a, b))


def _without_tail(op: str, inputs: Sequence[Value | None]) -> tuple[Value | None, ...]:
    """Return the inputs up to the last present one. Recurrent layers keep all, because weights have fixed places."""
    given = list(inputs)
    while given and given[-1] is None and op not in RECURRENT:
        given.pop()
    return tuple(given)

"""The graph that conversion functions build, and the scopes that map names of the file to its values.

Nodes of the graph are named after the node of the file that they come from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import field
from typing import Any, NamedTuple, Protocol

import numpy as np

from fastgru.errors import InvalidModelError
from fastgru.graphbuilder import BuiltNode, Folding, GraphBuilder, Value
from fastgru.importers.onnx.proto import AttributeProto, FunctionProto, GraphProto, NodeProto
from fastgru.records import dataclass
from fastgru.reference.facts import ValueFacts
from fastgru.reference.operator import numpy_dtype

__all__ = ["Body", "OnnxGraphBuilder", "Refused", "Scope", "Site", "Surroundings"]


class OnnxGraphBuilder(GraphBuilder):
    """A builder that folds constants. node_name: of the ONNX node being converted. warnings: messages for the user."""

    folding: Folding

    def __init__(self) -> None:
        super().__init__(folding=Folding())
        self.node_name = ""
        self.warnings: list[str] = []
        self._shared: dict[tuple[Any, ...], tuple[Sequence[Value | None], tuple[Value, ...] | None]] | None = None

    def apart(self) -> OnnxGraphBuilder:
        """Return another builder, empty and with the same folding budget."""
        other = OnnxGraphBuilder()
        other.node_name, other.folding = self.node_name, self.folding
        return other

    @contextmanager
    def sharing(self) -> Iterator[None]:
        """Fold each operator on the same constants only once within the block, so that its results are shared."""
        before, self._shared = self._shared, self._shared if self._shared is not None else {}
        try:
            yield
        finally:
            self._shared = before

    def _folded(
        self, op: str, inputs: Sequence[Value | None], attrs: Mapping[str, Any], values: Sequence[Value]
    ) -> tuple[Value, ...] | None:
        if self._shared is None or any(value is not None and value.array is None for value in inputs):
            return super()._folded(op, inputs, attrs, values)
        key = (op, tuple(map(id, inputs)), repr(sorted(attrs.items())), len(values))
        if key not in self._shared:  # the inputs are kept alive, so that no id in a key is reused
            self._shared[key] = inputs, super()._folded(op, inputs, attrs, values)
        return self._shared[key][1]

    def constant(self, array: Any, hint: str = "constant", dtype: str | None = None) -> Value:
        """A new constant."""
        given = np.asarray(array) if dtype is None else np.asarray(array).astype(numpy_dtype(dtype))
        return Value(hint, ValueFacts.of_array(given))

    def integers(self, values: int | Sequence[int], hint: str = "constant") -> Value:
        """A constant of int64, such as a shape or axes."""
        try:
            return self.constant(np.array(values, dtype=np.int64), hint)
        except OverflowError:
            raise InvalidModelError(f"{self.node_name}: an integer of {hint} does not fit 64 bits") from None

    def scalar(self, number: float, like: Value) -> Value:
        """A constant of the dtype of `like`; raise `InvalidModelError` if this dtype cannot hold the number."""
        if like.dtype is None:
            raise InvalidModelError(f"{self.node_name}: the dtype of {like.hint!r} does not follow from the file")
        kind = numpy_dtype(like.dtype)
        whole = float(number).is_integer()
        if kind.kind in "iu" and not (whole and np.iinfo(kind).min <= int(number) <= np.iinfo(kind).max):
            raise InvalidModelError(f"{self.node_name}: {number} does not fit {like.dtype}, the dtype of {like.hint!r}")
        return self.constant(number, dtype=like.dtype)

    def emit(self, op: str, *inputs: Value | None, **attrs: Any) -> Value:
        """Add a node with one output, and return this output."""
        return self.add(op, inputs, self.node_name, attrs)

    def emit_all(
        self, op: str, inputs: Sequence[Value | None], outputs: int, attrs: dict[str, Any]
    ) -> tuple[Value, ...]:
        """Add a node, and return its outputs."""
        return self.add_many(op, inputs, [self.node_name] * outputs, attrs)

    def keep(self, op: str, inputs: Sequence[Value | None], outputs: Sequence[Value], attrs: dict[str, Any]) -> None:
        """Add a node as it is, without folding constants or inferring shapes."""
        self.nodes.append(BuiltNode(op, tuple(inputs), tuple(outputs), attrs, self.node_name))


class Refused(Value):
    """An output of a node that could not be converted; the nodes that read it are not converted either."""


@dataclass
class Scope:
    """The names that are visible in one place: in the main graph, in a subgraph, or in one call of a function."""

    opsets: Mapping[str, int]
    values: dict[str, Value] = field(default_factory=dict)
    lazy: Mapping[str, Callable[[], Value]] = field(default_factory=dict)
    attributes: Mapping[str, AttributeProto] | None = None
    prefix: str = ""
    parent: Scope | None = None

    def get(self, name: str, what: str) -> Value:
        if name not in self.values:
            if name not in self.lazy:
                if self.parent is not None:
                    return self.parent.get(name, what)
                raise InvalidModelError(f"{what}: reads {name!r}, which nothing defines")
            self.values[name] = self.lazy[name]()
        return self.values[name]

    def defines(self, name: str) -> bool:
        """Return whether the name is defined here or in a graph around this one."""
        here = name in self.values or name in self.lazy
        return here or (self.parent is not None and self.parent.defines(name))


@dataclass(frozen=True)
class Body:
    """A subgraph, the nodes that its outputs need, and its initializers, each read once."""

    graph: GraphProto
    nodes: Sequence[NodeProto]
    lazy: Mapping[str, Callable[[], Value]]


class Site(NamedTuple):
    """A node in its scope. what: its name in messages. name: the name of the nodes that it is converted to."""

    proto: NodeProto
    scope: Scope
    what: str
    inputs: tuple[Value | None, ...]
    name: str
    domain: str


class Surroundings(Protocol):
    """What the function of a node with subgraphs or a body calls to convert their nodes in the node's own scope."""

    def open_body(self, graph: GraphProto, site: Site) -> Body:
        """Return a subgraph from the node's attributes, to be converted once or several times."""

    def settle_body(self, body: Body, fixed: Mapping[str, Value], site: Site) -> Body:
        """Convert the nodes of a subgraph that read no inputs other than `fixed`; return the subgraph without them."""

    def run_body(self, body: Body, given: Sequence[Value], prefix: str, site: Site) -> list[Value]:
        """Convert a subgraph for these inputs and return its outputs. prefix: of the names of its nodes."""

    def tracing(self) -> AbstractContextManager[OnnxGraphBuilder]:
        """Within the block, convert into the builder that is yielded; raise `UnsupportedModelError` at its end if
        anything was refused."""

    def call(self, function: FunctionProto, attributes: Mapping[str, AttributeProto], site: Site) -> tuple[Value, ...]:
        """Convert the body of `function` for the node's inputs and return the node's outputs."""

"""The graph of a file as conversion functions write it, and the names of the file that stand for its values.

What a node becomes goes by that node's name.
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
    """Folds constants. node_name: of the ONNX node at hand. warnings: what a user is told in the end."""

    folding: Folding

    def __init__(self) -> None:
        super().__init__(folding=Folding())
        self.node_name = ""
        self.warnings: list[str] = []
        self._shared: dict[tuple[Any, ...], tuple[Sequence[Value | None], tuple[Value, ...] | None]] | None = None

    def apart(self) -> OnnxGraphBuilder:
        """Another, with nothing in it and the same budget."""
        other = OnnxGraphBuilder()
        other.node_name, other.folding = self.node_name, self.folding
        return other

    @contextmanager
    def sharing(self) -> Iterator[None]:
        """What is folded meanwhile of the same constants is one constant."""
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
        if key not in self._shared:  # the inputs are kept, so that none of these numbers comes to mean another
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
    """What a node would give that could not be converted: nothing is said of its readers."""


@dataclass
class Scope:
    """Names that mean something at one place: of the main graph, or of one call of a function."""

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
        """True where the name means something here, or in a graph around this one."""
        here = name in self.values or name in self.lazy
        return here or (self.parent is not None and self.parent.defines(name))


@dataclass(frozen=True)
class Body:
    """A subgraph with those of its nodes that its outputs need, and its initializers, each read once."""

    graph: GraphProto
    nodes: Sequence[NodeProto]
    lazy: Mapping[str, Callable[[], Value]]


class Site(NamedTuple):
    """A node where it stands. what: how messages call it. name: what the nodes are called that it becomes."""

    proto: NodeProto
    scope: Scope
    what: str
    inputs: tuple[Value | None, ...]
    name: str
    domain: str


class Surroundings(Protocol):
    """What a node that stands for other nodes asks for: they are converted in its place, in the scope that it is in."""

    def open_body(self, graph: GraphProto, site: Site) -> Body:
        """A subgraph among the node's attributes, to be converted once or many times."""

    def settle_body(self, body: Body, fixed: Mapping[str, Value], site: Site) -> Body:
        """A subgraph for which those of its nodes are converted already that read no inputs but these."""

    def run_body(self, body: Body, given: Sequence[Value], prefix: str, site: Site) -> list[Value]:
        """The outputs of a subgraph for these inputs; prefix: of the names of its nodes."""

    def tracing(self) -> AbstractContextManager[OnnxGraphBuilder]:
        """What is converted meanwhile goes into the builder that comes; `UnsupportedModelError` at the end if anything
        was refused."""

    def call(self, function: FunctionProto, attributes: Mapping[str, AttributeProto], site: Site) -> tuple[Value, ...]:
        """The node's outputs as the body of `function` makes them of its inputs."""

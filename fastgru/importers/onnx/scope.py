"""Names of an ONNX file and what they stand for, a node among them, and what it may ask of the graph around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from fastgru.errors import InvalidModelError
from fastgru.graphbuilder import Value
from fastgru.importers.onnx.builder import OnnxGraphBuilder
from fastgru.importers.onnx.proto import AttributeProto, FunctionProto, GraphProto, NodeProto, label, main_domain

__all__ = ["Body", "Refused", "Scope", "Site", "Surroundings"]


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


@dataclass(frozen=True)
class Site:
    """A node where it stands. what: how messages call it."""

    proto: NodeProto
    scope: Scope
    what: str
    inputs: tuple[Value | None, ...]

    @property
    def name(self) -> str:
        """What the nodes are called that it becomes."""
        return label(self.proto, self.scope.prefix)

    @property
    def domain(self) -> str:
        return main_domain(self.proto.domain)


class Surroundings(Protocol):
    """What a node that stands for other nodes asks for: they are converted in its place, in the scope that it is in."""

    def open_body(self, graph: GraphProto, site: Site) -> Body:
        """A subgraph among the node's attributes, to be converted once or many times."""

    def run_body(self, body: Body, given: Sequence[Value], prefix: str, site: Site) -> list[Value]:
        """The outputs of a subgraph for these inputs; prefix: of the names of its nodes."""

    def tracing(self) -> AbstractContextManager[OnnxGraphBuilder]:
        """What is converted meanwhile goes into the builder that comes; `UnsupportedModelError` at the end if anything
        was refused."""

    def call(self, function: FunctionProto, attributes: Mapping[str, AttributeProto], site: Site) -> tuple[Value, ...]:
        """The node's outputs as the body of `function` makes them of its inputs."""

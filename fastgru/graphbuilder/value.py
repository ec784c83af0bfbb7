"""Values and nodes of a graph that is being built: without names, but with what is known of them."""

from collections.abc import Collection, Mapping
from dataclasses import field
from typing import Any

from fastgru.graph import Array, TensorSpec
from fastgru.records import dataclass
from fastgru.reference.facts import ValueFacts
from fastgru.reference.sizes import Size

__all__ = ["BuiltBody", "BuiltNode", "Value"]


@dataclass(eq=False)
class Value:
    """A constant, an input of the graph, or an output of a node.

    hint: the name that it gets where that is free. given: it comes from outside. inferred: a constant made of sizes
    that follow from operators, and not from what comes from outside alone.
    """

    hint: str
    facts: ValueFacts = field(default_factory=ValueFacts)
    given: bool = False
    inferred: bool = False

    @property
    def dtype(self) -> str | None:
        return self.facts.dtype

    @property
    def array(self) -> Array | None:
        """The value itself, where it is constant."""
        return self.facts.array

    @property
    def sizes(self) -> tuple[Size, ...] | None:
        return self.facts.sizes

    @property
    def elements(self) -> tuple[Size, ...] | None:
        return self.facts.elements

    @property
    def rank(self) -> int | None:
        return self.facts.rank

    @property
    def shape(self) -> tuple[int | None, ...]:
        """The sizes that are numbers, None for every other; the number of axes must be known."""
        assert self.sizes is not None, self.hint
        return tuple(size if isinstance(size, int) else None for size in self.sizes)

    @property
    def dims(self) -> tuple[str | None, ...]:
        """For each axis the name of its free dimension, None where it has none."""
        assert self.sizes is not None, self.hint
        return tuple(size if isinstance(size, str) else None for size in self.sizes)

    def spec(self, name: str, known: Collection[str]) -> TensorSpec:
        """As an input or an output of a graph. known: the names of dimensions that mean something there."""
        assert self.dtype is not None, self.hint
        if self.sizes is None:
            return TensorSpec(name, self.dtype, None)
        dims = tuple(dim if dim in known else None for dim in self.dims)
        return TensorSpec(name, self.dtype, self.shape, dims if any(dims) else ())


@dataclass(frozen=True)
class BuiltNode:
    """A node whose values have no names yet."""

    op: str
    inputs: tuple[Value | None, ...]
    outputs: tuple[Value, ...]
    attrs: Mapping[str, Any]
    name: str


@dataclass(frozen=True)
class BuiltBody:
    """A graph inside a node, whose values have no names yet. captured: the last inputs of the node, as they are."""

    inputs: tuple[Value, ...]
    captured: tuple[Value, ...]
    outputs: tuple[Value | None, ...]
    nodes: tuple[BuiltNode, ...]

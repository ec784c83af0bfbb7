"""Values and nodes of a graph that is being built: they have facts, but no names yet."""

from collections.abc import Collection, Mapping
from dataclasses import field
from typing import Any

from fastgru.graph import MOST_SIZE, Array, TensorSpec
from fastgru.records import dataclass
from fastgru.reference.facts import ValueFacts
from fastgru.reference.sizes import Size

__all__ = ["BuiltBody", "BuiltNode", "Value"]


@dataclass(eq=False)
class Value:
    """A constant, an input of the graph, or an output of a node.

    hint: its name, if that is free. given: it is an input of the graph. inferred: it is a constant made from sizes that
    follow from operators, not only from inputs.
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
        """The value itself, None if it is not constant."""
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
        """The sizes that are numbers, and None for all others. The rank must be known."""
        assert self.sizes is not None, self.hint
        return tuple(size if isinstance(size, int) else None for size in self.sizes)

    @property
    def dims(self) -> tuple[str | None, ...]:
        """The name of the free dimension of each axis, None for an axis without one."""
        assert self.sizes is not None, self.hint
        return tuple(size if isinstance(size, str) else None for size in self.sizes)

    def spec(self, name: str, known: Collection[str]) -> TensorSpec:
        """Return the spec of an input or output of a graph. known: the names of dimensions that the spec may have.

        Sizes that no axis can have are left out. The node that computes them is refused in a call, by its name.
        """
        assert self.dtype is not None, self.hint
        if self.sizes is None:
            return TensorSpec(name, self.dtype, None)
        dims = tuple(dim if dim in known else None for dim in self.dims)
        shape = tuple(n if n is not None and 0 <= n <= MOST_SIZE else None for n in self.shape)
        return TensorSpec(name, self.dtype, shape, dims if any(dims) else ())


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
    """A graph inside a node, whose values have no names yet. captured: the last inputs of the node."""

    inputs: tuple[Value, ...]
    captured: tuple[Value, ...]
    outputs: tuple[Value | None, ...]
    nodes: tuple[BuiltNode, ...]

"""The graph while it grows: named values with their shapes and masks, nodes, constants, states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgru.graph import Node, TensorSpec

__all__ = ["GraphBuilder", "Value"]

Array = NDArray[Any]
Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class Value:
    """A tensor by name. shape: None where a size is free. mask: the name of a bool tensor over its first axes."""

    name: str
    shape: Shape
    dtype: str = "float32"
    mask: str | None = None

    @property
    def rank(self) -> int:
        return len(self.shape)

    def but(self, **changes: Any) -> Value:
        return replace(self, **changes)


class GraphBuilder:
    """Collects nodes and constants under names that are never given twice."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.constants: dict[str, Array] = {}
        self.states: dict[str, str] = {}
        self.state_inputs: list[TensorSpec] = []
        self.state_outputs: list[TensorSpec] = []
        self._taken: set[str] = set()

    def fresh(self, base: str) -> str:
        """`base`, or the first of base_1, base_2... that is free."""
        name, n = base, 0
        while name in self._taken:
            n += 1
            name = f"{base}_{n}"
        self._taken.add(name)
        return name

    def constant(self, array: Any, base: str) -> str:
        """The name of a constant; equal arrays under one base (a layer used twice) are one constant."""
        array = np.asarray(array)
        seen = self.constants.get(base)
        if seen is not None and seen.dtype == array.dtype and np.array_equal(seen, array):
            return base
        name = self.fresh(base)
        self.constants[name] = array
        return name

    def integers(self, values: int | Sequence[int], base: str) -> str:
        return self.constant(np.asarray(values, dtype=np.int64), base)

    def scalar(self, value: float, like: Value, base: str) -> str:
        return self.constant(np.asarray(value, dtype=like.dtype), base)

    def add(
        self, op: str, inputs: Sequence[str], base: str, attrs: Mapping[str, Any] | None = None, *, reserved: str = ""
    ) -> str:
        """A node with one output; its name, which is `reserved` where that was made by `fresh` before."""
        name = reserved or self.fresh(base)
        self.nodes.append(Node(op, tuple(inputs), (name,), dict(attrs or {}), name=base))
        return name

    def add_many(
        self, op: str, inputs: Sequence[str], bases: Sequence[str], attrs: Mapping[str, Any] | None = None
    ) -> list[str]:
        """A node with several outputs; '' for one that nobody reads."""
        names = [self.fresh(base) if base else "" for base in bases]
        self.nodes.append(Node(op, tuple(inputs), tuple(names), dict(attrs or {}), name=next(filter(None, bases), "")))
        return names

    def add_state(self, base: str, shape: Shape) -> tuple[str, str]:
        """A new input and output whose values follow each other from call to call: (input, output) names."""
        source, target = self.fresh(f"{base}_in"), self.fresh(f"{base}_out")
        dims = ("batch",) + (None,) * (len(shape) - 1)
        self.state_inputs.append(TensorSpec(source, "float32", shape, dims))
        self.state_outputs.append(TensorSpec(target, "float32", shape, dims))
        self.states[source] = target
        return source, target

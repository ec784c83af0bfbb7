"""The initial value of a state inside a file, if it depends on no input, or only on the sizes of inputs."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from fastgru.errors import FastGRUError
from fastgru.graph import Array, Graph
from fastgru.reference.evaluate import evaluate
from fastgru.reference.facts import ValueFacts, infer_graph

__all__ = ["Beginnings"]

_MOST_ELEMENTS: Final = 1 << 24


class Beginnings:
    """The initial values of states of one graph."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._makers = {name: node for node in graph.nodes for name in node.outputs if name}
        self._facts: dict[int, Mapping[str, ValueFacts]] = {}

    def reads(self, name: str) -> set[str]:
        """Return the inputs that a value depends on through more than their sizes."""
        found, left = set[str](), [name]
        seen = set[str]()
        given = {spec.name for spec in self._graph.inputs}
        while left:
            value = left.pop()
            if value in given:
                found.add(value)
            if value in seen or value not in self._makers or self._makers[value].op == "shape":
                continue
            seen.add(value)
            left += self._makers[value].inputs
        return found

    def start(self, name: str) -> Array | None:
        """Return the value of `name`, with size 1 along axes whose size is free.

        None if the value depends on inputs or on their sizes, or cannot be computed.
        """
        if self.reads(name):
            return None
        one, three = self._with_sizes(name, 1), self._with_sizes(name, 3)
        if one is None or three is None or one.ndim != three.ndim:
            return None
        if any(m not in (1, n) for m, n in zip(one.shape, three.shape, strict=True)):
            return None
        return one if np.array_equal(np.broadcast_to(one, three.shape), three) else None

    def _with_sizes(self, name: str, size: int) -> Array | None:
        """Return the value of `name` if every free size of the inputs is `size`, or None if it cannot be computed."""
        if size not in self._facts:
            specs = tuple(
                replace(spec, shape=tuple(size if n is None else n for n in spec.shape), dims=())
                if spec.shape is not None
                else spec
                for spec in self._graph.inputs
            )
            self._facts[size] = infer_graph(replace(self._graph, inputs=specs))
        facts, values = self._facts[size], dict[str, Array | None]()
        for value in self._order(name):
            about = facts.get(value, ValueFacts())
            if value in self._graph.constants:
                values[value] = np.asarray(self._graph.constants[value])
            elif about.elements is not None and all(isinstance(n, int) for n in about.elements) and about.dtype:
                made = np.array(about.elements, about.dtype)
                values[value] = made.reshape(()) if about.rank == 0 else made
            elif value in self._makers and self._makers[value].op != "shape":
                node = self._makers[value]
                inputs = [values[n] if n else None for n in node.inputs]
                if any(n and values[n] is None for n in node.inputs):
                    return None
                try:
                    results = evaluate(node, inputs, max_elements=_MOST_ELEMENTS)
                except FastGRUError:
                    return None
                values.update((n, a) for n, a in zip(node.outputs, results, strict=False) if n)
            else:
                values[value] = None
        return values[name]

    def _order(self, name: str) -> Iterator[str]:
        """Yield the values that `name` depends on and `name` itself, in order of computation."""
        needed = {name}
        for node in reversed(self._graph.nodes):
            if needed & set(node.outputs) and node.op != "shape":
                needed |= set(node.inputs)
        made = [value for node in self._graph.nodes for value in node.outputs]
        yield from (value for value in (*self._graph.constants, *made) if value in needed)

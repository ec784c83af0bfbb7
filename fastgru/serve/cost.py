"""How long a push will take: estimated from earlier pushes of the same shapes, or at first from its operations."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from fastgru.graph import Graph
from fastgru.reference.facts import ValueFacts, infer_graph, work

__all__ = ["LONG_NS", "Cost", "answer_bytes", "operations"]

LONG_NS: Final = 1_000_000  # a push that is predicted to take longer does not run in the event loop
_WEIGHT: Final = 0.125  # the weight of the newest measurement
_SIZES: Final = 24


class Cost:
    """The time of pushes of one shape.

    A measurement counts as at most twice the expected time, because a push may have been interrupted.

    first_ns: the expected time of a row before one has run. one_ns: the expected time of a push of one row now.
    """

    __slots__ = ("_rows_ns", "first_ns", "one_ns")

    def __init__(self, first_ns: float) -> None:
        self.first_ns = self.one_ns = first_ns
        self._rows_ns = [0.0] * _SIZES  # nanoseconds per row, by the bit length of the number of rows

    def ns(self, rows: int) -> float:
        """Return the expected nanoseconds of a push of this many rows."""
        each = self._rows_ns[rows.bit_length()]
        if not each:
            each = next((ns for ns in self._rows_ns[rows.bit_length() :: -1] if ns), self.first_ns)
        return each * rows

    def measured(self, rows: int, took_ns: int) -> None:
        """Learn from a push of `rows` rows that took `took_ns`."""
        size, each = rows.bit_length(), took_ns / rows
        was = self._rows_ns[size]
        if was:
            each = was + _WEIGHT * (min(each, 2 * was) - was)
        self._rows_ns[size] = each
        if rows == 1:
            self.one_ns = each

    def most_rows(self, within_ns: float) -> int:
        """Return how many rows a push may have and still take at most `within_ns`; at least one."""
        rows = 1
        while rows < 1 << 16 and self.ns(2 * rows) <= within_ns:
            rows *= 2
        while rows > 1 and self.ns(rows) > within_ns:
            rows //= 2
        return rows


def operations(graph: Graph, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Count the operations of one run on inputs of these shapes, as far as they are known; at least 1."""
    known = _known(graph, shapes)
    total = 0.0
    for node in graph.nodes:
        given = [known.get(name, ValueFacts()) if name else None for name in node.inputs]
        flops = work(node.op, given, node.attrs, len(node.outputs)).flops
        total += flops if isinstance(flops, int) else 0
    return max(1, math.ceil(total))


def answer_bytes(graph: Graph, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Return the bytes of the outputs of such a run, without states, as far as they are known."""
    known, states, total = _known(graph, shapes), {*graph.states.values()}, 0
    for spec in graph.outputs:
        sizes = None if spec.name in states else known.get(spec.name, ValueFacts()).sizes
        if sizes is not None and all(isinstance(n, int) for n in sizes):
            total += math.prod([n for n in sizes if isinstance(n, int)]) * np.dtype(spec.dtype).itemsize
    return total


def _known(graph: Graph, shapes: Mapping[str, tuple[int, ...]]) -> Mapping[str, ValueFacts]:
    inputs = tuple([replace(spec, shape=shapes.get(spec.name, spec.shape), dims=()) for spec in graph.inputs])
    return infer_graph(replace(graph, inputs=inputs))

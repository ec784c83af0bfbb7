"""The forward pass that keeps every value, and the backward pass: the chain rule over the nodes of a graph."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from fastgru.arrays import Array
from fastgru.errors import FastGRUError, UnsupportedModelError
from fastgru.graph import Graph, Node
from fastgru.reference import run_graph
from fastgru.reference.evaluate import evaluate
from fastgru.reference.gradients import has_gradient, pull_back
from fastgru.reference.gradients.registry import Gradients
from fastgru.reference.operator import is_floating

__all__ = ["backward", "forward"]


class Definitions(Protocol):
    """An object that computes nodes and their gradients, by the definitions or for some nodes by kernels."""

    def compute(self, node: Node, inputs: Sequence[Array | None]) -> tuple[Array, ...]: ...

    def pull_back(
        self, node: Node, inputs: Sequence[Array | None], outputs: Sequence[Array], ups: Sequence[Array]
    ) -> Gradients: ...


def forward(graph: Graph, feeds: Mapping[str, Any], dtype: str, nodes: Definitions | None = None) -> dict[str, Array]:
    """Return every value of the graph by name, also outputs that nobody reads. Raises `ShapeError`."""
    compute = evaluate if nodes is None else nodes.compute
    return run_graph(_named(graph), feeds, dtype=dtype, intermediates=True, compute=compute)


def _named(graph: Graph) -> Graph:
    """Return the graph with names for the outputs of nodes that nobody reads."""
    return replace(graph, nodes=tuple(_with_names(node, i) for i, node in enumerate(graph.nodes)))


def _with_names(node: Node, index: int) -> Node:
    outputs = tuple(name or f"node {index}, output {k}" for k, name in enumerate(node.outputs))
    return replace(node, outputs=outputs)


def backward(
    graph: Graph,
    values: Mapping[str, Array],
    ups: Mapping[str, Array],
    nodes: Definitions | None = None,
    learned: Iterable[str] | None = None,
) -> dict[str, Array]:
    """Return dE by each floating-point value that the outputs in `ups` depend on, by name, also constants and inputs.

    values: from `forward`. ups: dE by outputs. learned: the constants and inputs whose gradients are wanted, None for
    all; nodes that depend on none of them are skipped. Raises `UnsupportedModelError`, which names the node, if a node
    on the way has no gradient.
    """
    found = {name: np.array(a) for name, a in ups.items()}
    given = [*graph.constants, *(spec.name for spec in graph.inputs)] if learned is None else learned
    on_the_way = _depending(graph, values, given)
    pull = pull_back if nodes is None else nodes.pull_back
    for node in reversed(_named(graph).nodes):
        if not any(name in found for name in node.outputs) or not any(name in on_the_way for name in node.inputs):
            continue
        if not has_gradient(node.op):
            raise UnsupportedModelError(
                f"{node}: operator {node.op!r} has no gradient; use layers that have one, or let fit change only"
                " weights behind this node, with train="
            )
        inputs = [values[name] if name else None for name in node.inputs]
        outputs = [values[name] for name in node.outputs]
        into = [found[n] if n in found else np.zeros_like(y) for n, y in zip(node.outputs, outputs, strict=True)]
        try:
            with np.errstate(all="ignore"):
                taken = pull(node, inputs, outputs, into)
        except FastGRUError as error:
            raise type(error)(f"{node}: {error}") from None
        for name, a in zip(node.inputs, taken, strict=False):
            if name and a is not None and name in on_the_way:
                found[name] = found[name] + a if name in found else a
    return found


def _depending(graph: Graph, values: Mapping[str, Array], given: Iterable[str]) -> set[str]:
    """Return the floating-point values that depend on the given ones, including these."""
    found = {name for name in given if name in values and is_floating(values[name].dtype)}
    for node in _named(graph).nodes:
        if not found.isdisjoint(node.inputs):
            found.update(name for name in node.outputs if is_floating(values[name].dtype))
    return found

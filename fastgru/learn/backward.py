"""Forward with every value kept, and back: the chain rule over the nodes of a graph, by the definitions."""

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
    """What computes a node, and its gradients: the definitions, or kernels in the place of some of them."""

    def compute(self, node: Node, inputs: Sequence[Array | None]) -> tuple[Array, ...]: ...

    def pull_back(
        self, node: Node, inputs: Sequence[Array | None], outputs: Sequence[Array], ups: Sequence[Array]
    ) -> Gradients: ...


def forward(graph: Graph, feeds: Mapping[str, Any], dtype: str, nodes: Definitions | None = None) -> dict[str, Array]:
    """Every value of the graph by name, also those of outputs that nobody reads. Raises `ShapeError`."""
    compute = evaluate if nodes is None else nodes.compute
    return run_graph(_named(graph), feeds, dtype=dtype, intermediates=True, compute=compute)


def _named(graph: Graph) -> Graph:
    """The graph, in which outputs of nodes that nobody reads have names, too."""
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
    """dE by each floating-point value that the outputs in `ups` depend on, by name, constants and inputs among them.

    values: of `forward`. ups: dE by outputs. learned: the constants and inputs whose gradients are asked for, all where
    nothing is said; nothing goes back to a node that depends on none of them. Raises `UnsupportedModelError` naming a
    node on the way that has no gradient.
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
    """The floating-point values that depend on those that are given, themselves among them."""
    found = {name for name in given if name in values and is_floating(values[name].dtype)}
    for node in _named(graph).nodes:
        if not found.isdisjoint(node.inputs):
            found.update(name for name in node.outputs if is_floating(values[name].dtype))
    return found

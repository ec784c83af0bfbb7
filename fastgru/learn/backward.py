"""Forward with every value kept, and back: the chain rule over the nodes of a graph, by the definitions."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from fastgru.arrays import Array
from fastgru.errors import FastGRUError, UnsupportedModelError
from fastgru.graph import Graph, Node
from fastgru.reference import run_graph
from fastgru.reference.gradients import has_gradient, pull_back
from fastgru.reference.operator import is_floating

__all__ = ["backward", "forward"]


def forward(graph: Graph, feeds: Mapping[str, Any], dtype: str) -> dict[str, Array]:
    """Every value of the graph by name, also those of outputs that nobody reads. Raises `ShapeError`."""
    return run_graph(_named(graph), feeds, dtype=dtype, intermediates=True)


def _named(graph: Graph) -> Graph:
    """The graph, in which outputs of nodes that nobody reads have names, too."""
    return replace(graph, nodes=tuple(_with_names(node, i) for i, node in enumerate(graph.nodes)))


def _with_names(node: Node, index: int) -> Node:
    outputs = tuple(name or f"node {index}, output {k}" for k, name in enumerate(node.outputs))
    return replace(node, outputs=outputs)


def backward(graph: Graph, values: Mapping[str, Array], ups: Mapping[str, Array]) -> dict[str, Array]:
    """dE by each floating-point value that the outputs in `ups` depend on, by name, constants and inputs among them.

    values: of `forward`. ups: dE by outputs. Raises `UnsupportedModelError` naming a node on the way that has no
    gradient.
    """
    found = {name: np.array(a) for name, a in ups.items()}
    learned = _learned(graph, values)
    for node in reversed(_named(graph).nodes):
        if not any(name in found for name in node.outputs) or not any(name in learned for name in node.inputs):
            continue
        if not has_gradient(node.op):
            raise UnsupportedModelError(
                f"{node}: operator {node.op!r} has no gradient; use layers that have one, or learn what is behind it"
            )
        inputs = [values[name] if name else None for name in node.inputs]
        outputs = [values[name] for name in node.outputs]
        into = [found[n] if n in found else np.zeros_like(y) for n, y in zip(node.outputs, outputs, strict=True)]
        try:
            with np.errstate(all="ignore"):
                taken = pull_back(node, inputs, outputs, into)
        except FastGRUError as error:
            raise type(error)(f"{node}: {error}") from None
        for name, a in zip(node.inputs, taken, strict=False):
            if name and a is not None and name in learned:
                found[name] = found[name] + a if name in found else a
    return found


def _learned(graph: Graph, values: Mapping[str, Array]) -> set[str]:
    """The floating-point values that depend on weights or on inputs, themselves among them."""
    given = [*graph.constants, *(spec.name for spec in graph.inputs)]
    found = {name for name in given if name in values and is_floating(values[name].dtype)}
    for node in _named(graph).nodes:
        if not found.isdisjoint(node.inputs):
            found.update(name for name in node.outputs if is_floating(values[name].dtype))
    return found

"""Evaluate nodes whose inputs are constants, and remove nodes and constants that no output needs."""

from collections.abc import Container, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from fastgru.errors import FastGRUError
from fastgru.graph import Array, Graph, Node
from fastgru.reference.evaluate import evaluate, in_precision
from fastgru.reference.facts import sources
from fastgru.reference.operator import is_floating

__all__ = ["drop_dead", "fold_constants", "fold_node"]


# The most elements of one folded constant: a larger one would cost more memory than computing it costs time.
_MAX_FOLDED: Final = 1 << 24
# The most elements of all folded constants: this many, or this multiple of the elements of the graph's own constants.
_MAX_FOLDED_IN_ALL: Final = 1 << 26
_GROWTH: Final = 16


def fold_node(node: Node, inputs: Sequence[Array | None], *, max_elements: int | None = None) -> tuple[Array, ...]:
    """Return the outputs of a node whose inputs are known. Raises as `fastgru.reference.evaluate`."""
    floats = {a.dtype for a in inputs if a is not None and is_floating(a.dtype)}
    if node.op != "cast" and sources(node.op, inputs) and len(floats) < 2:
        return evaluate(node, inputs, max_elements=max_elements)
    wide = [a.astype(np.float64) if a is not None and is_floating(a.dtype) else a for a in inputs]
    return evaluate(in_precision(node, "float64"), wide, max_elements=max_elements)


def fold_constants(graph: Graph, *, keep: Container[str] = ()) -> Graph:
    """Replace nodes whose inputs are constants by constants, except nodes whose first output is in `keep`.

    A node that cannot be evaluated, or whose outputs are too large, is left for the plan.
    """
    constants = dict(graph.constants)
    left = max(_MAX_FOLDED_IN_ALL, _GROWTH * sum(a.size for a in constants.values()))
    nodes = []
    for node in graph.nodes:
        names = [name for name in node.inputs if name]
        if not names or node.bodies or node.outputs[0] in keep or any(name not in constants for name in names):
            nodes.append(node)
            continue
        try:
            arrays = [constants[name] if name else None for name in node.inputs]
            results = fold_node(node, arrays, max_elements=min(_MAX_FOLDED, left))
        except FastGRUError:
            nodes.append(node)
            continue
        left -= sum(a.size for a in results)
        constants.update((name, a) for name, a in zip(node.outputs, results, strict=False) if name)
    return replace(graph, nodes=tuple(nodes), constants=constants)


def drop_dead(graph: Graph) -> Graph:
    """Remove the nodes and constants that no output depends on."""
    needed = {spec.name for spec in graph.outputs}
    kept = []
    for node in reversed(graph.nodes):
        if needed.intersection(node.outputs):
            kept.append(node)
            needed.update(name for name in node.inputs if name)
    constants = {name: array for name, array in graph.constants.items() if name in needed}
    return replace(graph, nodes=tuple(reversed(kept)), constants=constants)

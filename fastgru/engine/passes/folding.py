"""Constants are computed, and what no output needs goes."""

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


# Elements. A folded constant beyond this would cost more memory than the nodes that make it cost time; and all of them
# together are no more than this, or so many times what the graph's own constants are.
_MAX_FOLDED: Final = 1 << 24
_MAX_FOLDED_IN_ALL: Final = 1 << 26
_GROWTH: Final = 16


def fold_node(node: Node, inputs: Sequence[Array | None], *, max_elements: int | None = None) -> tuple[Array, ...]:
    """The outputs of a node whose inputs are known; see `fastgru.reference.evaluate` for what it raises."""
    floats = {a.dtype for a in inputs if a is not None and is_floating(a.dtype)}
    if node.op != "cast" and sources(node.op, inputs) and len(floats) < 2:
        return evaluate(node, inputs, max_elements=max_elements)
    wide = [a.astype(np.float64) if a is not None and is_floating(a.dtype) else a for a in inputs]
    return evaluate(in_precision(node, "float64"), wide, max_elements=max_elements)


def fold_constants(graph: Graph, *, keep: Container[str] = ()) -> Graph:
    """Nodes of constants become constants, but those with the outputs `keep`.

    One that cannot be evaluated, or makes too much, is left for the plan.
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
    """Nodes and constants from which no output follows go."""
    needed = {spec.name for spec in graph.outputs}
    kept = []
    for node in reversed(graph.nodes):
        if needed.intersection(node.outputs):
            kept.append(node)
            needed.update(name for name in node.inputs if name)
    constants = {name: array for name, array in graph.constants.items() if name in needed}
    return replace(graph, nodes=tuple(reversed(kept)), constants=constants)

"""Finds biases that `fastgru adapt --train fc.` would train without their matrices, which have other names."""

from collections.abc import Iterable, Sequence

import numpy as np

from fastgru.graph import Graph, Node

__all__ = ["lone_biases"]


def lone_biases(graph: Graph, asked: Sequence[str]) -> list[tuple[str, str, tuple[str, ...]]]:
    """Return (prefix, bias, matrices) for each bias that a prefix in `asked` selects without any matrix of its node.

    asked: names of weights, and prefixes that end with a dot or a slash.
    """
    beginnings = {one: tuple(n for n in graph.constants if n.startswith(one)) for one in asked if one[-1:] in "./"}
    meant = {*asked, *(name for names in beginnings.values() for name in names)}
    makers = {output: node for node in graph.nodes for output in node.outputs}
    found = []
    for node in graph.nodes:
        for bias in node.inputs:
            of = next((one for one, names in beginnings.items() if bias in names), "")
            if of and bias not in asked and np.ndim(graph.constants[bias]) == 1:
                matrices = _matrices(graph, node) or _added_to(graph, node, makers)
                if matrices and not meant & {*matrices}:
                    found.append((of, bias, matrices))
    return list(dict.fromkeys(found))


def _matrices(graph: Graph, node: Node) -> tuple[str, ...]:
    return tuple(name for name in node.inputs if np.ndim(graph.constants.get(name, 0)) > 1)


def _added_to(graph: Graph, node: Node, makers: dict[str, Node]) -> tuple[str, ...]:
    """Return the matrices of the node to whose output this one adds a bias."""
    sources: Iterable[str] = node.inputs if node.op == "binary" and node.attrs.get("kind") == "add" else ()
    return next((found for name in sources if name in makers and (found := _matrices(graph, makers[name]))), ())

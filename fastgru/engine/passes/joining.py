"""Layers of one kind that read the same become one layer: its outputs are parts of what that makes.

The gates of a cell that nobody recognised are such layers. One instruction is shorter than two, and small ones fill
vectors together. Only where nothing but element-wise operations reads the parts, which takes them as they lie.
"""

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

import numpy as np

from fastgru.engine.passes.bodies import change_bodies
from fastgru.engine.passes.folding import drop_dead
from fastgru.graph import Array, Graph, Node

__all__ = ["join_alike"]

_AXES: Final = {"linear": -1, "conv": 1}  # of the outputs of a layer
_MOST_WEIGHTS: Final = 1 << 18  # of all layers: joined they are copies, and large ones gain nothing
_ELEMENT_WISE: Final = ("activation", "binary", "clip", "unary")


def join_alike(graph: Graph, kept: Collection[str] = ()) -> Graph:
    """Linear layers, and convolutions, of the same input, with constant weights of their own.

    kept: the first outputs of nodes that stay what they are.
    """
    graph = change_bodies(graph, partial(join_alike, kept=kept))
    groups: dict[Hashable, list[Node]] = {}
    taken = {spec.name for spec in graph.outputs} | {*kept}
    for node in graph.nodes:
        taken.update(() if node.op in _ELEMENT_WISE else node.inputs)
    for node in graph.nodes:
        key = None if node.outputs[0] in taken else _kind(node, graph.constants)
        if key is not None:
            groups.setdefault(key, []).append(node)
    alike = {nodes[0].outputs[0]: nodes for nodes in groups.values() if len(nodes) > 1 and _few(nodes, graph.constants)}
    if not alike:
        return graph
    constants, gone = dict(graph.constants), {n.outputs[0] for nodes in alike.values() for n in nodes[1:]}
    made: list[Node] = []
    for node in graph.nodes:
        if node.outputs[0] in alike:
            made += _joined(alike[node.outputs[0]], constants)
        elif node.outputs[0] not in gone:
            made.append(node)
    return drop_dead(replace(graph, nodes=tuple(made), constants=constants))


def _kind(node: Node, constants: Mapping[str, Array]) -> Hashable | None:
    """The same for what can be joined; None for what cannot."""
    if node.op not in _AXES or node.attrs.get("group", 1) != 1 or len(node.inputs) < 2:
        return None
    arrays = [constants.get(name) for name in node.inputs[1:]]
    if any(name and array is None for name, array in zip(node.inputs[1:], arrays, strict=True)):
        return None
    if (
        arrays[0] is None
        or arrays[0].ndim < 2
        or any(a is not None and a.shape != arrays[0].shape[:1] for a in arrays[1:])
    ):
        return None
    kinds = tuple(None if a is None else a.dtype.name for a in arrays)
    while kinds and kinds[-1] is None:
        kinds = kinds[:-1]
    return node.op, node.inputs[0], repr(sorted(node.attrs.items())), kinds, arrays[0].shape[1:]


def _few(nodes: Sequence[Node], constants: Mapping[str, Array]) -> bool:
    return sum(constants[node.inputs[1]].size for node in nodes) <= _MOST_WEIGHTS


def _joined(nodes: Sequence[Node], constants: dict[str, Array]) -> list[Node]:
    """The layer of all, and what cuts its outputs."""
    first, names = nodes[0], []
    for i, name in enumerate(first.inputs[1:], 1):
        if name:
            arrays = [constants[node.inputs[i]] for node in nodes]
            names.append(f"{first.outputs[0]}/joined{i}")
            constants[names[-1]] = np.concatenate(arrays)
        else:
            names.append("")
    whole = f"{first.outputs[0]}/joined"
    sizes = [len(constants[node.inputs[1]]) for node in nodes]
    cut = {"axis": _AXES[first.op], "sizes": sizes}
    return [
        replace(first, inputs=(first.inputs[0], *names), outputs=(whole,)),
        Node("split", (whole,), tuple(node.outputs[0] for node in nodes), cut),
    ]

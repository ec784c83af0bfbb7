"""Join layers of one kind that read the same input into one layer, whose output is split into theirs.

The gates of a cell that no importer has recognised are such layers. One instruction takes less time than two, and small
layers fill vectors together. Layers are joined only if element-wise operations alone read their outputs, because these
read strided parts without a copy.
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

_AXES: Final = {"linear": -1, "conv": 1}  # the axis along which a layer's outputs lie
_MOST_WEIGHTS: Final = 1 << 18  # of the joined layers together: their weights are copied, and large layers gain nothing
_ELEMENT_WISE: Final = ("activation", "binary", "clip", "unary")


def join_alike(graph: Graph, kept: Collection[str] = ()) -> Graph:
    """Join linear layers, and convolutions, that have the same input and constant weights.

    kept: the first outputs of nodes that must not change.
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
    """Return a key that is equal for nodes that can be joined; None for a node that cannot be joined."""
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
    """Return the joined layer, and the node that splits its output."""
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

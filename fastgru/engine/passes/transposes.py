"""Move normalisations and activations before a transpose that separates them from a convolution.

Networks with channels last have a transpose after every convolution. Only next to the convolution can the pass
`convolutions` merge such nodes into it.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from fastgru.graph import Array, Graph, Node

__all__ = ["lift_over_transposes"]


_KINDS: Final = ("relu", "leaky_relu")


def lift_over_transposes(graph: Graph) -> Graph:
    """Replace f(transpose(x)) by transpose(f(x)) if a convolution makes x and no other node reads the transpose."""
    constants: dict[str, Array] = dict(graph.constants)
    readers = graph.readers()
    convolved = {n.outputs[0] for n in graph.nodes if n.op in ("conv", "conv_transpose")}
    transposed: dict[str, int] = {}
    nodes: list[Node | None] = []
    for node in graph.nodes:
        x = node.inputs[0] if node.inputs else ""
        at = transposed.get(x)
        before = None if at is None else nodes[at]
        if at is not None and before is not None and readers[x] == 1:
            lifted = _lifted(node, before, constants)
            if lifted is not None:
                y = node.outputs[0]
                nodes[at] = None
                convolved.add(f"{y}/lifted")
                nodes.append(replace(lifted, outputs=(f"{y}/lifted",)))
                node = replace(before, inputs=(f"{y}/lifted",), outputs=(y,))
        if node.op == "transpose" and node.inputs[0] in convolved:
            transposed[node.outputs[0]] = len(nodes)
        nodes.append(node)
    return replace(graph, nodes=tuple(node for node in nodes if node is not None), constants=constants)


def _lifted(node: Node, transpose: Node, constants: dict[str, Array]) -> Node | None:
    """Return the node applied to the input of `transpose`, whose outputs the caller renames; None if it cannot move."""
    perm = [int(axis) for axis in transpose.attrs["perm"]]
    inputs = (transpose.inputs[0], *node.inputs[1:])
    if node.op == "clip" or (node.op == "activation" and node.attrs["kind"] in _KINDS):
        return replace(node, inputs=inputs)
    if node.op == "batch_norm" and -len(perm) <= node.attrs["axis"] < len(perm):
        return replace(node, inputs=inputs, attrs={**node.attrs, "axis": perm[node.attrs["axis"]]})
    if node.op == "prelu":
        slope = _transposed_back(node.inputs[1], perm, constants)
        if slope is not None:
            constants[f"{node.outputs[0]}/slope"] = slope
            return replace(node, inputs=(inputs[0], f"{node.outputs[0]}/slope"))
    return None


def _transposed_back(name: str, perm: list[int], constants: Mapping[str, Array]) -> Array | None:
    """Return the constant that broadcasts to the input of the transpose as `name` broadcasts to its output."""
    array = constants.get(name)
    if array is None or array.ndim > len(perm):
        return None
    whole = array.reshape((1,) * (len(perm) - array.ndim) + array.shape)
    return whole.transpose(tuple(int(axis) for axis in np.argsort(perm)))

"""Merge a bias or a batch normalisation after a linear layer into the weights of the layer."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from fastgru.engine.passes.rows import matrix_shapes
from fastgru.graph import Array, Graph, Node
from fastgru.reference.facts import infer_graph

__all__ = ["merge_batch_norm", "merge_bias"]


def merge_bias(graph: Graph) -> Graph:
    """Turn a constant vector that is added to the outputs of a linear layer without a bias into its bias.

    Exporters write a layer as MatMul and Add. The two are merged only if no other node reads the value between them.
    """
    constants: dict[str, Array] = dict(graph.constants)
    readers = graph.readers()
    shapes = matrix_shapes(graph)
    bare = {n.outputs[0]: n for n in graph.nodes if n.op == "linear" and not any(n.inputs[2:])}
    merged: dict[str, Node] = {}
    gone = set()
    for add in graph.nodes:
        if add.op != "binary" or add.attrs["kind"] != "add":
            continue
        for x, bias in (add.inputs, tuple(reversed(add.inputs))):
            linear = bare.get(x)
            if linear is None or readers[x] != 1 or bias not in constants or linear.inputs[1] not in shapes:
                continue
            vector = constants[bias].reshape(-1)
            if vector.shape != shapes[linear.inputs[1]][:1] or constants[bias].ndim > 1:
                continue
            merged[add.outputs[0]] = replace(linear, inputs=(*linear.inputs[:2], bias), outputs=add.outputs)
            gone.add(x)
    nodes = [merged.get(n.outputs[0], n) for n in graph.nodes if n.outputs[0] not in gone]
    return replace(graph, nodes=tuple(nodes), constants=constants)


def merge_batch_norm(graph: Graph) -> Graph:
    """Merge a batch_norm over the outputs of a linear layer into its weight and bias.

    The two are merged only if no other node reads the value between them, all parameters are constant, and the axis of
    the batch_norm is known to be the last.
    """
    constants: dict[str, Array] = dict(graph.constants)
    readers = graph.readers()
    facts = infer_graph(graph) if any(node.op == "batch_norm" for node in graph.nodes) else {}
    made_by = {name: i for i, node in enumerate(graph.nodes) for name in node.outputs}
    nodes: list[Node | None] = list(graph.nodes)
    for i, norm in enumerate(graph.nodes):
        at = made_by.get(norm.inputs[0]) if norm.op == "batch_norm" else None
        linear = None if at is None else nodes[at]
        if at is None or linear is None or linear.op != "linear" or readers[norm.inputs[0]] != 1:
            continue
        names = [*linear.inputs[1:], *norm.inputs[1:]]
        if norm.attrs["axis"] not in (-1, (facts[norm.inputs[0]].rank or 0) - 1):
            continue
        if not all(name in constants for name in names if name):
            continue
        weight, bias = _merged(linear, norm, constants)
        if weight is None or bias is None:
            continue
        y = norm.outputs[0]
        constants[f"{y}/weight"], constants[f"{y}/bias"] = weight, bias
        nodes[at] = None
        nodes[i] = replace(linear, inputs=(linear.inputs[0], f"{y}/weight", f"{y}/bias"), outputs=(y,))
        made_by[y] = i
    return replace(graph, nodes=tuple(node for node in nodes if node is not None), constants=constants)


def _merged(linear: Node, norm: Node, constants: Mapping[str, Array]) -> tuple[Array | None, Array | None]:
    weight = constants[linear.inputs[1]].astype(np.float64)
    has_bias = len(linear.inputs) > 2 and linear.inputs[2]
    bias = constants[linear.inputs[2]].astype(np.float64) if has_bias else np.zeros(weight.shape[:1])
    scale, shift, mean, var = (constants[name].astype(np.float64) for name in norm.inputs[1:])
    if weight.ndim != 2 or any(a.shape != weight.shape[:1] for a in (bias, scale, shift, mean, var)):
        return None, None  # planning reports the shapes that do not fit
    with np.errstate(all="ignore"):
        factor = scale / np.sqrt(var + norm.attrs["epsilon"])
        merged = weight * factor[:, None], (bias - mean) * factor + shift
    return merged if all(np.isfinite(a).all() for a in merged) else (None, None)

"""Passes over a graph, once an executable: what does not depend on the inputs is computed, what no output needs goes.

Arithmetic between constants is carried out in float64, whatever their own precision, and rounded to the precision of a
plan when it is read: the whole graph has one precision, that of the plan. Nodes that only move elements keep dtypes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fastgru.errors import FastGRUError
from fastgru.graph import Graph, Node
from fastgru.reference import evaluate
from fastgru.reference.operator import is_floating, numpy_dtype

__all__ = ["drop_dead", "fold_constants", "fold_node", "merge_batch_norm", "merge_bias", "simplify"]

Array = NDArray[Any]

# A folded constant beyond this would cost more memory than the nodes that make it cost time.
_MAX_FOLDED: Final = 1 << 24

_MOVES: Final = frozenset({
    "concat", "embedding", "expand", "flatten", "gather", "gather_elements", "last", "reshape", "slice", "split",
    "squeeze", "tile", "transpose", "unsqueeze", "where",
})  # fmt: skip


def simplify(graph: Graph) -> Graph:
    """Every pass, in order. The inputs and outputs stay what they are."""
    graph = fold_constants(drop_dead(graph))
    return drop_dead(merge_batch_norm(merge_bias(graph)))


def fold_node(node: Node, inputs: Sequence[Array | None], *, max_elements: int | None = None) -> tuple[Array, ...]:
    """The outputs of a node whose inputs are known; see `fastgru.reference.evaluate` for what it raises."""
    floats = {a.dtype for a in inputs if a is not None and is_floating(a.dtype)}
    if node.op in _MOVES and len(floats) < 2:
        return evaluate(node, inputs, max_elements=max_elements)
    key = {"cast": "to", "constant_of_shape": "dtype"}.get(node.op)
    if key is not None and is_floating(numpy_dtype(node.attrs[key])):
        node = replace(node, attrs={**node.attrs, key: "float64"})
    wide = [a.astype(np.float64) if a is not None and is_floating(a.dtype) else a for a in inputs]
    return evaluate(node, wide, max_elements=max_elements)


def fold_constants(graph: Graph) -> Graph:
    """Nodes of constants become constants. One that cannot be evaluated is left, to fail when it runs."""
    constants = dict(graph.constants)
    nodes = []
    for node in graph.nodes:
        names = [name for name in node.inputs if name]
        if not names or any(name not in constants for name in names):
            nodes.append(node)
            continue
        try:
            results = fold_node(
                node, [constants[name] if name else None for name in node.inputs], max_elements=_MAX_FOLDED
            )
        except FastGRUError:
            nodes.append(node)
            continue
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


def merge_bias(graph: Graph) -> Graph:
    """A constant vector added to the outputs of a linear layer without a bias becomes its bias.

    Exporters write a layer as MatMul and Add. Only where nothing else reads what stands between the two.
    """
    constants: dict[str, Array] = dict(graph.constants)
    readers = Counter(name for node in graph.nodes for name in node.inputs)
    readers.update(spec.name for spec in graph.outputs)
    bare = {n.outputs[0]: n for n in graph.nodes if n.op == "linear" and not any(n.inputs[2:])}
    merged: dict[str, Node] = {}
    gone = set()
    for add in graph.nodes:
        if add.op != "binary" or add.attrs["kind"] != "add":
            continue
        for x, bias in (add.inputs, tuple(reversed(add.inputs))):
            linear = bare.get(x)
            if linear is None or readers[x] != 1 or bias not in constants or linear.inputs[1] not in constants:
                continue
            vector = constants[bias].reshape(-1)
            if vector.shape != constants[linear.inputs[1]].shape[:1] or constants[bias].ndim > 1:
                continue
            merged[add.outputs[0]] = replace(linear, inputs=(*linear.inputs[:2], bias), outputs=add.outputs)
            gone.add(x)
    nodes = [merged.get(n.outputs[0], n) for n in graph.nodes if n.outputs[0] not in gone]
    return replace(graph, nodes=tuple(nodes), constants=constants)


def merge_batch_norm(graph: Graph) -> Graph:
    """A batch_norm over the outputs of a linear layer goes into its weight and bias.

    Only where nothing else reads what stands between the two, all that it is made of is constant, and its axis is
    known to be the last.
    """
    constants: dict[str, Array] = dict(graph.constants)
    readers = Counter(name for node in graph.nodes for name in node.inputs)
    readers.update(spec.name for spec in graph.outputs)
    ranks = _ranks(graph)
    made_by = {name: i for i, node in enumerate(graph.nodes) for name in node.outputs}
    nodes: list[Node | None] = list(graph.nodes)
    for i, norm in enumerate(graph.nodes):
        at = made_by.get(norm.inputs[0]) if norm.op == "batch_norm" else None
        linear = None if at is None else nodes[at]
        if at is None or linear is None or linear.op != "linear" or readers[norm.inputs[0]] != 1:
            continue
        names = [*linear.inputs[1:], *norm.inputs[1:]]
        if norm.attrs["axis"] not in (-1, (ranks.get(norm.inputs[0]) or 0) - 1):
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
        return None, None  # left as it is: the plan names what does not fit
    with np.errstate(all="ignore"):
        factor = scale / np.sqrt(var + norm.attrs["epsilon"])
        merged = weight * factor[:, None], (bias - mean) * factor + shift
    return merged if all(np.isfinite(a).all() for a in merged) else (None, None)


def _ranks(graph: Graph) -> dict[str, int]:
    """The number of axes, of the values for which it follows from the operators alone."""
    ranks = {spec.name: len(spec.shape) for spec in graph.inputs if spec.shape is not None}
    ranks.update((name, array.ndim) for name, array in graph.constants.items())
    fixed = {"gru": 3, "last": 2, "flatten": 2}
    same = ("activation", "batch_norm", "clip", "layer_norm", "linear", "softmax", "transpose", "unary")
    for node in graph.nodes:
        if node.op in fixed:
            ranks.update((name, fixed[node.op]) for name in node.outputs if name)
        elif node.op in same and node.inputs[0] in ranks:
            ranks[node.outputs[0]] = ranks[node.inputs[0]]
    return ranks

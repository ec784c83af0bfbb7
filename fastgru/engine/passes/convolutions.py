"""Merge a bias, a batch normalisation or an activation into the convolution before it.

Two nodes are merged only if no other node reads the value between them, and if all parameters are constant.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from fastgru.graph import Array, Graph, Node

__all__ = ["merge_into_convolutions"]


_OPS: Final = ("conv", "conv_transpose")


def merge_into_convolutions(graph: Graph) -> Graph:
    """Merge, in order, every node whose work the convolution before it can do."""
    constants: dict[str, Array] = dict(graph.constants)
    readers = graph.readers()
    makers: dict[str, int] = {}
    nodes: list[Node | None] = list(graph.nodes)
    for i, node in enumerate(graph.nodes):
        for x in _data_inputs(node):
            at = makers.get(x)
            before = None if at is None else nodes[at]
            if at is None or before is None or readers[x] != 1:
                continue
            merged = _merged(before, node, x, constants)
            if merged is not None:
                nodes[at], nodes[i] = None, merged
                break
        kept = nodes[i]
        if kept is not None and kept.op in _OPS:
            makers[kept.outputs[0]] = i
    return replace(graph, nodes=tuple(node for node in nodes if node is not None), constants=constants)


def _data_inputs(node: Node) -> tuple[str, ...]:
    if node.op == "binary" and node.attrs["kind"] == "add":
        return node.inputs
    return node.inputs[:1] if node.op in ("activation", "batch_norm", "clip", "prelu") else ()


def _merged(conv: Node, node: Node, x: str, constants: dict[str, Array]) -> Node | None:
    """Return one node for both, or None. New parameters are added to the constants."""
    weight, *vectors = (*conv.inputs[1:], "", "", "")[:3]
    if weight not in constants or any(name and name not in constants for name in vectors):
        return None
    if constants[weight].ndim < 3 or constants[weight].dtype.kind != "f":
        return None
    ended = bool(vectors[1]) or conv.attrs.get("clamp") is not None
    others = [name for name in node.inputs if name and name != x]
    if any(name not in constants or constants[name].dtype.kind != "f" for name in others):
        return None
    if not ended and node.op == "binary" and len(others) == 1:
        return _with_bias(conv, node, constants[others[0]], constants)
    if not ended and node.op == "batch_norm" and node.attrs["axis"] in (1, 1 - constants[weight].ndim):
        return _normed(conv, node, constants)
    if vectors[1]:
        return None
    if node.op == "clip" or (node.op == "activation" and node.attrs["kind"] == "relu"):
        return None if ended else _clamped(conv, node, constants)
    if node.op == "prelu" or (node.op == "activation" and node.attrs["kind"] == "leaky_relu"):
        slope = constants[node.inputs[1]] if node.op == "prelu" else np.array(float(node.attrs.get("alpha", 0.0)))
        vector = _by_channel(slope, _outputs(conv, constants), constants[weight].ndim)
        return None if vector is None else _with_slope(conv, node, vector, constants)
    return None


def _outputs(conv: Node, constants: Mapping[str, Array]) -> int:
    weight = constants[conv.inputs[1]]
    return int(weight.shape[0] if conv.op == "conv" else weight.shape[1] * conv.attrs["group"])


def _by_channel(array: Array, O: int, rank: int) -> Array | None:
    """Return one number for each of O channels if `array`, broadcast to (N, O, ...), varies along channels only.

    rank: the number of axes of (N, O, ...). Returns None if it varies along another axis.
    """
    if array.ndim > rank:
        return None
    shape = (1,) * (rank - array.ndim) + array.shape
    if shape[1] not in (1, O) or any(n != 1 for i, n in enumerate(shape) if i != 1):
        return None
    return np.broadcast_to(array.reshape(shape[1]).astype(np.float64), (O,)).copy()


def _with_bias(conv: Node, node: Node, added: Array, constants: dict[str, Array]) -> Node | None:
    O, y = _outputs(conv, constants), node.outputs[0]
    vector = _by_channel(added, O, constants[conv.inputs[1]].ndim)
    bias = _bias(conv, O, constants)
    if vector is None or bias is None:
        return None
    constants[f"{y}/bias"] = bias + vector
    return replace(conv, inputs=(*conv.inputs[:2], f"{y}/bias"), outputs=(y,))


def _bias(conv: Node, O: int, constants: Mapping[str, Array]) -> Array | None:
    """Return the bias in float64, zeros if there is none. None: its shape does not fit, and planning reports that."""
    if len(conv.inputs) < 3 or not conv.inputs[2]:
        return np.zeros(O)
    bias = constants[conv.inputs[2]].astype(np.float64)
    return bias if bias.shape == (O,) else None


def _normed(conv: Node, node: Node, constants: dict[str, Array]) -> Node | None:
    O, y = _outputs(conv, constants), node.outputs[0]
    bias, weight = _bias(conv, O, constants), constants[conv.inputs[1]].astype(np.float64)
    scale, shift, mean, var = (constants[name].astype(np.float64) for name in node.inputs[1:])
    if bias is None or any(a.shape != (O,) for a in (scale, shift, mean, var)):
        return None
    with np.errstate(all="ignore"):
        factor = scale / np.sqrt(var + node.attrs["epsilon"])
        shifted = (bias - mean) * factor + shift
        if conv.op == "conv":
            scaled = weight * factor.reshape(-1, *[1] * (weight.ndim - 1))
        else:
            group = int(conv.attrs["group"])
            parts = weight.reshape(group, -1, *weight.shape[1:])
            along = factor.reshape(group, 1, -1, *[1] * (weight.ndim - 2))
            scaled = (parts * along).reshape(weight.shape)
    if not (np.isfinite(scaled).all() and np.isfinite(shifted).all()):
        return None
    constants[f"{y}/weight"], constants[f"{y}/bias"] = scaled, shifted
    return replace(conv, inputs=(conv.inputs[0], f"{y}/weight", f"{y}/bias"), outputs=(y,))


def _clamped(conv: Node, node: Node, constants: Mapping[str, Array]) -> Node | None:
    if node.op == "activation":
        clamp: list[float | None] = [0.0, None]
    else:
        bounds = [constants[name] if name else None for name in (*node.inputs[1:], "", "")[:2]]
        if any(b is not None and b.size != 1 for b in bounds):
            return None
        clamp = [None if b is None else float(b.reshape(())) for b in bounds]
        if any(b is not None and not np.isfinite(b) for b in clamp):
            return None
    return replace(conv, attrs={**conv.attrs, "clamp": clamp}, outputs=node.outputs)


def _with_slope(conv: Node, node: Node, slope: Array, constants: dict[str, Array]) -> Node:
    y = node.outputs[0]
    constants[f"{y}/slope"] = slope
    inputs = (*conv.inputs, "")[:3]
    return replace(conv, inputs=(*inputs, f"{y}/slope"), outputs=(y,))

"""Matrices that stay in int8, with a scale for each output: constants behind a `dequantize`, read as weights only."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from fastgru.engine.buffers import ConstantRows
from fastgru.graph import Array, Graph, Node, inlined
from fastgru.packing.quantise import QuantisedRows
from fastgru.reference.facts import weights
from fastgru.reference.operator import is_floating
from fastgru.spec import RECURRENT

__all__ = ["kept_rows", "matrix_shapes", "weight_axes"]


_LEAST: Final = -127  # the range of int8 kernels is symmetric


def weight_axes(node: Node) -> dict[str, int]:
    """Return the matrices among the inputs of a node that has weights, with the axis along which their outputs lie."""
    axes = weights(node.op, node.attrs, len(node.inputs))
    return {node.inputs[i]: axis for i, axis in axes.items() if axis is not None and node.inputs[i]}


def matrix_shapes(graph: Graph) -> dict[str, tuple[int, ...]]:
    """Return the shapes of floating-point constants and of dequantised constants."""
    shapes = {name: tuple(a.shape) for name, a in graph.constants.items() if is_floating(a.dtype)}
    for node in inlined(graph.nodes):
        if node.op == "dequantize" and node.inputs[0] in graph.constants and node.inputs[1] in graph.constants:
            shapes[node.outputs[0]] = tuple(graph.constants[node.inputs[0]].shape)
    return shapes


def kept_rows(graph: Graph) -> dict[str, ConstantRows]:
    """Return, by name, the matrices that int8 kernels can take as they are.

    They are symmetric, have one scale for each output, and are read only as weights of GEMMs, GRUs and embeddings.
    """
    readers: dict[str, set[int | None]] = {spec.name: {None} for spec in graph.outputs}
    nodes = list(inlined(graph.nodes))
    for node in nodes:
        axes = weight_axes(node) if node.op not in RECURRENT or node.op == "gru" else {}
        for i, name in enumerate(node.inputs):
            readers.setdefault(name, set()).add(axes.get(name) if i else None)
    found = {}
    for node in nodes:
        axes_read = readers.get(node.outputs[0], set()) if node.op == "dequantize" else set()
        axis = next(iter(axes_read)) if len(axes_read) == 1 else None
        rows = None if axis is None else _rows(node, graph.constants, axis)
        if rows is not None:
            found[node.outputs[0]] = ConstantRows(rows, node.outputs[0], by_columns=axis == 1)
    return found


def _rows(node: Node, constants: Mapping[str, Array], axis: int) -> QuantisedRows | None:
    arrays = [constants.get(name) for name in node.inputs if name]
    q, scale, *zero_point = arrays
    if q is None or scale is None or any(z is None or z.any() for z in zero_point):
        return None
    if q.dtype != np.int8 or q.ndim != 2 or node.attrs.get("block_size", 0) or not is_floating(scale.dtype):
        return None
    outputs = q.shape[axis]
    if scale.size == 1:
        scale = np.broadcast_to(scale.reshape(()), (outputs,))
    elif scale.shape != (outputs,) or node.attrs.get("axis", 1) not in (axis, axis - 2):
        return None
    single = np.ascontiguousarray(scale, np.float32)
    if not (np.isfinite(single) & (single >= 0)).all() or q.min(initial=0) < _LEAST:
        return None
    return QuantisedRows(q.T if axis else q, single)

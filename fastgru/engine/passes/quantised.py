"""Turn GEMMs of quantised values with quantised weights into GEMMs of integers that are scaled once at the end.

    (q - zero) s (w s_o)^T + b   becomes   ((q - zero) w^T) * (s s_o) + b

Files write such a layer as a GEMM of floats between nodes that quantise and dequantise, and leave the rest to runtimes.
The sums of integers are exact, and the weights take a quarter of the bytes. Weights that were dequantised when the file
was read are recognised by their values (`fastgru.reference.grid`).
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

import numpy as np

from fastgru.engine.passes.bodies import change_bodies
from fastgru.engine.passes.folding import drop_dead
from fastgru.graph import PRODUCT_DTYPES, Array, Graph, Node
from fastgru.reference.grid import integer_rows
from fastgru.reference.operator import is_floating

__all__ = ["merge_quantised"]

_LEAST_WEIGHTS: Final = 1 << 12  # a smaller GEMM is too short for bytes to save time


def merge_quantised(graph: Graph, kept: Collection[str] = ()) -> Graph:
    """Replace linear layers and GEMMs with a constant matrix whose factors are both dequantised 8-bit integers.

    kept: the first outputs of nodes that must not change.
    """
    graph = change_bodies(graph, partial(merge_quantised, kept=kept))
    constants: dict[str, Array] = dict(graph.constants)
    made_by = {name: node for node in graph.nodes for name in node.outputs if name}
    dtypes = {spec.name: spec.dtype for spec in graph.inputs}
    used = {*constants, *made_by, *dtypes}
    nodes: list[Node] = []
    for node in graph.nodes:
        is_gemm = node.op in ("linear", "matmul") and node.outputs[0] not in kept
        source = made_by.get(node.inputs[0]) if is_gemm else None
        found = None if source is None else _factors(source, node, constants, made_by, dtypes)
        y = node.outputs[0]
        names = {role: f"{y}/{role}" for role in ("integers", "steps", "sums", "floats", "scaled")}
        if source is None or found is None or used.intersection(names.values()):
            nodes.append(node)
            continue
        constants[names["integers"]], constants[names["steps"]] = found
        zero = source.inputs[2:3]
        bias = node.inputs[2:3] if any(node.inputs[2:3]) else ()
        scaled = names["scaled"] if bias else y
        steps: list[tuple[str, tuple[str, ...], str, dict[str, Any]]] = [
            ("matmul_integer", (source.inputs[0], names["integers"], *zero), names["sums"], {}),
            ("cast", (names["sums"],), names["floats"], {"to": "float32"}),
            ("binary", (names["floats"], names["steps"]), scaled, {"kind": "mul"}),
        ]
        if bias:
            steps.append(("binary", (scaled, *bias), y, {"kind": "add"}))
        nodes += [Node(op, inputs, (out,), attrs, node.name or y) for op, inputs, out, attrs in steps]
    return drop_dead(replace(graph, nodes=tuple(nodes), constants=constants))


def _factors(
    source: Node, node: Node, constants: Mapping[str, Array], made_by: Mapping[str, Node], dtypes: Mapping[str, str]
) -> tuple[Array, Array] | None:
    """Return the integer weights (K, O) and the scale of each output; None if a factor is not dequantised integers."""
    if source.op != "dequantize" or source.inputs[0] in constants or source.attrs.get("block_size"):
        return None
    by, zero = constants.get(source.inputs[1]), (*source.inputs[2:3], "")[0]
    if by is None or by.size != 1 or (zero and (zero not in constants or constants[zero].size != 1)):
        return None
    before = made_by.get(source.inputs[0])
    dtype = dtypes.get(source.inputs[0])
    if zero:
        dtype = constants[zero].dtype.name
    elif before is not None:
        dtype = before.attrs.get("to", "uint8") if before.op == "quantize" else None
    weight = constants.get(node.inputs[1])
    if dtype not in PRODUCT_DTYPES or weight is None or weight.ndim != 2 or not is_floating(weight.dtype):
        return None
    if weight.size < _LEAST_WEIGHTS:
        return None
    rows = integer_rows(np.asarray(weight if node.op == "linear" else weight.T, np.float32))
    if rows is None:
        return None
    q, scale = rows
    return np.ascontiguousarray(q.T), (scale.astype(np.float64) * float(by.reshape(-1)[0])).astype(np.float32)

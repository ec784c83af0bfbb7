"""A graph whose weights are kept lowp: as it is saved, and as it is read again without making floats of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgru.engine.passes import drop_dead, settle
from fastgru.engine.passes.rows import kept_rows, weight_axes
from fastgru.engine.precision import node_name
from fastgru.graph import Graph, Node
from fastgru.packing.quantise import quantise_rows, round_bfloat16

__all__ = ["with_lowp_weights"]

Array = NDArray[Any]


def with_lowp_weights(graph: Graph, lowp: Mapping[str, str]) -> Graph:
    """The graph with the weights of nodes, by their first outputs, in the low precisions chosen for them.

    Constants are computed and biases and norms merged, as they are before a plan: what is rounded is what a plan would
    round, so both give the same bits. int8: the rows, and a `dequantize` of them; bfloat16: constants of that dtype.
    """
    return _Shrinking(settle(graph, keep_rows=True)).done(lowp)


class _Shrinking:
    def __init__(self, graph: Graph) -> None:
        self._graph, self._rows = graph, kept_rows(graph)
        self._constants: dict[str, Array] = dict(graph.constants)
        self._taken = {*graph.constants, *(name for node in graph.nodes for name in (*node.inputs, *node.outputs))}
        self._made: dict[tuple[str, str, int], str] = {}
        self._nodes: list[Node] = []

    def done(self, lowp: Mapping[str, str]) -> Graph:
        for node in self._graph.nodes:
            precision = lowp.get(node_name(node))
            if precision is not None:
                names = {name: self._smaller(name, precision, axis) for name, axis in weight_axes(node).items()}
                node = replace(node, inputs=tuple(names.get(name, name) for name in node.inputs))
            self._nodes.append(node)
        made = replace(self._graph, nodes=tuple(self._nodes), constants=self._constants, precisions=dict(lowp))
        return _singles(drop_dead(made))

    def _smaller(self, name: str, precision: str, axis: int) -> str:
        """The name of the matrix in a precision."""
        rows = self._rows.get(name)
        if rows is not None and precision == "int8":
            return name
        key = (name, precision, axis)
        if key not in self._made:
            matrix = self._constants[name] if rows is None else rows.array
            self._made[key] = self._int8(name, matrix, axis) if precision == "int8" else self._bfloat16(name, matrix)
        return self._made[key]

    def _bfloat16(self, name: str, matrix: Array) -> str:
        import ml_dtypes

        return self._constant(f"{name}/bfloat16", round_bfloat16(matrix).view(ml_dtypes.bfloat16))

    def _int8(self, name: str, matrix: Array, axis: int) -> str:
        q, scale = quantise_rows(matrix.T if axis else matrix)
        inputs = (
            self._constant(f"{name}/int8", np.ascontiguousarray(q.T if axis else q)),
            self._constant(f"{name}/scale", scale),
        )
        output = self._free(f"{name}/dequantized")
        self._nodes.append(Node("dequantize", inputs, (output,), {"axis": axis}))
        return output

    def _constant(self, hint: str, array: Array) -> str:
        name = self._free(hint)
        self._constants[name] = array
        return name

    def _free(self, hint: str) -> str:
        name, number = hint, 1
        while name in self._taken:
            number += 1
            name = f"{hint}_{number}"
        self._taken.add(name)
        return name


def _singles(graph: Graph) -> Graph:
    """Matrices that were computed in float64, as the float32 that they are packed in."""
    reads = graph.readers()
    as_weights = Counter(name for node in graph.nodes for name in weight_axes(node))
    constants = {
        name: a.astype(np.float32) if a.dtype == np.float64 and as_weights[name] == reads[name] else a
        for name, a in graph.constants.items()
    }
    return replace(graph, constants=constants)

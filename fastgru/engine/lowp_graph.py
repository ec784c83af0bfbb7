"""Graphs whose weights are kept in low precision: they are saved so, and read again without conversion to floats."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgru.engine.passes import drop_dead, settle
from fastgru.engine.passes.bodies import change_bodies
from fastgru.engine.passes.rows import kept_rows, weight_axes
from fastgru.engine.precision import node_name
from fastgru.graph import Graph, Node, inlined
from fastgru.graphbuilder import GraphBuilder, Value
from fastgru.modules import late
from fastgru.packing.quantise import quantise_rows, round_bfloat16

__all__ = ["with_lowp_weights"]

Array = NDArray[Any]


def with_lowp_weights(graph: Graph, lowp: Mapping[str, str]) -> Graph:
    """Return the graph with the weights of nodes in low precisions.

    lowp: the precision of a node's weights, by its first output.

    Constants are computed, and biases and norms merged, as they are before a plan is made. What is rounded here is
    therefore what a plan would round, and both give the same bits. int8 weights become rows and a `dequantize` of them,
    bfloat16 weights constants of that dtype.
    """
    graph = settle(graph, keep_rows=True)
    weights = _LowpWeights(graph)
    builder, values = weights.builder, weights.values
    for node in graph.nodes:
        given = {name: values[name] for name in node.inputs if name}
        if precision := lowp.get(node_name(node)):
            given |= {name: weights.lowered(name, precision, axis) for name, axis in weight_axes(node).items()}
        changed, added = weights.within(node, {}, lowp)
        read = [*(given.get(name) for name in node.inputs), *added.values()]
        written = builder.add_many(node.op, read, node.outputs, changed.attrs, label=node.name)
        values.update(zip(node.outputs, written, strict=True))
    inputs, outputs = ({spec.name: values[spec.name] for spec in group} for group in (graph.inputs, graph.outputs))
    made = builder.graph(inputs, outputs, names=values.items())
    return _singles(_without_unread(replace(graph, nodes=made.nodes, constants=made.constants, precisions=dict(lowp))))


class _LowpWeights:
    """The weights of a graph in the precisions that nodes ask for. Each is made once."""

    def __init__(self, graph: Graph) -> None:
        self.builder = GraphBuilder()
        self.values = self.builder.read(graph)
        self._graph, self._rows = graph, kept_rows(graph)
        self._made: dict[tuple[str, str, int], Value] = {}

    def lowered(self, name: str, precision: str, axis: int) -> Value:
        """Return the matrix `name`, whose outputs lie along `axis`, in a precision."""
        rows = self._rows.get(name)
        if rows is not None and precision == "int8":
            return self.values[name]
        key = (name, precision, axis)
        if key not in self._made:
            matrix = self._graph.constants[name] if rows is None else rows.array
            self._made[key] = self._int8(name, matrix, axis) if precision == "int8" else self._bfloat16(name, matrix)
        return self._made[key]

    def within(self, node: Node, names: Mapping[str, str], lowp: Mapping[str, str]) -> tuple[Node, dict[str, Value]]:
        """Return the node with the weights of its bodies lowered, and the values to capture for them, by inner name.

        names: the names of captured values in the graph of the weights, by their names around the node.
        """
        added: dict[str, Value] = {}
        bodies = {}
        for key, body in node.bodies.items():
            outside = [names.get(name, name) for name in body.outside(node)]
            inner, nodes = dict(zip(body.captured, outside, strict=True)), []
            for each in body.nodes:
                lowered, further = self.within(each, inner, lowp)
                added |= further
                reads = [*each.inputs, *further]
                for name, axis in weight_axes(each).items() if (precision := lowp.get(node_name(each))) else ():
                    new = f"{name}/as {precision}"
                    added[new] = self.lowered(inner[name], precision or "", axis)
                    reads = [new if read == name else read for read in reads]
                nodes.append(replace(lowered, inputs=tuple(reads)))
            bodies[key] = replace(body, nodes=tuple(nodes))
        bodies = {key: replace(body, captured=(*body.captured, *added)) for key, body in bodies.items()}
        return (replace(node, attrs={**node.attrs, **bodies}) if added else node), added

    def _bfloat16(self, name: str, matrix: Array) -> Value:
        return self.builder.constant(round_bfloat16(matrix).view(late("ml_dtypes").bfloat16), f"{name}/bfloat16")

    def _int8(self, name: str, matrix: Array, axis: int) -> Value:
        q, scale = quantise_rows(matrix.T if axis else matrix)
        rows = self.builder.constant(np.ascontiguousarray(q.T if axis else q), f"{name}/int8")
        factors = self.builder.constant(scale, f"{name}/scale")
        return self.builder.add("dequantize", [rows, factors], f"{name}/dequantized", {"axis": axis})


def _without_unread(graph: Graph) -> Graph:
    """Return the graph without captured values that bodies no longer read."""
    return drop_dead(change_bodies(graph, _without_unread))


def _singles(graph: Graph) -> Graph:
    """Return the graph with float64 constants that are read only as weights in float32, from which they are packed."""
    every = replace(graph, nodes=tuple(inlined(graph.nodes)))
    reads, as_weights = every.readers(), Counter(name for node in every.nodes for name in weight_axes(node))
    constants = {
        name: a.astype(np.float32) if a.dtype == np.float64 and as_weights[name] == reads[name] else a
        for name, a in graph.constants.items()
    }
    return replace(graph, constants=constants)

"""Compute the GRUs of any graph natively, and all other nodes by the definitions."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastgru.arrays import Array
from fastgru.graph import Graph, Node
from fastgru.learn.gru import GRULayer
from fastgru.learn.parts import Kept, Weights
from fastgru.learn.rows import Native
from fastgru.reference.evaluate import evaluate
from fastgru.reference.gradients import pull_back
from fastgru.reference.gradients.registry import Gradients

__all__ = ["Nodes"]


class Nodes:
    """`compute` and `pull_back` for every node. A GRU whose weights are constants of the graph is computed natively.

    The gradients of those weights are added to `weights`. The states of layers that have no input for them are carried
    from one window to the next with `states` and `begin`.
    """

    def __init__(self, native: Native, weights: Weights, graph: Graph, gate_bytes: int | None) -> None:
        self.native, self.kept, self._inputs = native, Kept(native), {spec.name for spec in graph.inputs}
        self.layers: dict[str, GRULayer] = {}
        for node in graph.nodes:
            if node.op == "gru" and node.outputs[0] and all(not n or n in weights.arrays for n in node.inputs[4:]):
                self.layers[node.outputs[0]] = GRULayer(native, weights, node, None)
        for layer in self.layers.values():
            layer.bound(None if gate_bytes is None else gate_bytes // len(self.layers))
        of_their_own = [n for n in graph.nodes if n.outputs[0] in self.layers and n.inputs[1] not in graph.states]
        self._carried = [node.outputs[0] for node in of_their_own]
        self._begin: dict[str, Array] = {}

    def begin(self, states: Sequence[Array] | None, reset: Array | None) -> None:
        """Set the states that have no input; None for the initial ones. reset: (N,), rows that begin from zeros."""
        self._begin = {} if states is None else dict(zip(self._carried, states, strict=True))
        self._reset = reset

    def states(self) -> list[Array]:
        return [self.layers[name].h_n.copy() for name in self._carried]

    def compute(self, node: Node, inputs: Sequence[Array | None]) -> tuple[Array, ...]:
        """Return the outputs of a node, as `reference.evaluate` does."""
        layer = self.layers.get(node.outputs[0])
        if layer is None:
            return evaluate(node, inputs)
        x, h0, lengths, mask = [*inputs[:4], None, None, None][:4]
        assert x is not None
        if layer.spec.batch_first:
            x, mask = x.swapaxes(0, 1), None if mask is None else mask.swapaxes(0, 1)
        T, N, I = x.shape
        layer.h0 = self._begin.get(node.outputs[0], h0)
        if node.outputs[0] in self._carried and self._reset is not None and layer.h0 is not None:
            layer.h0 = np.where(self._reset[:, None], 0, layer.h0)
        layer.lengths, layer.mask = lengths, None if mask is None else mask.astype(bool)
        rows = self.kept(f"x {node.outputs[0]}", T * N, self.native.padded(I))
        rows[:, :I] = x.reshape(T * N, I)
        y = np.array(layer.forward(rows, T, N)[:, : layer.size]).reshape(T, N, layer.size)
        return (y.swapaxes(0, 1) if layer.spec.batch_first else y), layer.h_n.copy()

    def pull_back(self, node: Node, inputs: Sequence[Any], outputs: Sequence[Array], ups: Sequence[Array]) -> Gradients:
        """Return dE by each input of a node, as `reference.gradients` does; None for the weights of a native GRU."""
        layer = self.layers.get(node.outputs[0])
        if layer is None:
            return pull_back(node, inputs, outputs, ups)
        dy = ups[0].swapaxes(0, 1) if layer.spec.batch_first else ups[0]
        up = self.kept(f"up {node.outputs[0]}", layer.T * layer.N, self.native.padded(layer.size))
        up[:, : layer.size] = dy.reshape(layer.T * layer.N, layer.size)
        rows = layer.back(up, deeper=node.inputs[0] not in self._inputs, d_last=ups[1] if len(ups) > 1 else None)
        dx = None
        if rows is not None:
            dx = rows[:, : layer.inputs].reshape(layer.T, layer.N, layer.inputs)
            dx = dx.swapaxes(0, 1) if layer.spec.batch_first else dx
        own = node.outputs[0] in self._begin  # no gradient goes back into the previous window
        return [dx, None if own else layer.d_h0, *[None] * (len(inputs) - 2)]

"""A network that learns natively: a graph whose nodes are a chain of parts, with the loss at its end."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from fastgru.arrays import Array
from fastgru.errors import UnsupportedModelError
from fastgru.graph import Graph, Node
from fastgru.kernels.operands.learn import ENTROPY
from fastgru.learn.gru import GRULayer
from fastgru.learn.network import weight_names
from fastgru.learn.parts import Defined, Embedding, Kept, Linear, Part, Weights
from fastgru.learn.rows import Native, words_of
from fastgru.spec import GRUSpec

__all__ = ["Chain", "why_not"]

_OF_A_STEP: Final = frozenset({"activation", "layer_norm", "unary"})
_FAR_BELOW: Final = -3e38  # the logit of a padding column, which is no class


def why_not(graph: Graph) -> str | None:
    """Return why a graph is no chain of parts that learn natively, None if it is one."""
    value = next((spec.name for spec in graph.inputs if spec.name not in graph.states), None)
    batch_first: set[bool] = set()
    for i, node in enumerate(graph.nodes):
        if not node.inputs or node.inputs[0] != value:
            return f"{node} does not read what is before it alone"
        constants = [name for name in node.inputs[1:] if name and name not in graph.states]
        if any(name not in graph.constants for name in constants):
            return f"{node} reads {', '.join(name for name in constants if name not in graph.constants)}"
        if node.op == "gru":
            if any(name for name in node.inputs[1:4] if name and name not in graph.states):
                return f"{node} reads lengths, a mask, or an initial state of its own"
            if not all(name in graph.constants for name in node.inputs[4:6]):
                return f"{node} has no weights of its own"
            batch_first.add(GRUSpec.from_dict(node.attrs["spec"]).batch_first)
        elif node.op in _OF_A_STEP:
            if node.op == "layer_norm" and node.attrs["axis"] not in (-1, 2):
                return f"{node} goes over more than the last axis"
        elif node.op != "linear" and not (node.op == "embedding" and i == 0):
            return f"{node} has no native gradient"
        value = node.outputs[0]
    if len(batch_first) != 1:
        return "it has no GRU" if not batch_first else "its layers have the batch on different axes"
    return None if value == graph.outputs[0].name else "its output is not that of its last node"


class Chain:
    """The parts of a graph with their weights, and their passes. Raises `UnsupportedModelError` if it is no chain.

    After the first batch of a shape, a step allocates no large arrays.

    gate_bytes: how many bytes the kept gates of all layers may take. For steps beyond that, only the states are kept,
        and the gates are computed again.
    train: the weights whose gradients are wanted, None for all. The backward pass ends at the first part with such a
        weight.
    """

    def __init__(
        self,
        graph: Graph,
        dtype: str = "float32",
        threads: int = 1,
        gate_bytes: int | None = None,
        train: Sequence[str] | None = None,
    ) -> None:
        if (reason := why_not(graph)) is not None:
            raise UnsupportedModelError(f"the network does not learn natively: {reason}")
        self.native = Native(dtype, threads)
        arrays = {name: np.asarray(graph.constants[name]) for name in weight_names(graph)}
        self.weights = Weights(self.native, arrays)
        self.parts: list[Part] = []
        for k, node in enumerate(graph.nodes):
            self.parts.append(self._part(node, last=k == len(graph.nodes) - 1))
        self.layers = [part for part in self.parts if isinstance(part, GRULayer)]
        for layer in self.layers:
            layer.bound(None if gate_bytes is None else gate_bytes // len(self.layers))
        self.batch_first = self.layers[0].spec.batch_first
        asked = set(weight_names(graph) if train is None else train)
        self.first = next((k for k, node in enumerate(graph.nodes) if asked.intersection(node.inputs)), len(self.parts))
        self.kept = Kept(self.native)

    def _part(self, node: Node, *, last: bool) -> Part:
        if node.op == "embedding":
            return Embedding(self.native, self.weights, node)
        if node.op == "linear":
            return Linear(self.native, self.weights, node, _FAR_BELOW if last else 0)
        if node.op == "gru":
            before = self.parts[-1] if self.parts else None
            return GRULayer(self.native, self.weights, node, before if isinstance(before, Embedding) else None)
        if not self.parts:
            raise UnsupportedModelError(f"the network does not learn natively: {node} is its first node")
        return Defined(self.native, self.weights, node, self.parts[-1].size)

    def forward(self, x: Array, flags: Array | None = None, lengths: Array | None = None) -> Array:
        """Return the output as rows (T N, padded C). x: (T, N, I), or ids (T, N), time first.

        flags: (T, N) uint8, `HIDDEN` and `RESET` of `kernels.operands.learn`, or None. lengths: (N,), or None.
        """
        T, N = x.shape[:2]
        self.T, self.N = T, N
        value = self._rows(x)
        for layer in self.layers:
            layer.flags, layer.lengths = flags, lengths
        parts = self.parts
        self.tabled = False
        if isinstance(parts[0], Embedding):
            second = parts[1] if len(parts) > 1 else None
            self.tabled = isinstance(second, GRULayer) and 2 * len(parts[0].weight) <= T * N
        for k, part in enumerate(parts):
            if k == 0 and self.tabled:
                continue
            value = part.forward(value, T, N)
        return value

    def back(self, up: Array) -> None:
        """Add to the gradients of the weights, from dE by the output's rows."""
        value: Array | None = up
        first = max(self.first, 1) if self.tabled else self.first  # a GRU with a table stands for the embedding too
        for k in reversed(range(first, len(self.parts))):
            assert value is not None
            value = self.parts[k].back(value, deeper=k > first)

    def _rows(self, x: Array) -> Array:
        T, N = x.shape[:2]
        if x.ndim == 2:
            return np.ascontiguousarray(x, np.int64).reshape(T * N)
        wide = self.native.padded(x.shape[2])
        rows = self.kept("x", T * N, wide)
        rows.reshape(T, N, wide)[:, :, : x.shape[2]] = x
        return rows

    def entropy(self, rows: Array, targets: Array, scale: float) -> Array:
        """Return E of each place (T, N), in float64, from rows of logits, which are overwritten by their gradients.

        targets: (T, N) classes; places with a negative one do not count.
        """
        count, native = len(rows), self.native
        flat = np.ascontiguousarray(targets, np.int64).reshape(-1)
        totals, rights = self.kept("totals", count), self.kept("rights", count)
        factor = np.array([scale], native.dtype)
        words = words_of(
            ENTROPY, logits=rows, columns=rows.shape[1], targets=flat, totals=totals, rights=rights, scale=factor
        )
        native.call("entropy", words, count, count * rows.shape[1] >> 14)
        each = np.log(totals[:count].astype(np.float64)) - rights[:count]
        return np.where(flat >= 0, each, 0).reshape(targets.shape) * scale

    def states(self) -> list[Array]:
        """Return the state of each layer after the last step, (D, N, H)."""
        return [layer.h_n.copy() for layer in self.layers]

    def begin(self, states: Sequence[Array] | None) -> None:
        """Set the states with which the layers begin the next call, None for zeros."""
        for k, layer in enumerate(self.layers):
            layer.h0 = None if states is None else states[k]

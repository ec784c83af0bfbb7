"""Learners of a fit: they compute the loss of a window, its gradients in one array, and the states after it.

`NativeLearner` runs a chain of native parts. `DefinedLearner` runs any network whose operators have gradients: its GRUs
natively, all other nodes by the definitions. Windows are time first, (T, N, ...). States are a list with (D, N, H) for
each layer.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from fastgru.arrays import Array
from fastgru.errors import UnsupportedModelError
from fastgru.graph import Graph
from fastgru.kernels.operands.learn import RESET
from fastgru.learn.backward import backward, forward
from fastgru.learn.chain import Chain
from fastgru.learn.losses import Loss, check_targets, cross_entropy
from fastgru.learn.network import time_axis_of, weight_names
from fastgru.learn.nodes import Nodes
from fastgru.learn.options import Asked
from fastgru.learn.parts import Linear, Weights
from fastgru.learn.rows import Native
from fastgru.learn.windows import Window
from fastgru.spec import RECURRENT, RecurrentSpec, spec_of
from fastgru.streaming.batch import find_batch_axes

__all__ = ["DefinedLearner", "Learner", "NativeLearner"]


class Learner(Protocol):
    """The weights of a network, and `run`, which computes the loss of a window."""

    native: Native
    weights: Weights
    timed: bool  # whether the output has steps
    kernels: bool  # whether its GRUs are computed natively

    def run(self, window: Window, states: Sequence[Array] | None, *, learn: bool) -> tuple[float, int, list[Array]]:
        """Return the sum of E over the places that count, the number of these places, and the states after the window.

        learn: replace the gradients in `weights` by those of the mean of E.
        """


def _counted(shape: tuple[int, ...], mask: Array | None) -> Array:
    return np.ones(shape, bool) if mask is None else np.broadcast_to(mask, shape)


class NativeLearner:
    """The learner of a graph that is a chain (`learn.chain`). Raises `UnsupportedModelError` if it is none."""

    def __init__(self, graph: Graph, loss: Loss, asked: Asked, names: Sequence[str]) -> None:
        self.chain, self.loss = Chain(graph, asked.dtype, asked.threads, asked.gate_bytes, names), loss
        self.native, self.weights, self.timed = self.chain.native, self.chain.weights, True
        self.kernels = True

    def run(self, window: Window, states: Sequence[Array] | None, *, learn: bool) -> tuple[float, int, list[Array]]:
        chain, last = self.chain, self.chain.parts[-1]
        chain.begin(states)
        flags = None if window.reset is None else np.ascontiguousarray(window.reset * RESET, np.uint8)
        rows = chain.forward(window.x, flags)
        T, N = window.x.shape[:2]
        counted = _counted((T, N), window.mask)
        targets = check_targets(self.loss, window.targets, (T, N, last.size), counted)
        count = int(counted.sum())
        scale = 1 / max(count, 1)
        if self.loss is cross_entropy and targets.dtype.kind in "iu" and isinstance(last, Linear):
            each = chain.entropy(rows, np.where(counted, targets, -1), scale) / scale
            up = rows
        else:
            y = rows[:, : last.size].reshape(T, N, last.size)
            each, slope = self.loss(y, targets)
            each = np.where(counted, each, 0)
            up = chain.kept("up", *rows.shape)
            up[:, : last.size] = (np.where(counted[..., None], slope, 0) * scale).reshape(T * N, -1)
        if learn:
            self.weights.flat_gradient[...] = 0
            chain.back(up)
        return float(each.sum(dtype=np.float64)), count, chain.states()


class DefinedLearner:
    """The learner of any graph whose nodes have gradients, with its states as inputs. GRUs are computed natively."""

    def __init__(self, graph: Graph, loss: Loss, asked: Asked, names: Sequence[str], output: str) -> None:
        self.graph, self.loss, self.dtype, self.names = graph, loss, asked.dtype, names
        self.native = Native(asked.dtype, asked.threads)
        self.weights = Weights(self.native, {name: np.asarray(graph.constants[name]) for name in weight_names(graph)})
        self.nodes = Nodes(self.native, self.weights, graph, asked.gate_bytes)
        self.kernels = bool(self.nodes.layers)
        self.specs = [spec for spec in graph.inputs if spec.name in graph.states]
        forms: list[RecurrentSpec] = [spec_of(n.op, n.attrs) for n in graph.nodes if n.op in RECURRENT]
        self.batch_first = bool(forms) and forms[0].batch_first
        x = next(spec.name for spec in graph.inputs if spec not in self.specs)
        names_of_states = [spec.name for spec in self.specs]
        self.rows = find_batch_axes(graph, [x, *names_of_states], {x: int(not self.batch_first)})
        self.output = output
        sizes = {s.name: tuple(7 + k if n is None else n for k, n in enumerate(s.shape or ())) for s in graph.inputs}
        samples = {name: np.broadcast_to(np.zeros(1), shape) for name, shape in sizes.items()}
        self.timed = time_axis_of(graph, self.output, samples) is not None

    def _transposed(self, a: Array) -> Array:
        return a.swapaxes(0, 1) if self.batch_first else a

    def _by_row(self, reset: Array, name: str, shape: tuple[int, ...]) -> Array:
        """Return `reset` (N,) along the batch axis of a state. Raises `UnsupportedModelError` if it is not known."""
        axis = self.rows[name]
        if axis is None:
            axes = [k for k, n in enumerate(shape) if n == len(reset)]
            if len(axes) != 1 and len(reset) > 1:
                raise UnsupportedModelError(
                    f"reset: the batch axis of the state {name!r} {shape} is not known; give data as a list"
                )
            axis = axes[0] if axes else 0
        return reset.reshape([-1 if k == axis else 1 for k in range(len(shape))])

    def run(self, window: Window, states: Sequence[Array] | None, *, learn: bool) -> tuple[float, int, list[Array]]:
        N = window.x.shape[1]
        if window.reset is not None and window.reset[1:].any():
            raise UnsupportedModelError(
                "reset: this network can reset a row only at the first step of a window; cut windows where rows begin,"
                " or use layers one after the other"
            )
        feeds: dict[str, Any] = {
            next(s.name for s in self.graph.inputs if s not in self.specs): self._transposed(window.x)
        }
        for k, spec in enumerate(self.specs):
            shape = tuple(N if n is None else n for n in spec.shape or ())
            h = np.zeros(shape, self.dtype) if states is None else states[k]
            if window.reset is not None and window.reset[0].any():
                h = np.where(self._by_row(window.reset[0], spec.name, h.shape), 0, h)
            feeds[spec.name] = h
        graph = replace(self.graph, constants={**self.graph.constants, **self.weights.arrays})
        own = None if states is None else states[len(self.specs) :]
        self.nodes.begin(own, None if window.reset is None else window.reset[0])
        values = forward(graph, feeds, self.dtype, self.nodes)
        y = values[self.output]
        timed = self.timed
        shape = window.x.shape[:2] if timed else y.shape[:-1]
        counted = _counted(shape, window.mask)
        out = self._transposed(y) if timed else y
        targets = check_targets(self.loss, window.targets, out.shape, counted)
        each, slope = self.loss(out, targets)
        count = int(counted.sum())
        if learn:
            up = np.where(counted[..., None], slope, 0) / max(count, 1)
            self.weights.flat_gradient[...] = 0
            ups = {self.output: self._transposed(up) if timed else up}
            found = backward(graph, values, ups, self.nodes, self.names)
            for name, gradient in self.weights.gradients.items():
                gradient += found.get(name, 0)
        after = [values[self.graph.states[spec.name]].copy() for spec in self.specs] + self.nodes.states()
        return float(np.where(counted, each, 0).sum(dtype=np.float64)), count, after

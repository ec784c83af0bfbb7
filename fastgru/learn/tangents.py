"""The step of a whole model, from its states and one frame to its next states and outputs, and the derivative of it.

A state is the vector of all floating-point numbers that a model carries: those of a GRU, of another recurrent layer, or
of the cache of a convolution. A derivative along a direction is a central difference in float64, accurate to six to
nine digits. It needs no gradient of any operator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np

from fastgru.arrays import Array
from fastgru.errors import FastGRUError, UnsupportedModelError
from fastgru.graph import Graph, Node, TensorSpec
from fastgru.learn.frames import Frame, Frames
from fastgru.model import Model
from fastgru.reference.evaluate import evaluate, with_plain_weights
from fastgru.reference.facts import infer_graph

__all__ = ["Point", "Step", "differentiable"]

_STEP: Final = 1e-5  # length of a step of the differences
_ROWS: Final = 512  # the most in one call
_ROUNDED: Final = frozenset({"quantize", "dynamic_quantize", "matmul_integer", "conv_integer"})


def differentiable(graph: Graph, names: Sequence[str]) -> tuple[Graph, dict[str, Node]]:
    """Return the graph with dequantised weights and without the embeddings of its inputs, and these {input: node}.

    An input of ids is replaced by an input of their embedding vectors, by which there is a derivative. Raises
    `UnsupportedModelError` if the graph rounds values to integers.
    """
    plain = with_plain_weights(graph)
    if rounded := next((node for node in plain.nodes if node.op in _ROUNDED), None):
        raise UnsupportedModelError(
            f"{rounded}: this node rounds to integers, which has no derivative; use the model before it was quantised"
        )
    cut, facts = {}, infer_graph(plain)
    inputs, nodes = list(plain.inputs), list(plain.nodes)
    for i, spec in enumerate(inputs):
        readers = [node for node in nodes if spec.name in node.inputs]
        if spec.name not in names or "float" in spec.dtype or len(readers) != 1 or readers[0].op != "embedding":
            continue
        (node,) = readers
        sizes = facts[node.outputs[0]].sizes
        if node.inputs[0] != spec.name or node.inputs[1] not in plain.constants or sizes is None:
            continue
        shape = tuple(n if isinstance(n, int) else None for n in sizes)
        inputs[i], cut[spec.name] = TensorSpec(node.outputs[0], "float32", shape), node
        nodes.remove(node)
    return replace(plain, inputs=tuple(inputs), nodes=tuple(nodes)), cut


class Point(NamedTuple):
    """A state: the vector of its floats (S,), and by name the arrays that are no floats, which have no derivative."""

    vector: Array
    rest: Mapping[str, Array]


class Step:
    """The step of a model in float64. graph: from `differentiable`; it may have more outputs than the model.

    S, I, O: how many numbers the state, the floating inputs of a frame, and the floating outputs have.
    """

    def __init__(self, frames: Frames, graph: Graph, cut: Mapping[str, Node]) -> None:
        self._states, self._cut, self._constants = frames.states, cut, graph.constants
        self._model = Model(graph, precision="float64")
        known = {spec.name for spec in frames.model.outputs} - set(self._states.values())
        feeds = self.feeds(frames.rows[0][0])
        stream = self._model.stream(1, state=self._states)
        stream.push(dict(feeds))  # binds the free sizes of the states
        stream.reset()
        start = stream.state
        self.float_states = {name: a.shape for name, a in start.items() if a.dtype.kind == "f"}
        self.float_inputs = {name: a.shape for name, a in feeds.items() if a.dtype.kind == "f"}
        self.start = self._point(start)
        results = self._model.run({**feeds, **start})
        self.float_outputs = {n: a.shape for n, a in results.items() if n in known and a.dtype.kind == "f"}
        self.S, self.I = len(self.start.vector), _size(self.float_inputs)
        self.O = _size(self.float_outputs)
        self._batch: dict[str, int] = {}
        self._batch = self._batches(frames, feeds)

    def feeds(self, frame: Frame) -> dict[str, Array]:
        """Return a frame as the step takes it: floats in float64, and embedding vectors instead of ids."""
        found = {}
        for name, a in frame.items():
            if (node := self._cut.get(name)) is not None:
                (vectors,) = evaluate(node, [a, np.asarray(self._constants[node.inputs[1]])])
                found[node.outputs[0]] = np.asarray(vectors, np.float64)
            else:
                found[name] = a.astype(np.float64) if a.dtype.kind == "f" else a
        return found

    def run(self, point: Point, feeds: Mapping[str, Array]) -> tuple[Point, dict[str, Array]]:
        """Return the state after a frame, and all outputs of the graph."""
        results = self._model.run({**feeds, **self.arrays(point)})
        return self._point({name: results[output] for name, output in self._states.items()}), results

    def along(
        self, point: Point, feeds: Mapping[str, Array], states: Array, inputs: Array | None = None
    ) -> tuple[Array, Array]:
        """Return the derivatives of the next state (S, m) and of the outputs (O, m) along directions.

        states: (S, m), the directions of the state. inputs: (I, m), those of the frame, None for zeros.
        """
        m = states.shape[1]
        sizes = np.linalg.norm(states, axis=0)
        if inputs is not None:
            sizes = np.hypot(sizes, np.linalg.norm(inputs, axis=0))
        scale = _STEP / np.where(sizes > 0, sizes, 1)
        x = _flat(feeds, self.float_inputs)
        after, shown = np.empty((2 * m, self.S)), np.empty((2 * m, self.O))
        moved = np.concatenate([states.T * scale[:, None], states.T * -scale[:, None]]) + point.vector
        ahead = None if inputs is None else inputs.T * scale[:, None]
        frames = None if ahead is None else np.concatenate([ahead, -ahead]) + x
        width = _ROWS if self._batch else 1
        for first in range(0, 2 * m, width):
            block = slice(first, first + width)
            rows = None if frames is None else frames[block]
            after[block], shown[block] = self._block(point, feeds, moved[block], rows)
        factor = 1 / (2 * scale)
        return (after[:m] - after[m:]).T * factor, (shown[:m] - shown[m:]).T * factor

    def _block(
        self, point: Point, feeds: Mapping[str, Array], states: Array, frames: Array | None
    ) -> tuple[Array, Array]:
        """Return the next states (R, S) and the outputs (R, O) of R states. frames: (R, I), None to use `feeds`."""
        R, batch = len(states), self._batch
        given = {}
        for name, a in {**feeds, **point.rest}.items():
            given[name] = np.repeat(a, R, batch[name]) if batch else a
        given |= self._joined(states, self.float_states)
        if frames is not None:
            given |= self._joined(frames, self.float_inputs)
        results = self._model.run(given)
        nexts = {self._states[name]: shape for name, shape in self.float_states.items()}
        return self._apart(results, nexts, R), self._apart(results, self.float_outputs, R)

    def _joined(self, rows: Array, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
        found, first = {}, 0
        for name, shape in shapes.items():
            size = int(np.prod(shape))
            each = rows[:, first : first + size].reshape(len(rows), *shape)
            first += size
            axis = self._batch[name] if self._batch else 0
            found[name] = np.moveaxis(each, 0, axis).reshape(_wide(shape, axis, len(rows))) if self._batch else each[0]
        return found

    def _apart(self, results: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]], R: int) -> Array:
        found = [np.empty((R, 0))]
        for name in shapes:
            a = results[name]
            found.append((np.moveaxis(a, self._batch[name], 0) if self._batch else a).reshape(R, -1))
        return np.concatenate(found, axis=1)

    def _batches(self, frames: Frames, feeds: Mapping[str, Array]) -> dict[str, int]:
        """Return the axis of the rows of every input and output, {} if they are unknown or the rows are mixed."""
        if frames.batch is None:
            return {}
        names = {name: self._cut[name].outputs[0] if name in self._cut else name for name in frames.batch}
        axes = {names[name]: axis for name, axis in frames.batch.items()}
        axes |= {self._states[name]: frames.batch[name] for name in self._states}
        rng = np.random.default_rng(0)
        states = self.start.vector + 0.1 * rng.standard_normal((3, self.S))
        alone = [self._block(self.start, feeds, states[n : n + 1], None) for n in range(3)]
        self._batch = axes
        try:
            given = {name: np.repeat(a, 3, axes[name]) for name, a in {**feeds, **self.start.rest}.items()}
            results = self._model.run({**given, **self._joined(states, self.float_states)})
            for name, shape in self.float_outputs.items():
                (axes[name],) = [i for i, (n, m) in enumerate(zip(shape, results[name].shape, strict=True)) if n != m]
            after, shown = self._block(self.start, feeds, states, None)
        except (FastGRUError, ValueError):
            return {}
        same = [np.allclose(after[n], alone[n][0], rtol=1e-9, atol=1e-12) for n in range(3)]
        same += [np.allclose(shown[n], alone[n][1], rtol=1e-9, atol=1e-12) for n in range(3)]
        return axes if all(same) else {}

    def _point(self, state: Mapping[str, Array]) -> Point:
        return Point(_flat(state, self.float_states), {n: a for n, a in state.items() if n not in self.float_states})

    def arrays(self, point: Point) -> dict[str, Array]:
        """Return the arrays of a state by name."""
        found, first = dict(point.rest), 0
        for name, shape in self.float_states.items():
            size = int(np.prod(shape))
            found[name] = point.vector[first : first + size].reshape(shape)
            first += size
        return found

    @property
    def in_rows(self) -> bool:
        """Whether several states run as the rows of a batch."""
        return bool(self._batch)


def _size(shapes: Mapping[str, tuple[int, ...]]) -> int:
    return sum(int(np.prod(shape)) for shape in shapes.values())


def _flat(arrays: Mapping[str, Any], names: Mapping[str, Any]) -> Array:
    return np.concatenate([np.zeros(0), *(np.asarray(arrays[name], np.float64).reshape(-1) for name in names)])


def _wide(shape: tuple[int, ...], axis: int, rows: int) -> tuple[int, ...]:
    return (*shape[:axis], rows * shape[axis], *shape[axis + 1 :])

"""Measure how much of the past a trained model uses on real input, and the warm-up of a chunk that follows from it.

Everything but the warm-up is computed in float64, with quantised weights as floats. The warm-up is measured on the
model itself, in its own precision.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Final, NamedTuple, TypedDict, Unpack

import numpy as np
from numpy.typing import ArrayLike

from fastgru.arrays import Array
from fastgru.errors import LearningError, ShapeError
from fastgru.graph import Graph, TensorSpec
from fastgru.layers import Layer
from fastgru.learn.decay import Growth, Influence, growth, influences
from fastgru.learn.frames import Frame, Frames, cut_frames
from fastgru.learn.gates import LayerMemory, layers_of, of_layer, values_of
from fastgru.learn.options import check_seed
from fastgru.learn.tangents import Point, Step, differentiable
from fastgru.learn.warmup import WarmUp, predict, whole_runs
from fastgru.model import Model
from fastgru.records import dataclass
from fastgru.reference.facts import infer_graph

__all__ = ["Memory", "MemoryOptions", "memory"]

_STAGES: Final = 5
_FOLLOWED: Final = 256  # frames, if no horizon is given
_LOOKED_AT: Final = 64 << 20  # bytes of the inputs and outputs of the GRUs that are examined


class MemoryOptions(TypedDict, total=False):
    """The keyword options of `memory` that have defaults.

    horizon: for how many frames, at most, the effect of a state, of a frame, and of a missing warm-up is followed. By
        default 256 frames for states and frames, and half of the frames that predict for the warm-up.
    runs: over how many frames T the norms of `Influence` are averaged. The default is 4.
    chunks: how many chunks predict the warm-up, and how many check it. The default is 32.
    risk: the share of chunks that may need a longer warm-up than predicted, above 0 and below 1. The default is 0.001.
    near: a gate counts as being at 0 or at 1 if it is nearer than this, above 0 and below 0.5. The default is 0.1.
    seed: of the random directions. The default is 0.
    progress: a function that is called with a text about how much of the work is done. By default nothing is called.
    """

    horizon: int
    runs: int
    chunks: int
    risk: float
    near: float
    seed: int
    progress: Callable[[str], object]


def _silent(text: str) -> None:
    """Report nothing."""


class _Asked(NamedTuple):
    horizon: int | None = None
    runs: int = 4
    chunks: int = 32
    risk: float = 1e-3
    near: float = 0.1
    seed: int = 0
    progress: Callable[[str], object] = _silent

    def stage(self, number: int, what: str) -> Callable[[int, int], object]:
        """Return a function that reports the progress of a stage, given how many are done and how many there are."""
        return lambda done, total: self.progress(f"{number} of {_STAGES}: {what} {done:,} of {total:,}")


@dataclass(frozen=True)
class Memory:
    """The result of `memory`.

    frames, rows: the number of frames of the input, and of rows of its batch.
    states: how many floating-point numbers the model carries from frame to frame.
    of_states: the norms of dh_T/dh_{T-k} against k, where h is the vector of all these numbers.
    of_frames: the norms of dy_T/dx_{T-k} against k, where y is the vector of all floating-point outputs, and x that of
        all inputs that are floats or embedded. None if the model has no such input or output.
    growth: how fast a small difference between two states grows or shrinks along the input.
    layers: how each GRU used its gates, one entry for each direction.
    skipped: the other recurrent nodes by name, and why their gates are not shown.
    warm_up: how many frames to run ahead of a chunk, so that its outputs are those of the whole run within a bound.
    """

    frames: int
    rows: int
    states: int
    of_states: Influence
    of_frames: Influence | None
    growth: Growth
    layers: tuple[LayerMemory, ...]
    skipped: Mapping[str, str]
    warm_up: WarmUp

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON: arrays become lists, and numbers that are not finite become None."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain


def memory(
    model: Layer | Model | Graph,
    x: ArrayLike | Mapping[str, ArrayLike],
    *,
    bound: float = 0.01,
    frame: int | None = None,
    state: Mapping[str, str] | None = None,
    **options: Unpack[MemoryOptions],
) -> Memory:
    """Measure how much of the past a trained model uses on real input. Returns a `Memory`.

    model: a model, a graph, a layer or a `Sequential` with states, in any precision.
    x: an array for the first input, or a mapping with an array for each input that is not a state. An array with as
        many axes as the input is cut along time. An array with one axis more holds one call in each entry. An array
        with one axis less is a batch of one row.
    bound: how far an output of a chunk may be from that of the whole run, as a share of the largest magnitude of this
        output. The warm-up is predicted for this bound.
    frame: the number of time steps that one call takes. By default, the number in the model, or 1.
    state: pairs {input: output} of states, if the model does not name them.
    horizon, runs, chunks, risk, near, seed, progress: see `MemoryOptions`.

    Raises `StateError` for a model without a state; `ShapeError` for input that does not fit or is not finite;
    `LearningError` for outputs or derivatives that are not finite, and if no state is floating-point;
    `UnsupportedModelError` for a model that rounds to integers; `TypeError` for an unknown option.
    """
    asked = _checked(options, bound, frame)
    frames = cut_frames(model, x, state, frame)
    graph, cut = differentiable(frames.model.graph, list(frames.rows[0][0]))
    whole = whole_runs(frames, asked.stage(1, "the whole input, frame"))
    nodes, skipped = layers_of(graph)
    step = Step(frames, _shown(graph, [name for node in nodes for name in values_of(node)]), cut)
    if not step.S:
        raise LearningError("the states of the model have no derivative, because none of them is floating-point")
    rng = np.random.default_rng(asked.seed)
    T = len(frames.rows[0])
    runs = _runs(step, frames, min(asked.horizon or _FOLLOWED, T // 2), asked.runs)
    of_states, of_frames = influences(step, runs, rng, asked.stage(2, "norms, frame"))
    grown = growth(step, frames.rows[0], rng, asked.stage(3, "the growth of a difference, frame"))
    layers = _layers(step, frames, graph, asked)
    tells = asked.stage(4, "the warm-up, chunk"), asked.stage(5, "the check of the warm-up, chunk")
    warm_up = predict(frames, whole, bound, asked.horizon, asked.chunks, asked.risk, *tells)
    shown = of_frames if step.I and step.O else None
    return Memory(T, len(frames.rows), step.S, of_states, shown, grown, layers, skipped, warm_up)


def _checked(options: Mapping[str, Any], bound: float, frame: int | None) -> _Asked:
    """Return the options with their defaults. Raises `TypeError` for an unknown one, `ShapeError` for a wrong value."""
    if unknown := sorted(set(options) - set(_Asked._fields)):
        raise TypeError(f"memory has no option {', '.join(unknown)}; its options are {', '.join(_Asked._fields)}")
    asked = _Asked(**options)
    counts = {"horizon": asked.horizon, "runs": asked.runs, "chunks": asked.chunks, "frame": frame}
    for name, count in counts.items():
        optional = name in ("horizon", "frame") and count is None
        if not optional and (not isinstance(count, int | np.integer) or isinstance(count, bool) or count < 1):
            raise ShapeError(f"{name} is {count!r}, expected an integer of at least 1")
    for name, value, most in (("bound", bound, np.inf), ("risk", asked.risk, 1.0), ("near", asked.near, 0.5)):
        if not isinstance(value, int | float) or not 0 < value < most:
            raise ShapeError(f"{name} is {value!r}, expected a number above 0 and below {most:g}")
    check_seed(asked.seed)
    return asked


def _shown(graph: Graph, names: Sequence[str]) -> Graph:
    """Return the graph with these values as additional outputs."""
    facts, present = infer_graph(graph), {spec.name for spec in (*graph.inputs, *graph.outputs)}
    more = []
    for name in dict.fromkeys(names):
        if name and name not in present and name not in graph.constants:
            sizes = facts[name].sizes if name in facts else None
            shape = None if sizes is None else tuple(n if isinstance(n, int) else None for n in sizes)
            more.append(TensorSpec(name, "float32", shape))
    return replace(graph, outputs=(*graph.outputs, *more))


def _runs(step: Step, frames: Frames, most: int, count: int) -> list[tuple[Point, Sequence[Frame]]]:
    """Return up to `count` evenly spaced states along the rows, each with the `most` + 1 frames that follow."""
    T = len(frames.rows[0])
    every = T - most
    chosen = np.unique(np.linspace(0, len(frames.rows) * every - 1, count).astype(np.int64)).tolist()
    found: list[tuple[Point, Sequence[Frame]]] = []
    for n, row in enumerate(frames.rows):
        point = step.start
        own = [i - n * every for i in chosen if n * every <= i < (n + 1) * every]
        for t in range(max(own, default=-1) + 1):
            if t in own:
                found.append((point, row[t : t + most + 1]))
            point, _ = step.run(point, step.feeds(row[t]))
    return found


def _layers(step: Step, frames: Frames, graph: Graph, asked: _Asked) -> tuple[LayerMemory, ...]:
    """Return the memory of every GRU, from as many of the first frames of the first row as fit into `_LOOKED_AT`."""
    nodes, _ = layers_of(graph)
    nodes = [node for node in nodes if node.outputs[0]]
    streamed = _reached(graph, frames.states)
    names = [values_of(node) for node in nodes]
    seen: list[list[tuple[Array, Array | None, Array]]] = [[] for _ in nodes]
    point, taken = step.start, 0
    for frame in frames.rows[0]:
        feeds = step.feeds(frame)
        before = step.arrays(point)
        point, results = step.run(point, feeds)
        values = {**graph.constants, **feeds, **before, **results}
        for own, (x, h0, y) in zip(seen, names, strict=True):
            own.append((values[x], values[h0] if h0 else None, values[y]))
            taken += values[x].nbytes + values[y].nbytes
        if taken > _LOOKED_AT:
            break
    found: list[LayerMemory] = []
    for node, own, (_, h0, _) in zip(nodes, seen, names, strict=True):
        along = "stream" if h0 in streamed else "frame"
        found += of_layer(graph, node, along, own, asked.horizon or _FOLLOWED, asked.near)
    return tuple(found)


def _reached(graph: Graph, states: Mapping[str, str]) -> set[str]:
    """Return the values that depend on a state."""
    found = set(states)
    for node in graph.nodes:
        if not found.isdisjoint(node.inputs):
            found.update(name for name in node.outputs if name)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return value

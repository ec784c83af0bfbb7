"""Which axis of an input, an output or a state the rows of a batch lie on."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastgru.engine import Runnable
from fastgru.errors import ShapeError, StateError, UnsupportedModelError
from fastgru.graph import Array, Graph, TensorSpec
from fastgru.reference.facts import infer_graph
from fastgru.reference.operator import as_array

__all__ = ["Axes", "check_rows", "find_batch_axes", "given_axes", "row_axes"]


def find_batch_axes(
    graph: Graph, names: Iterable[str], given: Mapping[str, int], states: Mapping[str, str] | None = None
) -> dict[str, int | None]:
    """The batch axis of each of these inputs, None where it cannot be told.

    In this order: as `given`; the only free axis of the declared shape; the second axis of what a GRU takes as its
    initial state; the free axis whose name is that of the batch axis of all those found before; the free axis of a
    frame whose size is that of the batch axis of the next value of a state. states: {input: output}, those of the graph
    unless they are given.
    """
    specs = {spec.name: spec for spec in graph.inputs}
    initial = {node.inputs[1] for node in graph.nodes if node.op == "gru" and len(node.inputs) > 1}
    found: dict[str, int | None] = {}
    for name in names:
        free = [axis for axis, size in enumerate(specs[name].shape or ()) if size is None]
        if name in given:
            found[name] = given[name]
        elif len(free) == 1:
            found[name] = free[0]
        else:
            found[name] = 1 if name in initial else None
    called = {_named(specs[name], axis) for name, axis in found.items() if axis is not None}
    called |= {_named(specs[name], axis) for name, axis in given.items() if name in specs}
    if len(called) == 1 and (word := called.pop()) is not None:
        for name in found:
            dims = specs[name].dims
            if found[name] is None and dims.count(word) == 1:
                found[name] = dims.index(word)
    pairs = graph.states if states is None else states
    if any(axis is None and name not in pairs for name, axis in found.items()):
        found |= _seen_in_states(graph, found, pairs)
    return found


def _seen_in_states(graph: Graph, found: Mapping[str, int | None], states: Mapping[str, str]) -> dict[str, int]:
    """The axes of frames that have the size of the batch axis of the next value of a state, where there is one."""
    inputs = tuple(
        replace(
            spec, dims=tuple(None if n is not None else f"{spec.name}, {axis}" for axis, n in enumerate(spec.shape))
        )
        if spec.shape
        else spec
        for spec in graph.inputs
    )
    facts, sizes = infer_graph(replace(graph, inputs=inputs)), set[object]()
    for name, output in states.items():
        shape, axis = facts[output].sizes if output in facts else None, found.get(name)
        if shape is not None and axis is not None and axis < len(shape):
            sizes.add(shape[axis])
    seen = {}
    for spec in inputs:
        axes = [axis for axis, dim in enumerate(spec.dims) if dim in sizes]
        if found.get(spec.name, 0) is None and len(axes) == 1:
            seen[spec.name] = axes[0]
    return seen


def _named(spec: TensorSpec, axis: int) -> str | None:
    return spec.dims[axis] if spec.dims else None


def given_axes(given: Mapping[str, SupportsIndex] | None, ranks: Mapping[str, int]) -> dict[str, int]:
    """`given` with every axis counted from the front. `StateError` for an unknown name or an axis that is not there."""
    axes = {}
    for name, value in (given or {}).items():
        if name not in ranks:
            raise StateError(f"batch_axes: {name!r} is unknown; expected some of {list(ranks)}")
        rank = ranks[name]
        try:
            axis = operator.index(value)
        except TypeError:
            axis = rank
        if isinstance(value, bool) or not -rank <= axis < rank:
            raise StateError(f"batch_axes: {name!r} has {rank} axes, and no axis {value!r}")
        axes[name] = axis % rank
    return axes


class Axes(NamedTuple):
    """Along which axes sessions lie: of every input, states included, where they are the rows of a batch, and outputs
    then show theirs; of the frames alone, and of the outputs, where a batch is fixed and each session runs by itself.
    """

    inputs: Mapping[str, int]
    outputs: Mapping[str, int] | None


def row_axes(
    runnable: Runnable, frames: Iterable[str], given: Mapping[str, SupportsIndex] | None, states: Mapping[str, str]
) -> Axes:
    """Of a model with these frames. given: axes of inputs. states: {input: output}.

    Raises `StateError` where one cannot be told, `UnsupportedModelError` where there is none.
    """
    names = [*states, *frames]
    specs = {spec.name: spec for spec in runnable.inputs}
    known = given_axes(given, {name: len(specs[name].shape or ()) for name in names})
    axes = {}
    for name, axis in find_batch_axes(runnable.graph, names, known, states).items():
        shape = specs[name].shape
        if shape is not None and (None not in shape or (axis is not None and shape[axis] is not None)):
            return _axes_of_one(runnable, known, states)
        if axis is None or shape is None:
            raise StateError(
                f"the batch axis of input {name!r} {shape} is not known; give batch_axes={{{name!r}: axis}}"
            )
        axes[name] = axis
    return Axes(axes, None)


def _axes_of_one(runnable: Runnable, given: Mapping[str, int], states: Mapping[str, str]) -> Axes:
    """Where a batch is of a fixed size: the axis that is given, or the first that is declared to be of size 1."""
    specs = {spec.name: spec for spec in runnable.inputs}
    axes = {}
    for name in [name for name in specs if name not in states]:
        shape = specs[name].shape or ()
        axes[name] = (
            given[name]
            if name in given
            else _first_one(f"input {name!r}", shape, f" give batch_axes={{{name!r}: axis}} with a free axis, or")
        )
        if shape[axes[name]] not in (1, None):
            raise UnsupportedModelError(
                f"input {name!r}: the batch axis {axes[name]} has the fixed size {shape[axes[name]]}, expected 1;"
                " keep a stream for each session"
            )
        one = tuple([1 if axis == axes[name] else n for axis, n in enumerate(shape)])
        specs[name] = replace(specs[name], shape=one, dims=())
    found = infer_graph(replace(runnable.graph, inputs=tuple(specs.values())))
    outputs = {}
    for spec in runnable.outputs:
        if spec.name not in states.values():
            sizes = found[spec.name].sizes if spec.name in found else None
            told = zip(sizes or spec.shape or (), spec.shape or sizes or (), strict=False)
            outputs[spec.name] = _first_one(f"output {spec.name!r}", [m if n is None else n for m, n in told])
    return Axes(axes, outputs)


def _first_one(what: str, sizes: Sequence[Any], way: str = "") -> int:
    """The first axis of size 1."""
    if 1 not in sizes:
        raise UnsupportedModelError(
            f"{what} has the sizes {[*sizes]} in a model with a fixed batch, expected an axis of size 1 for the"
            f" sessions;{way} keep a stream for each session"
        )
    return [*sizes].index(1)


def check_rows(rows: ArrayLike, count: int) -> NDArray[np.int64]:
    """`rows` as positions in a batch of `count`. Raises `ShapeError`."""
    array: Array = as_array("rows", rows)
    if array.size == 0 and array.ndim == 1:
        return np.zeros(0, np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu" or array.min() < 0 or array.max() >= count:
        raise ShapeError(f"rows: got {rows!r:.80}, expected a list of rows, each from 0 to {count - 1}")
    return array.astype(np.int64)

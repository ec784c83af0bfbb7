"""Find the axis of an input, an output or a state along which the rows of a batch lie."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastgru.engine import Runnable
from fastgru.errors import ShapeError, StateError, UnsupportedModelError
from fastgru.graph import Array, Graph, TensorSpec, shape_text
from fastgru.reference.facts import infer_graph
from fastgru.reference.operator import as_array

__all__ = ["Axes", "check_rows", "find_batch_axes", "given_axes", "row_axes"]


def find_batch_axes(
    graph: Graph, names: Iterable[str], given: Mapping[str, int], states: Mapping[str, str] | None = None
) -> dict[str, int | None]:
    """Return the batch axis of each of these inputs, None if it cannot be found.

    The first of these that applies: the axis in `given`; the only free axis of the declared shape; the second axis of
    the initial state of a GRU; the axis with the one name that all batch axes found so far have; the axis of a frame
    whose size is that of the batch axis of a state's next value. states: {input: output}, by default the graph's.
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
    """Return {frame: axis} for each frame of which one axis has the size of the batch axis of a state's next value."""
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
    """Return `given` with every axis counted from the front. Raises `StateError` for an unknown name or axis."""
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
    """The axes along which sessions lie.

    If sessions are the rows of a batch: those of every input, states included; `outputs` is None, because runs with one
    row and with two show the axes of the outputs. If the batch is fixed, so that each session runs by itself: those of
    the frames, and of the outputs.
    """

    inputs: Mapping[str, int]
    outputs: Mapping[str, int] | None


def row_axes(
    runnable: Runnable, frames: Iterable[str], given: Mapping[str, SupportsIndex] | None, states: Mapping[str, str]
) -> Axes:
    """Return the axes of a model with these frames. given: axes of inputs. states: {input: output}.

    Raises `StateError` if an axis cannot be found, and `UnsupportedModelError` if there is no axis for the sessions.
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
                f"the batch axis of input {name!r} {shape_text(shape, specs[name].dims)} is not known; give"
                f" batch_axes={{{name!r}: axis}}"
            )
        axes[name] = axis
    return Axes(axes, None)


def _axes_of_one(runnable: Runnable, given: Mapping[str, int], states: Mapping[str, str]) -> Axes:
    """Return the axes of a model with a fixed batch: each is the given one, or the first that is declared as 1."""
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
    """Return the first axis of size 1. Raises `UnsupportedModelError` if there is none."""
    if 1 not in sizes:
        raise UnsupportedModelError(
            f"{what} has the shape {shape_text(sizes)} in a model with a fixed batch, expected an axis of size 1 for"
            f" the sessions;{way} keep a stream for each session"
        )
    return [*sizes].index(1)


def check_rows(rows: ArrayLike, count: int) -> NDArray[np.int64]:
    """Return `rows` as (n,) int64 positions in a batch of `count`. Raises `ShapeError`."""
    array: Array = as_array("rows", rows)
    if array.size == 0 and array.ndim == 1:
        return np.zeros(0, np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu" or array.min() < 0 or array.max() >= count:
        raise ShapeError(f"rows: got {rows!r:.80}, expected a list of rows, each from 0 to {count - 1}")
    return array.astype(np.int64)

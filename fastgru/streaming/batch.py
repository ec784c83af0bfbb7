"""Which axis of an input, an output or a state the rows of a batch lie on."""

import operator
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastgru.engine import Runnable
from fastgru.errors import ShapeError, StateError, UnsupportedModelError
from fastgru.graph import Array, Graph, TensorSpec
from fastgru.reference.facts import infer_graph
from fastgru.reference.operator import as_array

__all__ = ["check_rows", "find_batch_axes", "free_batch_axes", "given_axes"]


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


def free_batch_axes(
    runnable: Runnable, names: Iterable[str], given: Mapping[str, SupportsIndex] | None, states: Mapping[str, str]
) -> dict[str, int]:
    """The batch axis of each of these inputs, which has to be told and to be free. states: {input: output}.

    Raises `StateError` where it cannot be told, `UnsupportedModelError` where it is of a fixed size.
    """
    names = list(names)
    specs = {spec.name: spec for spec in runnable.inputs}
    ranks = {name: len(specs[name].shape or ()) for name in names}
    found = find_batch_axes(runnable.graph, names, given_axes(given, ranks), states)
    axes = {}
    for name, axis in found.items():
        shape = specs[name].shape
        if shape is not None and None not in shape:
            raise UnsupportedModelError(
                f"input {name!r} is of a fixed shape {shape}: there is no batch; keep a stream for each session"
            )
        if axis is None or shape is None:
            raise StateError(
                f"which axis of input {name!r} {shape} is the batch cannot be told; give batch_axes={{{name!r}: axis}}"
            )
        if shape[axis] is not None:
            raise UnsupportedModelError(
                f"input {name!r}: axis {axis}, the batch, is of the fixed size {shape[axis]}; keep a stream for each"
                " session"
            )
        axes[name] = axis
    return axes


def check_rows(rows: ArrayLike, count: int) -> NDArray[np.int64]:
    """`rows` as positions in a batch of `count`. Raises `ShapeError`."""
    array: Array = as_array("rows", rows)
    if array.size == 0 and array.ndim == 1:
        return np.zeros(0, np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu" or array.min() < 0 or array.max() >= count:
        raise ShapeError(f"rows: got {rows!r:.80}, expected a list of rows, each from 0 to {count - 1}")
    return array.astype(np.int64)

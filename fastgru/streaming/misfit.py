"""Errors for frames that do not fit beside the state. They blame a frame: no caller gave the arrays of the state."""

from collections.abc import Mapping

from fastgru.engine import Runnable
from fastgru.errors import ShapeError
from fastgru.graph import Array, Graph, TensorSpec, shape_text
from fastgru.reference import bind_inputs
from fastgru.reference.facts import ValueFacts, infer_graph, ties
from fastgru.spec import RECURRENT
from fastgru.streaming.batch import find_batch_axes
from fastgru.streaming.rows import with_rows

__all__ = ["misfit_with_state"]


def misfit_with_state(
    runnable: Runnable,
    states: Mapping[str, str],
    batch_axes: Mapping[str, int],
    state: Mapping[str, Array],
    frames: Mapping[str, Array],
) -> ShapeError | None:
    """Return the error that blames a frame. None if all frames fit this state, or if they do not fit by themselves.

    If another number of steps is the reason, there is an error that says so.

    states: {input: output}. batch_axes: the given axes of states. state, frames: arrays by input.
    """
    specs = {spec.name: spec for spec in runnable.inputs}
    try:
        bind_inputs([specs[name] for name in frames], frames)
    except ShapeError as error:
        return _other_steps(runnable.graph, specs, frames, error)
    axes = find_batch_axes(runnable.graph, [*states, *frames], batch_axes, states)
    rows = {state[name].shape[axis] for name in states if (axis := axes[name]) is not None}
    if len(rows) == 1:
        stream_rows, chosen = rows.pop(), all(_is_free(specs[name], axes[name]) for name in states)
        for name, array in frames.items():
            if _is_free(specs[name], axes[name]) and array.shape[axes[name] or 0] != stream_rows:
                return _other_rows(specs[name], axes[name] or 0, array, stream_rows, chosen)
    try:
        bind_inputs([specs[name] for name in (*states, *frames)], {**state, **frames})
    except ShapeError as error:
        return error
    return None


def _is_free(spec: TensorSpec, axis: int | None) -> bool:
    return spec.shape is not None and axis is not None and spec.shape[axis] is None


def _other_rows(spec: TensorSpec, axis: int, array: Array, rows: int, chosen: bool) -> ShapeError:
    """Return the error for a frame with another number of rows. chosen: the caller chose `rows`, not the file."""
    came = array.shape[axis]
    expected = shape_text(with_rows(spec.shape or (), axis, rows), spec.dims)
    way = f", and model.stream(batch_size={came}) makes a stream of {_counted(came)}" if chosen and came else ""
    return ShapeError(
        f"input {spec.name!r}: got shape {array.shape}, expected {expected}: the stream has {_counted(rows)}{way}"
    )


def _other_steps(
    graph: Graph, specs: Mapping[str, TensorSpec], frames: Mapping[str, Array], error: ShapeError
) -> ShapeError | None:
    """Return the error for a chunk with another number of steps than the model is fixed to, None for other faults."""
    for name, axis in _time_axes(graph):
        shape = specs[name].shape if name in frames else None
        steps = None if shape is None else shape[axis]
        if shape is None or steps is None or len(shape) != frames[name].ndim or frames[name].shape[axis] == steps:
            continue
        free = tuple(None if i == axis else n for i, n in enumerate(shape))
        return ShapeError(
            f"{error}: the model takes exactly {_counted(steps, 'step')} in each push; loaded with"
            f" inputs={{{name!r}: {free}}} it takes any number, if no layer needs this one"
        )
    return None


def _time_axes(graph: Graph) -> list[tuple[str, int]]:
    """Return the axes of inputs that the recurrent layers run along."""
    facts, inputs = infer_graph(graph), {spec.name for spec in graph.inputs}
    recurrent = [node for node in graph.nodes if node.op in RECURRENT]
    places = {(node.inputs[0], int(bool(node.attrs["spec"].get("batch_first")))) for node in recurrent}
    for node in reversed(graph.nodes):
        given = [facts.get(name, ValueFacts()) if name else None for name in node.inputs]
        for (i, a), (j, b) in ties(node.op, given, node.attrs, len(node.outputs)).same:
            if (node.outputs[j], b) in places:
                places.add((node.inputs[i], a))
    return sorted(place for place in places if place[0] in inputs)


def _counted(count: int, what: str = "row") -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"

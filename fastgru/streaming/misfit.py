"""Errors for frames that do not fit beside the state. They blame a frame: no caller gave the arrays of the state."""

from collections.abc import Mapping

from fastgru.engine import Runnable
from fastgru.errors import ShapeError
from fastgru.graph import Array, TensorSpec, shape_text
from fastgru.reference import bind_inputs
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
    """Return the error that blames a frame. None if the frames do not fit by themselves, or all of them fit this state.

    states: {input: output}. batch_axes: the given axes of states. state, frames: arrays by input.
    """
    specs = {spec.name: spec for spec in runnable.inputs}
    try:
        bind_inputs([specs[name] for name in frames], frames)
    except ShapeError:
        return None
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


def _counted(rows: int) -> str:
    return f"{rows} {'row' if rows == 1 else 'rows'}"

"""The frames of real input, one for each call of a model: cut along time, and split into the rows of the batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastgru.arrays import Array
from fastgru.errors import ShapeError, UnsupportedModelError
from fastgru.graph import Graph, TensorSpec, shape_text
from fastgru.layers import Layer
from fastgru.learn.losses import check_finite
from fastgru.model import Model
from fastgru.streaming.batch import find_batch_axes
from fastgru.verify.roles import AxisRoles

__all__ = ["LEAST_FRAMES", "Frame", "Frames", "cut_frames"]

LEAST_FRAMES = 8  # the fewest of a row: half of them predict, half of them check

Frame = Mapping[str, Array]


class Frames(NamedTuple):
    """The frames that a model streams.

    states: pairs {input: output}.
    rows: for each row of the batch, the inputs of each call. All rows have equally many calls.
    batch: the axis of the rows of every input, states included. None if the batch is fixed and counts as one row.
    """

    model: Model
    states: Mapping[str, str]
    rows: Sequence[Sequence[Frame]]
    batch: Mapping[str, int] | None


def cut_frames(net: Layer | Model | Graph, x: Any, state: Mapping[str, str] | None, frame: int | None) -> Frames:
    """Return the frames of x, an array for the first input, or a mapping with one for each input that is no state.

    An array with one axis more than its input holds one call in each entry. An array with as many axes is cut along
    time, into calls of `frame` steps, by default of the number in the model or 1; if it has no time axis, each call
    takes all of it. An array with one axis less is a batch of one row. Raises `StateError` for a model without a state,
    and `ShapeError` for arrays that do not fit.
    """
    model = _model_of(net)
    single = model.stream(1) if state is None else model.stream(1, state=state)
    names, states = single.inputs, single.states
    given = dict(x) if isinstance(x, Mapping) else {names[0]: x} if names else {}
    missing, unknown = [n for n in names if n not in given], sorted(set(map(str, given)) - set(names))
    if missing or unknown or not names:
        if not names:
            raise ShapeError("x: the model has no input besides its states")
        said = [f"{word} {', '.join(found)}" for word, found in (("missing", missing), ("unknown", unknown)) if found]
        raise ShapeError(f"x: {'; '.join(said)}; expected {', '.join(names)}")
    specs = {spec.name: spec for spec in model.inputs}
    roles, batch = AxisRoles(model.graph), find_batch_axes(model.graph, [*states, *names], {}, states)
    is_free = all(
        axis is not None and (shape := specs[name].shape) is not None and shape[axis] is None
        for name, axis in batch.items()
    )
    axes = {name: axis for name, axis in batch.items() if axis is not None} if is_free else None
    timed: dict[str, list[Array]] = {}
    held: dict[str, Array] = {}
    for name in names:
        array = np.asarray(given[name])
        check_finite(name, array)
        found = _cut(specs[name], array, roles.axis_of(name, "T"), batch[name], frame)
        if isinstance(found, list):
            timed[name] = found
        else:
            held[name] = found
    counts = {name: len(arrays) for name, arrays in timed.items()}
    if not counts:
        wanted = shape_text(("frames", *(specs[names[0]].shape or ())))
        raise ShapeError(
            f"{names[0]}: got shape {np.shape(given[names[0]])}, which is one call, because the inputs of the model"
            f" have no time axis; expected one call in each entry, {wanted}"
        )
    if len(set(counts.values())) > 1:
        raise ShapeError(
            f"x: got {', '.join(f'{n} frames of {k}' for k, n in counts.items())}, expected as many of each input"
        )
    calls = [{n: arrays[t] for n, arrays in timed.items()} | held for t in range(min(counts.values()))]
    if len(calls) < LEAST_FRAMES:
        raise ShapeError(f"{next(iter(counts))}: got {len(calls)} frames, expected at least {LEAST_FRAMES}")
    return Frames(model, states, _rows(calls, axes), axes)


def _model_of(net: Layer | Model | Graph) -> Model:
    if isinstance(net, Layer):
        net.stream(1)  # raises for a network without a state, or one that begins with the last frame
        return net.to_model(initial_state=True)
    if isinstance(net, Model):
        return net
    if isinstance(net, Graph):
        return Model(net)
    raise TypeError(f"model is {type(net).__name__}, expected a model, a layer or a Sequential")


def _cut(spec: TensorSpec, array: Array, time: int | None, batch: int | None, frame: int | None) -> list[Array] | Array:
    """Return a list with the array of each call, or one array that all calls take."""
    shape = spec.shape
    if shape is None:
        raise UnsupportedModelError(f"input {spec.name!r}: the file does not give its number of axes")
    if array.ndim == len(shape) + 1:
        if frame is not None:
            raise ShapeError(
                f"frame is {frame}, but {spec.name} {array.shape} has one call in each entry; leave frame out"
            )
        return list(array)
    if array.ndim == len(shape) - 1 and shape[batch or 0] in (None, 1):
        array = np.expand_dims(array, batch or 0)
    if array.ndim != len(shape):
        raise ShapeError(
            f"{spec.name}: got shape {array.shape}, expected {shape_text(shape)}, or {shape_text(('frames', *shape))}"
        )
    if time is None or (shape[time] not in (None, 1) and array.shape[time] == shape[time]):
        return array
    size, count = shape[time], array.shape[time]
    if frame is not None and size not in (None, frame):
        raise ShapeError(f"frame is {frame}, but a call of the model takes {size} steps of {spec.name}")
    step = frame or size or 1
    if count % step:
        raise ShapeError(f"{spec.name}: got {count} steps on axis {time}, expected a multiple of {step}")
    return np.split(array, count // step, time) if count else []


def _rows(calls: list[dict[str, Array]], axes: Mapping[str, int] | None) -> list[list[Frame]]:
    if axes is None:
        return [[*calls]]
    sizes = {name: a.shape[axes[name]] for name, a in calls[0].items()}
    if len(set(sizes.values())) > 1 or not all(sizes.values()):
        raise ShapeError(
            f"x: got {', '.join(f'{n} rows of {k}' for k, n in sizes.items())}, expected at least one, and as many of"
            " each input"
        )

    def row(n: int, name: str, a: Array) -> Array:
        return np.take(a, [n], axes[name])

    count = next(iter(sizes.values()))
    return [[{name: row(n, name, a) for name, a in call.items()} for call in calls] for n in range(count)]

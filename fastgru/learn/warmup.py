"""The warm-up of a chunk: how many frames to run ahead of it, so that its outputs are those of the whole run within a
bound.

The warm-up is predicted from one part of the data, and checked by running it on the other. A chunk starts at any frame,
with the initial states of the model. The warm-up that it needed is the number of frames up to the last one at which it
was beyond the bound. Over many chunks, these numbers have an exponential tail, because differences between states decay
exponentially. So the prediction is the number that all but a share `risk` of such a tail need, for a bound that is four
times as tight, because later input may amplify a difference more than the input that was seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

import numpy as np

from fastgru.arrays import Array
from fastgru.errors import LearningError, UnsupportedModelError
from fastgru.learn.frames import Frame, Frames
from fastgru.records import dataclass

__all__ = ["HeldOut", "Part", "WarmUp", "check", "parts_of", "predict", "whole_runs"]

Tell = Callable[[int, int], object]  # takes how many are done, and how many there are

_TOLD: Final = 100  # frames between two reports
_MARGIN: Final = 4  # how many times tighter the bound of the prediction is: later input may amplify more


class Part(NamedTuple):
    """Frames of one row, from `first` up to `end`."""

    row: int
    first: int
    end: int


@dataclass(frozen=True)
class HeldOut:
    """The check of a predicted warm-up on the part of the data that it was not predicted from.

    chunks, frames: how many chunks ran, and how many of their frames were compared after the warm-up.
    largest: the largest difference from the whole run, as a share of the largest magnitude of the output.
    holds: whether `largest` is within the bound.
    """

    chunks: int
    frames: int
    largest: float
    holds: bool


@dataclass(frozen=True)
class WarmUp:
    """How many frames to run ahead of a chunk, so that its outputs are those of the whole run within a bound.

    bound: the largest difference allowed, as a share of the largest magnitude of each output.
    scales: these magnitudes, by the name of the output.
    frames: the predicted number of frames. None if a chunk was still beyond a quarter of the bound after `horizon`
        frames.
    median, longest: the number of frames that the chunks of the first part of the data needed.
    chunks: how many chunks the prediction comes from.
    horizon: the number of frames that each chunk ran.
    risk: the share of chunks that may need more frames than predicted.
    held_out: the check on the other part of the data. None without a prediction, or if that part is too short.
    """

    bound: float
    scales: Mapping[str, float]
    frames: int | None
    median: float
    longest: int
    chunks: int
    horizon: int
    risk: float
    held_out: HeldOut | None


def parts_of(frames: Frames) -> tuple[list[Part], list[Part]]:
    """Return the parts that predict and those that are held out: half of the rows each, or half of a single row."""
    rows, T = len(frames.rows), len(frames.rows[0])
    if rows > 1:
        each = [Part(n, 0, T) for n in range(rows)]
        return each[: rows // 2], each[rows // 2 :]
    return [Part(0, 0, T // 2)], [Part(0, T // 2, T)]


def whole_runs(frames: Frames, tell: Tell) -> list[dict[str, Array]]:
    """Return the floating outputs of each row, run from its first frame on: {name: (T, numbers)}.

    Raises `LearningError` for outputs that are not finite, `UnsupportedModelError` if no output is floating-point.
    """
    found = []
    for n, row in enumerate(frames.rows):
        outputs = _run(frames, row, partial(_tell_frame, tell, n * len(row), len(frames.rows) * len(row)))
        if not outputs:
            raise UnsupportedModelError(
                "chunks cannot be compared, because the model has no floating-point output besides its states"
            )
        for name, a in outputs.items():
            if not np.isfinite(a).all():
                t = int(np.argmin(np.isfinite(a).all(axis=1)))
                raise LearningError(f"output {name!r} is NaN or infinite, first in frame {t} of row {n}")
        found.append(outputs)
    return found


def _tell_frame(tell: Tell, before: int, total: int, t: int) -> None:
    tell(before + t, total)


def _run(frames: Frames, calls: Sequence[Frame], tell: Callable[[int], object] = lambda t: None) -> dict[str, Array]:
    stream = frames.model.stream(1, state=frames.states)
    made: list[tuple[Array, ...]] = []
    for t, call in enumerate(calls, 1):
        if t % _TOLD == 0:
            tell(t)
        y = stream.push(dict(call))
        made.append(y if isinstance(y, tuple) else (y,))
    columns = dict(zip(stream.outputs, zip(*made, strict=True), strict=True))
    return {
        name: np.stack([a.reshape(-1) for a in arrays])
        for name, arrays in columns.items()
        if arrays[0].dtype.kind == "f"
    }


def predict(
    frames: Frames,
    whole: Sequence[Mapping[str, Array]],
    bound: float,
    horizon: int | None,
    chunks: int,
    risk: float,
    tell: Tell,
    tell_check: Tell,
) -> WarmUp:
    """Predict the warm-up from the first part of the data, and check it on the other."""
    first, held = parts_of(frames)
    names = list(whole[0])
    scales = {
        name: max((float(np.abs(whole[p.row][name][p.first : p.end]).max()) for p in first), default=0.0) or 1.0
        for name in names
    }
    length = min(p.end - p.first for p in first)
    most = min(length - 1, horizon or max(length // 2, 1))
    starts = _spread([(p.row, t) for p in first for t in range(p.first + 1, p.end - most + 1)], chunks)
    errors = []
    for number, (n, t) in enumerate(starts, 1):
        tell(number, len(starts))
        errors.append(_beyond(frames, whole, scales, n, t, most))
    needed, tight = (np.array([_needed(each, b) for each in errors]) for b in (bound, bound / _MARGIN))
    predicted = None if (tight >= most).any() else _tail(tight, risk)
    found = WarmUp(bound, scales, predicted, float(np.median(needed)), int(needed.max()), len(starts), most, risk, None)
    if predicted is None:
        return found
    return check(frames, whole, found, held, chunks, tell_check)


def check(
    frames: Frames, whole: Sequence[Mapping[str, Array]], found: WarmUp, held: Sequence[Part], chunks: int, tell: Tell
) -> WarmUp:
    """Return the warm-up with its check. Chunks of the held-out parts run for up to `horizon` frames after it."""
    assert found.frames is not None
    ahead = found.frames
    starts = _spread([(p.row, t) for p in held for t in range(max(p.first, 1), p.end - ahead)], chunks)
    if not starts:
        return found
    ends = {p.row: p.end for p in held}
    count, largest = 0, 0.0
    for number, (n, t) in enumerate(starts, 1):
        tell(number, len(starts))
        length = min(ends[n] - t, ahead + found.horizon)
        errors = _beyond(frames, whole, found.scales, n, t, length)[ahead:]
        count, largest = count + len(errors), max(largest, float(errors.max()))
    of_held = HeldOut(len(starts), count, largest, largest <= found.bound)
    return WarmUp(**{**{name: getattr(found, name) for name in WarmUp.__annotations__}, "held_out": of_held})


def _beyond(
    frames: Frames, whole: Sequence[Mapping[str, Array]], scales: Mapping[str, float], n: int, t: int, length: int
) -> Array:
    """Return the difference of a chunk from the whole run, in shares of the scales, (length,).

    The chunk starts at frame t of row n. A difference of NaN counts as infinite.
    """
    own = _run(frames, frames.rows[n][t : t + length])
    far = [
        np.abs(a.astype(np.float64) - whole[n][name][t : t + length]).max(axis=1, initial=0) / scales[name]
        for name, a in own.items()
    ]
    return np.asarray(np.nan_to_num(np.max(far, axis=0), nan=np.inf))


def _needed(errors: Array, bound: float) -> int:
    late = np.flatnonzero(errors > bound)
    return int(late[-1]) + 1 if len(late) else 0


def _tail(needed: Array, risk: float) -> int:
    """Return what all but a share `risk` need, at least the longest, given an exponential tail above the median."""
    middle = float(np.median(needed))
    above = needed[needed > middle] - middle
    if not len(above):
        return int(needed.max())
    far = middle + above.mean() * max(0.0, np.log(len(above) / len(needed) / risk))
    return max(int(needed.max()), int(np.ceil(far)))


def _spread(places: list[tuple[int, int]], count: int) -> list[tuple[int, int]]:
    """Return up to `count` of the places, evenly spaced."""
    chosen = np.unique(np.linspace(0, len(places) - 1, min(count, len(places))).astype(np.int64))
    return [places[i] for i in chosen]

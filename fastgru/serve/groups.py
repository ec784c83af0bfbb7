"""Pushes of one model and one shape: the frames of several requests run as one batch, whose outputs are split again.

Sequences that may be cut run in parts whose lengths are powers of two, so that few programs serve every length.
"""

import math
import time as clock
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy import isfinite

from fastgru.errors import FastGRUError
from fastgru.graph import Array
from fastgru.serve.cost import LONG_NS, Cost
from fastgru.serve.cutting import Time, cuts, joined, part
from fastgru.serve.rows import Pool, Stateless, row_counts
from fastgru.serve.statistics import Statistics

__all__ = ["Frames", "Group"]

Frames = tuple[Array, ...]

_RUNS: Final = 3  # runs of a measurement, of which the shortest counts


class Group:
    """Pushes of frames of `shapes`, one for each input.

    axes: the batch axis of each input, None if a push takes only one request. rows: how many rows a request has. cost:
    the time of a push, by the number of requests. parts: where sequences are cut, empty if they are not. is_ready:
    whether the group is planned, proved and measured. answer_bytes: the size of the outputs of one request, as far as
    it is known.
    """

    __slots__ = (
        "_axes_out", "_largest", "_pool", "_push_rows", "_statistics", "_time", "answer_bytes", "axes", "cost",
        "is_ready", "parts", "rows", "shapes",
    )  # fmt: skip

    def __init__(
        self,
        pool: Pool | Stateless,
        shapes: tuple[tuple[int, ...], ...],
        axes: tuple[int, ...] | None,
        first_ns: float,
        statistics: Statistics,
        time: Time | None = None,
        longest: int = 1,
    ) -> None:
        self._statistics, self._push_rows = statistics, pool.push_rows
        self._pool, self.shapes, self.axes, self.cost, self._time = pool, shapes, axes, Cost(first_ns), time
        self.rows = 1 if axes is None else shapes[0][axes[0]]
        steps = 0 if time is None else time.steps(shapes)
        self.parts = cuts(steps, longest) if steps > 1 else []
        self.is_ready, self.answer_bytes = False, 0
        self._axes_out: tuple[int, ...] = ()
        self._largest = 1

    @property
    def is_stateless(self) -> bool:
        return isinstance(self._pool, Stateless)

    def prepare(self, frames: Frames) -> None:
        """Plan, prove and measure, without changing the state of any session. This may take long, on any thread.

        Raises what a push of these frames raises.
        """
        if self.is_ready:
            return
        pool = self._pool
        handles = [] if isinstance(pool, Stateless) else [pool.open() for _ in range(2 * self.rows)]
        try:
            alone = self._measured(handles[: self.rows], frames)
            if self.axes is not None:
                self._prove(handles, frames, alone)
        finally:
            for handle in handles:
                pool.close(handle)  # type: ignore[union-attr]
        self.is_ready = True

    def adopt(self, shortest: "Group", one_ns: float) -> None:
        """Become ready without a trial: all parts have been tried, and the batch axes are those of `shortest`."""
        self.axes = self.axes if shortest.axes is not None else None
        self._axes_out, self.cost, self.is_ready = shortest._axes_out, Cost(one_ns), True

    def _measured(self, handles: Sequence[int], frames: Frames) -> Frames:
        made = self._whole(np.array(handles, np.int64), frames)
        least = math.inf
        for _ in range(_RUNS):
            began = clock.perf_counter_ns()
            self._whole(np.array(handles, np.int64), frames)
            least = min(least, clock.perf_counter_ns() - began)
            if least > LONG_NS:
                break
        self.cost.measured(1, int(least))
        return made

    def _prove(self, handles: Sequence[int], frames: Frames, alone: Frames) -> None:
        """Find the batch axes of the outputs, or set `axes` to None if there are none.

        For a model without a state, also try whether its rows are independent; a pool only takes models whose rows are.
        """
        assert self.axes is not None
        beside = self._whole(np.array(handles, np.int64), self._batch([frames, frames]))
        found = []
        for one, two in zip(alone, beside, strict=True):
            grown = [i for i, (m, n) in enumerate(zip(one.shape, two.shape, strict=False)) if n != m]
            if one.ndim != two.ndim or len(grown) != 1 or two.shape[grown[0]] != 2 * one.shape[grown[0]]:
                self.axes = None
                return
            found.append(grown[0])
        self._axes_out = tuple(found)
        if self.is_stateless and self.cost.one_ns > LONG_NS:
            self.axes = None  # a batch would gain little, and the proof would take long
        elif self.is_stateless:
            self._try_batches(frames, alone)

    def _try_batches(self, frames: Frames, alone: Frames) -> None:
        """Try batches of these frames and others. Set `axes` to None if no others run, or if rows are dependent."""
        assert isinstance(self._pool, Stateless)
        for other in self._pool.others(frames):
            try:
                self._grow([frames, other], [alone, self._whole(np.empty(0, np.int64), other)])
                return
            except FastGRUError:  # frames that the model does not take
                continue
        self.axes = None

    def _grow(self, frames: Sequence[Frames], alone: Sequence[Frames]) -> None:
        """Find the largest batch that keeps the bits and is not too slow; set `axes` to None if rows are dependent.

        frames: those of two requests. alone: the outputs of each.
        """
        count, bits = 2, [_bits(made) for made in alone]
        while count <= 32:
            batch = self._batch([*frames] * (count // 2))
            got = self._split(self._whole(np.empty(0, np.int64), batch), count)
            if [_bits(made) for made in got] != bits * (count // 2):
                if count == 2:
                    self.axes = None
                return
            began = clock.perf_counter_ns()
            self._whole(np.empty(0, np.int64), batch)
            self.cost.measured(count, clock.perf_counter_ns() - began)
            self._largest = count
            if self.cost.ns(count) > 2e6:
                return
            count *= 2

    def alone(self, handles: Any, frames: Frames) -> Frames:
        """Return the outputs of one request."""
        if self.parts:
            made = self._whole(handles, frames)
        else:
            made = self._push_rows(handles, frames[0] if len(frames) == 1 else frames)
            if type(made) is not tuple:
                made = (made,)
        if not _all_finite(made):
            self._statistics.nonfinite += 1
        return made

    def push(self, handles: Any, frames: Sequence[Frames]) -> list[Frames]:
        """Return the outputs of each request. handles: `rows` for each request; empty for a model without a state."""
        count = len(frames)
        if count == 1 or self.axes is None:
            return [self.alone(handles[i : i + self.rows], each) for i, each in enumerate(frames)]
        if self.is_stateless and (count > self._largest or count & (count - 1)):
            results, begin = [], 0
            for size in row_counts(count, self._largest):
                results += self.push(handles, frames[begin : begin + size])
                begin += size
            return results
        made = self._whole(handles, self._batch(frames))
        each = self._split(made, count)
        if not _all_finite(made):
            self._statistics.nonfinite += sum([not _all_finite(outputs) for outputs in each])
        return each

    def steps(self, handles: Any, frames: Frames) -> Iterator[list[Frames]]:
        """Run one request part by part: yield an empty list after each part, and in the end the outputs."""
        made = []
        for given in self._cut(frames):
            made.append(self._at_once(handles, given))
            yield []
        assert self._time is not None
        yield [joined(made, self._time)]

    def _whole(self, handles: Any, frames: Frames) -> Frames:
        if not self.parts:
            return self._at_once(handles, frames)
        assert self._time is not None
        return joined([self._at_once(handles, given) for given in self._cut(frames)], self._time)

    def _at_once(self, handles: Any, frames: Frames) -> Frames:
        made = self._push_rows(handles, frames[0] if len(frames) == 1 else frames)
        return made if type(made) is tuple else (made,)

    def _cut(self, frames: Frames) -> Iterator[Frames]:
        assert self._time is not None
        axes = self._time.inputs
        for begin, end in self.parts:
            yield tuple([part(a, axis, begin, end) for a, axis in zip(frames, axes, strict=True)])

    def _batch(self, frames: Sequence[Frames]) -> Frames:
        assert self.axes is not None
        by_input = zip(*frames, strict=True)
        return tuple([_batch(each, axis) for each, axis in zip(by_input, self.axes, strict=True)])

    def _split(self, made: Frames, count: int) -> list[Frames]:
        """Return the outputs of each request as contiguous arrays."""
        each = [_split(array, axis, count) for array, axis in zip(made, self._axes_out, strict=True)]
        return list(zip(*each, strict=True))


def _bits(arrays: Frames) -> list[bytes]:
    return [array.tobytes() for array in arrays]


def _all_finite(arrays: Frames) -> bool:
    """Return whether no array has a NaN or an infinity. Twice as fast as `np.isfinite(array).all()` on small arrays."""
    for array in arrays:
        if array.dtype.kind == "f" and isfinite(array).tobytes().find(b"\0") >= 0:
            break
    else:
        return True
    return False


def _batch(arrays: Sequence[Any], axis: int) -> Array:
    """Concatenate arrays along the axis. Joining bytes takes a quarter of the time of `np.concatenate`."""
    shape = arrays[0].shape
    if math.prod(shape[:axis]) != 1:
        return np.concatenate(arrays, axis)
    joined: Array = np.frombuffer(b"".join(arrays), arrays[0].dtype)
    return joined.reshape(*shape[:axis], len(arrays) * shape[axis], *shape[axis + 1 :])


def _split(array: Array, axis: int, count: int) -> list[Array]:
    shape = array.shape
    rows = shape[axis] // count
    if math.prod(shape[:axis]) == 1:
        return list(array.reshape(count, *shape[:axis], rows, *shape[axis + 1 :]))
    return [np.ascontiguousarray(a) for a in np.split(array, count, axis)]

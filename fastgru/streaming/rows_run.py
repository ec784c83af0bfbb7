"""What a push of a pool's sessions runs where no single program does the work: all of it in Python."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from fastgru.engine import Runnable
from fastgru.errors import StateError
from fastgru.graph import Array
from fastgru.streaming.push_frame import End, PushFrame
from fastgru.streaming.rows import Shapes, rows_axis
from fastgru.streaming.store import Store

__all__ = ["RowsRun"]

_MOST_ROWS: Final = 32


class RowsRun:
    """As `rows.RowsPlan`, for frames of one row like `first`."""

    nbytes = 0

    def __init__(
        self,
        runnable: Runnable,
        store: Store,
        states: Mapping[str, str],
        axes: Mapping[str, int],
        first: tuple[Array, ...],
    ) -> None:
        self._runnable, self._states, self.store = runnable, states, store
        names = [spec.name for spec in runnable.inputs if spec.name not in states]
        self.inputs = [End(n, a.shape, a.dtype, axes[n]) for n, a in zip(names, first, strict=True)]
        self.shapes: Shapes = tuple(a.shape for a in first)
        self.idle: list[PushFrame] = []
        zero = np.zeros((2, store.bank), np.uint8)
        twice = tuple(np.repeat(a, 2, end.axis) for a, end in zip(first, self.inputs, strict=True))
        one, two = self._results(first, zero[:1]), self._results(twice, zero)
        self.outputs = []
        for name in [name for name in one if name not in states.values()]:
            axis = rows_axis(name, one[name].shape, two[name].shape)
            self.outputs.append(End(name, one[name].shape, one[name].dtype, axis))

    def frame(self) -> PushFrame:
        return PushFrame(self.store)

    def give_back(self, frame: PushFrame) -> None:
        pass

    def push(self, sessions: Array, frames: Any, out: Any) -> None:
        """There is no program to run on these arrays as they are."""

    def _results(self, frames: tuple[Array, ...], banks: Array) -> dict[str, Array]:
        states = {name: field.of(banks) for name, field in self.store.fields.items()}
        given = {end.name: array for end, array in zip(self.inputs, frames, strict=True)}
        results = self._runnable.run({**given, **states})
        for name, state in states.items():
            came = results[self._states[name]]
            if came.shape != state.shape or came.dtype != state.dtype:
                raise StateError(
                    f"state {name!r} is {state.dtype} {state.shape}, but its next value {self._states[name]!r} came as"
                    f" {came.dtype} {came.shape}"
                )
        return results

    def run(self, frame: PushFrame, sessions: Array, frames: tuple[Array, ...]) -> tuple[Array, ...]:
        frame.hold(sessions, (), ())
        store, blocks = frame.store, []
        for begin in range(0, len(sessions), _MOST_ROWS):
            rows = slice(begin, begin + _MOST_ROWS)
            given = [a[(*[slice(None)] * end.axis, rows)] for a, end in zip(frames, self.inputs, strict=True)]
            banks = store.banks(sessions[rows])
            results = self._results(tuple(given), banks)
            for name, field in store.fields.items():
                field.into(banks, results[self._states[name]])
            store.put_beside(sessions[rows], banks)
            blocks.append(results)
        if not blocks:
            return tuple([end.empty(0) for end in self.outputs])
        return tuple([np.concatenate([each[end.name] for each in blocks], end.axis) for end in self.outputs])

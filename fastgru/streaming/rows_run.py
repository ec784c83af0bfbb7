"""Run a push of a pool's sessions in Python, for models that no single program runs."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from fastgru.engine import Runnable
from fastgru.errors import StateError
from fastgru.graph import Array
from fastgru.streaming.batch import Axes
from fastgru.streaming.push_frame import PushFrame
from fastgru.streaming.rows import Rows
from fastgru.streaming.store import Store

__all__ = ["RowsRun"]

_MOST_ROWS: Final = 32


class RowsRun(Rows):
    """A plan like `rows.RowsPlan` without programs. first: frames of one row."""

    nbytes = 0

    def __init__(
        self, runnable: Runnable, store: Store, states: Mapping[str, str], axes: Axes, first: tuple[Array, ...]
    ) -> None:
        super().__init__(runnable, store, states, axes)
        given = dict(zip(self._names, first, strict=True))
        zero = np.zeros((2, store.bank), np.uint8)
        one = two = self._results(given, zero[:1])
        if self.together:
            two = self._results({name: np.repeat(a, 2, axes.inputs[name]) for name, a in given.items()}, zero)
        self._find_ends(given, one, two)

    def frame(self) -> PushFrame:
        return PushFrame(self.store)

    def give_back(self, frame: PushFrame) -> None:
        pass

    def push(self, sessions: Array, frames: Any, out: Any) -> None:
        """Return None: there is no program that takes these arrays as they are."""

    def _results(self, frames: Mapping[str, Array], banks: Array) -> dict[str, Array]:
        states = {name: field.of(banks) for name, field in self.store.fields.items()}
        results = self._runnable.run({**frames, **states})
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
        most = _MOST_ROWS if self.together else 1
        for begin in range(0, len(sessions), most):
            rows = slice(begin, begin + most)
            given = {e.name: a[(*[slice(None)] * e.axis, rows)] for a, e in zip(frames, self.inputs, strict=True)}
            banks = store.banks(sessions[rows])
            results = self._results(given, banks)
            for name, field in store.fields.items():
                field.into(banks, results[self._states[name]])
            store.put_beside(sessions[rows], banks)
            blocks.append(results)
        if not blocks:
            return tuple([end.empty(0) for end in self.outputs])
        return tuple([np.concatenate([each[end.name] for each in blocks], end.axis) for end in self.outputs])

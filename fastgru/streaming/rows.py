"""The programs that a push of a pool's sessions runs, for frames of certain shapes, from one row to many.

A push of n sessions is cut into blocks of as many rows as there are programs for. A program of two or three rows takes
hardly more time per row than one of many rows; only a program of one row reads all weights for that row alone. So a few
programs serve every number of sessions. All of them use one arena. A model that takes one session at a time has only
the program of one row, which runs on each state where it lies.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import numpy as np

from fastgru.engine import Runnable
from fastgru.engine.program import CallFrame, Joined, Program, Slot
from fastgru.engine.threads import forget_at_forks
from fastgru.engine.worth import Sharing, Trial
from fastgru.errors import StateError, UnsupportedModelError
from fastgru.graph import Array
from fastgru.kernels.operands.sessions import TEAM_OF
from fastgru.kernels.run import MISFIT, NO_ROOM
from fastgru.streaming.batch import Axes
from fastgru.streaming.push_frame import End, Programs, PushFrame
from fastgru.streaming.store import Store

__all__ = ["Rows", "RowsPlan", "Shapes", "with_rows"]

Shapes = tuple[tuple[int, ...], ...]
Sized = Mapping[str, Slot] | Mapping[str, Array]

_SIZES: Final = (1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 24, 32)
_MOST_BYTES: Final = 32 << 20  # limit of an arena and the staging beside it, if a program has more than 2 rows
_MAX_IDLE: Final = 4
_NOT_RUN: Final = (MISFIT, NO_ROOM)

_empty = np.empty


def with_rows(shape: tuple[int | None, ...], axis: int, rows: int | None) -> tuple[Any, ...]:
    """Return the shape with this number of rows, None for any number."""
    return (*shape[:axis], rows, *shape[axis + 1 :])


class Rows:
    """The base of plans that push frames of certain shapes, of sessions in `store`. states: {input: output}.

    inputs, outputs: the arrays that a push takes and returns. shapes: the shapes of the inputs with one row.
    idle: push frames that no push is using. together: whether sessions are the rows of a batch; if not, each session
    runs by itself.
    """

    def __init__(self, runnable: Runnable, store: Store, states: Mapping[str, str], axes: Axes) -> None:
        self._runnable, self.store, self._states, self._axes = runnable, store, states, axes
        self._names = [spec.name for spec in runnable.inputs if spec.name not in states]
        self.together = axes.outputs is None
        self.inputs: list[End] = []
        self.outputs: list[End] = []
        self.shapes: Shapes = ()
        self.idle: list[PushFrame] = []

    def _find_ends(self, inputs: Sized, one: Sized, two: Sized) -> None:
        """Find the inputs and outputs of a push.

        inputs: those of one row. one, two: all outputs with one row and with two; `two` is read only if sessions run
        together.

        Raises `UnsupportedModelError` if an output has no axis of rows.
        """
        known = self._axes.outputs
        for name in self._names:
            self.inputs.append(End(name, inputs[name].shape, np.dtype(inputs[name].dtype), self._axes.inputs[name]))
        for name in [name for name in one if name not in self._states.values()]:
            shape = one[name].shape
            axis = known[name] if known is not None else _rows_axis(name, shape, two[name].shape)
            if shape[axis : axis + 1] != (1,):
                raise UnsupportedModelError(f"output {name!r} has shape {shape}, expected 1 on axis {axis}")
            self.outputs.append(End(name, shape, np.dtype(one[name].dtype), axis))
        self.shapes = tuple([end.shape for end in self.inputs])


class RowsPlan(Rows):
    """The programs for frames of `shapes`. shapes: those of one row. one: the program for one row.

    Raises `UnsupportedModelError` if an output has no axis of rows, and `StateError` if a state changes its shape.
    """

    def __init__(
        self, runnable: Runnable, store: Store, states: Mapping[str, str], axes: Axes, shapes: Shapes, one: Program
    ) -> None:
        super().__init__(runnable, store, states, axes)
        self._gone = runnable.budget.gone
        self._frames = dict(zip(self._names, shapes, strict=True))
        two = self._planned(2) if self.together else None
        self._find_ends(one.inputs, one.outputs, (two or one).outputs)
        for name, output in states.items():
            came, following = one.inputs[name].shape, one.outputs[output].shape
            if following != came:
                raise StateError(
                    f"state {name!r} has shape {came}, but its next value {output!r} has shape {following} for inputs"
                    f" of {self._frames}"
                )
        self.programs = {1: one} if two is None or store.capacity == 1 else self._programs(one, two)
        self.sharings = {n: Sharing(p.members, p.gain_s, runnable.spin_us) for n, p in self.programs.items()}
        self.teams = np.zeros((len(self.programs), TEAM_OF.words), np.int64)
        self._all = Programs(self.programs, self.teams, self.inputs, self.outputs, states)
        self._joined = True

    def _programs(self, one: Program, two: Program) -> dict[int, Program]:
        """Return {number of rows: program}, the fewest rows first."""
        beside = sum(e.before * e.nbytes for e in (*self.inputs, *self.outputs))
        beside += 2 * sum(field.nbytes for field in self.store.fields.values())
        most = _MOST_BYTES // max(1, max(one.arena_bytes, two.arena_bytes - one.arena_bytes) + beside)
        sizes = [n for n in _SIZES[2:] if n <= min(most, self.store.capacity)]
        return {1: one, 2: two, **{n: self._planned(n) for n in sizes}}

    def _planned(self, rows: int) -> Program:
        shapes = {name: with_rows(shape, self._axes.inputs[name], rows) for name, shape in self._frames.items()}
        states = {name: field.shape(rows) for name, field in self.store.fields.items()}
        program = self._runnable.planned({**shapes, **states})
        assert program is not None
        return program

    @property
    def nbytes(self) -> int:
        frame = self.frame()
        self.give_back(frame)
        return sum(program.nbytes for program in self.programs.values()) + _MAX_IDLE * frame.nbytes

    def frame(self) -> PushFrame:
        """Return the memory in which a push runs. No other push uses it before `give_back`."""
        try:
            return self.idle.pop()
        except IndexError:
            if not self._joined:
                self._join()
            return PushFrame(self.store, self._all)

    def give_back(self, frame: PushFrame) -> None:
        if len(self.idle) < _MAX_IDLE:
            self.idle.append(frame)

    def push(self, sessions: Array, frames: Any, out: Any) -> Any:
        """Push these sessions. Return the outputs, which are `out` unless that is None.

        Returns None, without a push, if no idle frame is left, if the frame has no room for so many sessions, or if an
        array is not as the programs take it. Raises as `SessionPool.push_rows`; all states then stay as they were.
        """
        try:
            frame = self.idle.pop()
        except IndexError:
            return None
        if out is None:
            made = [end.empty(sessions.size) for end in self.outputs]
            out = made[0] if len(made) == 1 else tuple(made)
        code = frame.push(frame.ticket, 0, sessions, frames, out)
        try:
            if code and code not in _NOT_RUN:
                frame.raise_for(code, sessions)
        finally:
            self.give_back(frame)
        return None if code else out

    def run(self, frame: PushFrame, sessions: Array, frames: tuple[Array, ...]) -> tuple[Array, ...]:
        """Return the outputs of these sessions for frames that fit. Sessions are held until the push is settled."""
        made = tuple([end.empty(len(sessions)) for end in self.outputs])
        frame.hold(sessions, frames, made)
        return made

    def choose_teams(self, frames: tuple[Array, ...]) -> None:
        """Have teams run the programs for which a team pays. frames: frames of one row, for the trials."""
        for (rows, sharing), words in zip(self.sharings.items(), self.teams, strict=True):
            if sharing.members > 1:
                words[:] = _words(sharing.team(partial(self._trial, rows, frames)))
                if words[TEAM_OF.team]:
                    forget_at_forks(self)

    def _trial(self, rows: int, frames: tuple[Array, ...]) -> Trial:
        program = self.programs[rows]
        given = {name: np.zeros(field.shape(rows), field.dtype) for name, field in self.store.fields.items()}
        for end, array in zip(self.inputs, frames, strict=True):
            given[end.name] = np.ascontiguousarray(np.repeat(array, rows, end.axis), end.dtype)
        outputs = tuple([_empty(slot.shape, slot.dtype) for slot in program.outputs.values()])
        frame = CallFrame(program)
        return partial(frame.call_on, inputs=tuple([given[name] for name in program.inputs]), outputs=outputs)

    def forget_team(self) -> None:
        """Have the next push make the teams: called in a forked child."""
        self.teams[:] = 0
        self._joined = False
        self.idle.clear()

    def _join(self) -> None:
        for sharing, words in zip(self.sharings.values(), self.teams, strict=True):
            if sharing.members > 1:
                words[:] = _words(sharing.team(partial(self._trial, 1, ())))
        self._joined = True

    def __del__(self) -> None:
        self._gone.append(id(self))


def _words(team: Joined | None) -> tuple[int, int, int]:
    return (0, 0, 0) if team is None else (team.address, team.spin_ns, int(team.asleep))


def _rows_axis(name: str, one: tuple[int, ...], two: tuple[int, ...]) -> int:
    """Return the axis of the rows in an output, found from its shapes with one row and with two."""
    grown = [i for i, (m, n) in enumerate(zip(one, two, strict=False)) if m != n]
    if len(one) != len(two) or len(grown) != 1 or (one[grown[0]], two[grown[0]]) != (1, 2):
        raise UnsupportedModelError(
            f"output {name!r} has shape {one} with one row and {two} with two, so the rows of this model depend on one"
            " another; keep a stream for each session"
        )
    return grown[0]

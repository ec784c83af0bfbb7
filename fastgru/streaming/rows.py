"""Programs for frames of certain shapes, from one row to many: what a push of a pool's sessions runs.

A push of n sessions is cut into blocks of as many rows as there is a program for: from two or three rows on a program
takes as long a row as with many, as one row reads all weights for itself, so few programs serve every number. All of
them use one arena.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import numpy as np

from fastgru.engine import Runnable
from fastgru.engine.program import CallFrame, Joined, Program
from fastgru.engine.threads import forget_at_forks
from fastgru.engine.worth import Sharing, Trial
from fastgru.errors import StateError, UnsupportedModelError
from fastgru.graph import Array
from fastgru.kernels.operands.sessions import TEAM_OF
from fastgru.kernels.run import MISFIT, NO_ROOM
from fastgru.streaming.push_frame import End, Programs, PushFrame
from fastgru.streaming.store import Store

__all__ = ["RowsPlan", "Shapes", "rows_axis", "with_rows"]

Shapes = tuple[tuple[int, ...], ...]

_SIZES: Final = (1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 24, 32)
_MOST_BYTES: Final = 32 << 20  # of an arena, and what lies beside it, of more than one row
_MAX_IDLE: Final = 4
_NOT_RUN: Final = (MISFIT, NO_ROOM)

_empty = np.empty


def with_rows(shape: tuple[int, ...], axis: int, rows: int) -> tuple[int, ...]:
    """The shape with so many rows."""
    return (*shape[:axis], rows, *shape[axis + 1 :])


class RowsPlan:
    """The programs for frames of `shapes`, with one row each, for which `one` is the program. axes: of the rows, of
    every input. states: {input: output}.

    idle: what a push runs in, when no other has it. ends: inputs, then outputs.

    Raises `UnsupportedModelError` where an output has no axis of rows, `StateError` where a state changes its shape.
    """

    def __init__(
        self,
        runnable: Runnable,
        store: Store,
        states: Mapping[str, str],
        axes: Mapping[str, int],
        shapes: Shapes,
        one: Program,
    ) -> None:
        self.shapes, self.store, self.states, self._runnable = shapes, store, states, runnable
        self._frames = dict(zip([s.name for s in runnable.inputs if s.name not in states], shapes, strict=True))
        self._axes, self._gone = axes, runnable.budget.gone
        two = self._planned(2)
        self.inputs = [End(n, one.inputs[n].shape, np.dtype(one.inputs[n].dtype), axes[n]) for n in self._frames]
        own = [name for name in one.outputs if name not in states.values()]
        axes_out = {name: rows_axis(name, one.outputs[name].shape, two.outputs[name].shape) for name in own}
        self.outputs = [
            End(name, one.outputs[name].shape, np.dtype(one.outputs[name].dtype), axes_out[name]) for name in own
        ]
        for name, output in states.items():
            came, following = one.inputs[name].shape, one.outputs[output].shape
            if following != came:
                raise StateError(
                    f"state {name!r} has shape {came}, but its next value {output!r} has shape {following} for inputs"
                    f" of {self._frames}"
                )
        beside = sum(e.before * e.nbytes for e in (*self.inputs, *self.outputs))
        beside += 2 * sum(field.nbytes for field in store.fields.values())
        most = _MOST_BYTES // max(1, max(one.arena_bytes, two.arena_bytes - one.arena_bytes) + beside)
        sizes = [n for n in _SIZES[2:] if n <= min(most, store.capacity)]
        self.programs = {1: one, **({2: two} if store.capacity > 1 else {}), **{n: self._planned(n) for n in sizes}}
        self.sharings = {n: Sharing(p.members, p.gain_s, runnable.spin_us) for n, p in self.programs.items()}
        self.teams = np.zeros((len(self.programs), TEAM_OF.words), np.int64)
        self._all = Programs(self.programs, self.teams, self.inputs, self.outputs, states)
        self.idle: list[PushFrame] = []
        self._joined = True

    def _planned(self, rows: int) -> Program:
        shapes = {name: with_rows(shape, self._axes[name], rows) for name, shape in self._frames.items()}
        states = {name: with_rows(f.shape, f.axis, rows) for name, f in self.store.fields.items()}
        program = self._runnable.planned({**shapes, **states})
        assert program is not None
        return program

    @property
    def nbytes(self) -> int:
        frame = self.frame()
        self.give_back(frame)
        return sum(program.nbytes for program in self.programs.values()) + _MAX_IDLE * frame.nbytes

    def frame(self) -> PushFrame:
        """What one push at a time runs in."""
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
        """What these sessions give, in `out` unless that is None; None where an array is not as the programs take it.

        Raises as `SessionPool.push_rows`; all of it has happened, or nothing.
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
        """What these sessions give for frames that fit; they are held until the push is settled."""
        made = tuple([end.empty(len(sessions)) for end in self.outputs])
        frame.hold(sessions, frames, made)
        return made

    def choose_teams(self, frames: tuple[Array, ...]) -> None:
        """Have teams run the programs for which that pays with frames like these, of one row."""
        for (rows, sharing), words in zip(self.sharings.items(), self.teams, strict=True):
            if sharing.members > 1:
                words[:] = _words(sharing.team(partial(self._trial, rows, frames)))
                if words[TEAM_OF.team]:
                    forget_at_forks(self)

    def _trial(self, rows: int, frames: tuple[Array, ...]) -> Trial:
        program = self.programs[rows]
        given = {name: np.zeros(with_rows(f.shape, f.axis, rows), f.dtype) for name, f in self.store.fields.items()}
        for end, array in zip(self.inputs, frames, strict=True):
            given[end.name] = np.ascontiguousarray(np.repeat(array, rows, end.axis), end.dtype)
        outputs = tuple([_empty(slot.shape, slot.dtype) for slot in program.outputs.values()])
        frame = CallFrame(program)
        return partial(frame.call_on, inputs=tuple([given[name] for name in program.inputs]), outputs=outputs)

    def forget_team(self) -> None:
        """In a forked child: the next push makes the teams."""
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


def rows_axis(name: str, one: tuple[int, ...], two: tuple[int, ...]) -> int:
    """The axis along which an output has as many rows as the frames, by its shapes with one and with two."""
    grown = [i for i, (m, n) in enumerate(zip(one, two, strict=False)) if m != n]
    if len(one) != len(two) or len(grown) != 1 or (one[grown[0]], two[grown[0]]) != (1, 2):
        raise UnsupportedModelError(
            f"output {name!r}: has shape {one} with one row and {two} with two: the rows of this model depend on one"
            " another; keep a stream for each session"
        )
    return grown[0]

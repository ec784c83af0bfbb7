"""Programs for frames of certain shapes, from one row to many: what a push of a pool's sessions runs.

A push of n sessions is cut into blocks of as many rows as there is a program for: from two or three rows on a program
takes as long a row as with many, as one row reads all weights for itself, so few programs serve every number. All of
them use one arena.
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, NoReturn

import numpy as np

from fastgru.engine import Runnable
from fastgru.engine.program import CallFrame, Joined, Program
from fastgru.engine.threads import forget_at_forks
from fastgru.engine.worth import Sharing, Trial
from fastgru.errors import ShapeError, StateError, UnsupportedModelError
from fastgru.graph import Array
from fastgru.kernels.operands.sessions import CARRIED, END, PUSH, RUNG, TEAM_OF
from fastgru.kernels.operands.team import MEMBER, STATUS, TEAM
from fastgru.kernels.operands.ticket import REPORT
from fastgru.kernels.run import IN_USE, MISFIT, NO_ROOM, NOT_OPEN, TWICE, session_calls
from fastgru.kernels.table import BASES, FAILURES, FORKED
from fastgru.packing.aligned import zeros
from fastgru.process import process
from fastgru.simd.ndarray import WRITEABLE, rows_expectation
from fastgru.streaming.store import Store

__all__ = ["PushFrame", "RowsPlan", "Shapes", "with_rows"]

Shapes = tuple[tuple[int, ...], ...]

_SIZES: Final = (1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 24, 32)
_MOST_BYTES: Final = 32 << 20  # of an arena, and what lies beside it, of more than one row
_MAX_IDLE: Final = 4
_ROOM: Final = 64
_INT64: Final = np.dtype(np.int64)

_empty = np.empty


def with_rows(shape: tuple[int, ...], axis: int, rows: int) -> tuple[int, ...]:
    """The shape with so many rows."""
    return (*shape[:axis], rows, *shape[axis + 1 :])


class End:
    """An input or output of a push: its shape with one row, its dtype, the axis of the rows."""

    def __init__(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], axis: int) -> None:
        self.name, self.shape, self.dtype, self.axis = name, shape, dtype, axis
        self.before, self.nbytes = math.prod(shape[:axis]), math.prod(shape[axis + 1 :]) * dtype.itemsize
        self.ahead, self.behind = shape[:axis], shape[axis + 1 :]

    def empty(self, rows: int) -> Array:
        return _empty((*self.ahead, rows, *self.behind), self.dtype)


class RowsPlan:
    """The programs for frames of `shapes`, with one row each. axes: of the rows, of every input. states: {input:
    output}.

    idle: what a push runs in, when no other has it. ends: inputs, then outputs.

    Raises `UnsupportedModelError` where an output has no axis of rows, `StateError` where a state changes its shape.
    """

    def __init__(
        self, runnable: Runnable, store: Store, states: Mapping[str, str], axes: Mapping[str, int], shapes: Shapes
    ) -> None:
        self.shapes, self.store, self.states, self._runnable = shapes, store, states, runnable
        self._frames = dict(zip([s.name for s in runnable.inputs if s.name not in states], shapes, strict=True))
        self._axes, self._gone = axes, runnable.budget.gone
        one, two = self._planned(1), self._planned(2)
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
        return sum(program.nbytes for program in self.programs.values()) + _MAX_IDLE * self.frame().nbytes

    def frame(self) -> "PushFrame":
        """What one push at a time runs in."""
        try:
            return self.idle.pop()
        except IndexError:
            if not self._joined:
                self._join()
            return PushFrame(self, self.store)

    def give_back(self, frame: "PushFrame") -> None:
        if len(self.idle) < _MAX_IDLE:
            self.idle.append(frame)

    def make(self, rows: int) -> Any:
        """Arrays for what so many rows give: a tuple, or the only one."""
        outputs = self.outputs
        return outputs[0].empty(rows) if len(outputs) == 1 else tuple([end.empty(rows) for end in outputs])

    def run(self, frame: "PushFrame", sessions: Array, frames: tuple[Array, ...]) -> tuple[Array, ...]:
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


class PushFrame:
    """The memory in which one push at a time runs the programs of a plan; without one, it only holds sessions.

    `push` is the native function, to be called with `ticket`, 0 or 1 (the sessions stay held), sessions, frames and
    outputs; it answers 0, or what `raise_for` takes.
    """

    __slots__ = ("_keeps", "_plan", "_rows", "_words", "nbytes", "push", "store", "ticket")

    def __init__(self, plan: RowsPlan | None, store: Store) -> None:
        self._plan, self.store, self.push = plan, store, session_calls().push
        status = zeros(STATUS.words, np.int64)
        status[STATUS.process] = process.ctypes.data
        for team in (STATUS.own + MEMBER.team, STATUS.own + MEMBER.alone):
            status[team + TEAM.members] = 1
        sessions = rows_expectation((0,), _INT64, 0)
        ends = [] if plan is None else [*plan.inputs, *plan.outputs]
        fields = [] if plan is None else [*store.fields.values()]
        programs: Sequence[Program] = [] if plan is None else [*plan.programs.values()]
        size = PUSH.words + END.words * len(ends) + CARRIED.words * len(fields) + RUNG.words * len(programs)
        self._words = words = np.zeros(size, np.int64)
        words[[PUSH.pool, PUSH.status, PUSH.sessions]] = store.at, status.ctypes.data, sessions.ctypes.data
        words[[PUSH.tuple, PUSH.states, PUSH.rungs]] = id(tuple), len(fields), len(programs)
        self._keeps: list[Any] = [status, sessions, store]
        if plan is not None:
            words[[PUSH.inputs, PUSH.outputs]] = len(plan.inputs), len(plan.outputs)
            self._lay_out(plan, words[PUSH.ends :], status)
        self._make_room(_ROOM)
        self.ticket = int(words.ctypes.data)
        self.nbytes = sum(kept.nbytes for kept in self._keeps if isinstance(kept, np.ndarray))

    def _lay_out(self, plan: RowsPlan, words: Array, status: Array) -> None:
        largest, ends = max(plan.programs), [*plan.inputs, *plan.outputs]
        about = words[: END.words * len(ends)].reshape(-1, END.words)
        for i, (end, own) in enumerate(zip(ends, about, strict=True)):
            expected = rows_expectation(end.shape, end.dtype, 0 if i < len(plan.inputs) else WRITEABLE)
            staged = self._kept(0 if end.before == 1 else largest * end.before * end.nbytes)
            self._keeps.append(expected)
            own[[END.expected, END.axis, END.before]] = expected.ctypes.data, end.axis, end.before
            own[[END.nbytes, END.staged]] = end.nbytes, staged
        words, fields = words[about.size :], self.store.fields.values()
        about = words[: CARRIED.words * len(fields)].reshape(-1, CARRIED.words)
        for field, own in zip(fields, about, strict=True):
            own[:] = (
                field.before, field.nbytes // max(field.before, 1), field.at,
                self._kept(largest * field.nbytes), self._kept(largest * field.nbytes),
            )  # fmt: skip
        arena = self._kept(max(program.arena_bytes for program in plan.programs.values()))
        about = words[about.size :].reshape(-1, RUNG.words)
        for (rows, program), team, own in zip(plan.programs.items(), plan.teams, about, strict=True):
            table = program.bases.copy()
            table[[BASES.status, BASES.arena]] = status.ctypes.data, arena
            states = [*self.store.fields]
            slots = [program.inputs[end.name] for end in plan.inputs] + [program.outputs[e.name] for e in plan.outputs]
            slots += [program.inputs[name] for name in states] + [program.outputs[plan.states[n]] for n in states]
            bases = np.array([slot.base for slot in slots], np.int64)
            self._keeps += [table, bases, program, plan.teams]
            own[:] = rows, program.words.ctypes.data, table.ctypes.data, team.ctypes.data, bases.ctypes.data

    def _kept(self, nbytes: int) -> int:
        array = zeros(max(nbytes, 1), np.uint8)
        self._keeps.append(array)
        return int(array.ctypes.data)

    def _make_room(self, rows: int) -> None:
        self._rows = np.zeros(rows, np.int64)
        self._words[[PUSH.rows, PUSH.room]] = self._rows.ctypes.data, rows

    def use(self, store: Store) -> None:
        """Run on the sessions of this one, whose states are those of the plan's."""
        self.store, self._words[PUSH.pool] = store, store.at

    def chain_to(self, other: int) -> int:
        """Have the push end together with that of another ticket, or 0; the ticket of both."""
        self._words[PUSH.chained] = other
        return self.ticket

    def hold(self, sessions: Array, frames: Any, outputs: Any) -> None:
        """Push, and keep the sessions until the push is settled. The arrays must fit. Raises as `push_rows`."""
        code = self.push(self.ticket, 1, sessions, frames, outputs)
        if code == NO_ROOM:
            self._make_room(1 << (len(sessions) - 1).bit_length())
            code = self.push(self.ticket, 1, sessions, frames, outputs)
        if code:
            self.raise_for(code, sessions)

    def raise_for(self, code: int, sessions: Array) -> NoReturn:
        """Raise what an answer of `push` says."""
        report = self._words[PUSH.report :]
        if code in (NOT_OPEN, IN_USE):
            self.store.refuse(code, int(sessions[report[REPORT.first]]))
        if code == TWICE:
            raise ShapeError(f"sessions: {sessions[report[REPORT.first]]} comes twice, expected each once in a push")
        if code == MISFIT or self._plan is None:
            raise ShapeError("push: an array changed while it was checked")
        first, second, instruction, rows = report[
            [REPORT.first, REPORT.second, REPORT.instruction, REPORT.rows]
        ].tolist()
        kind = StateError if code == FORKED else ShapeError
        raise kind(f"{self._plan.programs[rows].labels[instruction]}: {FAILURES[code].format(first, second)}")

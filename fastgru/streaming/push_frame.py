"""The memory in which a push of a pool's sessions runs, one push at a time: see `kernels.sessions`."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, NoReturn

import numpy as np

from fastgru.engine.program import Program
from fastgru.errors import ShapeError, StateError
from fastgru.graph import Array
from fastgru.kernels.operands.sessions import CARRIED, END, PUSH, RUNG
from fastgru.kernels.operands.team import MEMBER, STATUS, TEAM
from fastgru.kernels.operands.ticket import REPORT
from fastgru.kernels.run import IN_USE, MISFIT, NO_ROOM, NOT_OPEN, TWICE, session_calls
from fastgru.kernels.table import BASES, FAILURES, FORKED
from fastgru.packing.aligned import zeros
from fastgru.process import process
from fastgru.simd.ndarray import WRITEABLE, rows_expectation
from fastgru.streaming.store import Store

__all__ = ["End", "Programs", "PushFrame"]

_ROOM: Final = 64
_INT64: Final = np.dtype(np.int64)

_empty = np.empty


class End:
    """An input or output of a push: its shape with one row, its dtype, and the axis of the rows."""

    def __init__(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], axis: int) -> None:
        self.name, self.shape, self.dtype, self.axis = name, shape, dtype, axis
        self.before, self.nbytes = math.prod(shape[:axis]), math.prod(shape[axis + 1 :]) * dtype.itemsize
        self.ahead, self.behind = shape[:axis], shape[axis + 1 :]

    def empty(self, rows: int) -> Array:
        return _empty((*self.ahead, rows, *self.behind), self.dtype)


class Programs(NamedTuple):
    """The programs of a plan.

    of_rows: {number of rows: program}, the fewest rows first. teams: the words of each program's team (`TEAM_OF`).
    inputs, outputs: the ends of the plan. states: {input: output}.
    """

    of_rows: Mapping[int, Program]
    teams: Array
    inputs: Sequence[End]
    outputs: Sequence[End]
    states: Mapping[str, str]


class PushFrame:
    """The memory in which one push at a time runs programs. Without programs, a push only holds the sessions.

    push: the native function. It takes `ticket`, 0 or 1 (1: the sessions stay held), sessions, frames and outputs. It
        returns 0, or a code for `raise_for`.
    """

    __slots__ = ("_keeps", "_labels", "_rows", "_words", "nbytes", "push", "store", "ticket")

    def __init__(self, store: Store, programs: Programs | None = None) -> None:
        self.store, self.push = store, session_calls().push
        self._labels = {} if programs is None else {rows: p.labels for rows, p in programs.of_rows.items()}
        status = zeros(STATUS.words, np.int64)
        status[STATUS.process] = process.ctypes.data
        for team in (STATUS.own + MEMBER.team, STATUS.own + MEMBER.alone):
            status[team + TEAM.members] = 1
        sessions = rows_expectation((0,), _INT64, 0)
        size = PUSH.words
        if programs is not None:
            size += END.words * (len(programs.inputs) + len(programs.outputs))
            size += CARRIED.words * len(store.fields) + RUNG.words * len(programs.of_rows)
        self._words = words = np.zeros(size, np.int64)
        words[[PUSH.pool, PUSH.status, PUSH.sessions]] = store.at, status.ctypes.data, sessions.ctypes.data
        words[PUSH.tuple] = id(tuple)
        self._keeps: list[Any] = [status, sessions, store]
        if programs is not None:
            words[[PUSH.inputs, PUSH.outputs]] = len(programs.inputs), len(programs.outputs)
            words[[PUSH.states, PUSH.rungs]] = len(store.fields), len(programs.of_rows)
            self._lay_out(programs, words[PUSH.ends :], status)
        self._make_room(_ROOM)
        self.ticket = int(words.ctypes.data)
        self.nbytes = sum(kept.nbytes for kept in self._keeps if isinstance(kept, np.ndarray))

    def _lay_out(self, plan: Programs, words: Array, status: Array) -> None:
        largest, ends = max(plan.of_rows), [*plan.inputs, *plan.outputs]
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
        arena = self._kept(max(program.arena_bytes for program in plan.of_rows.values()))
        about = words[about.size :].reshape(-1, RUNG.words)
        for (rows, program), team, own in zip(plan.of_rows.items(), plan.teams, about, strict=True):
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
        """Run on the sessions of this store, which has the same states as the plan's store."""
        self.store, self._words[PUSH.pool] = store, store.at

    def chain_to(self, other: int) -> int:
        """Have the push end together with that of another ticket (0: none). Return the ticket that settles both."""
        self._words[PUSH.chained] = other
        return self.ticket

    def hold(self, sessions: Array, frames: Any, outputs: Any) -> None:
        """Push, and hold the sessions until the push is settled. The arrays must fit. Raises as `push_rows`."""
        code = self.push(self.ticket, 1, sessions, frames, outputs)
        if code == NO_ROOM:
            self._make_room(1 << (len(sessions) - 1).bit_length())
            code = self.push(self.ticket, 1, sessions, frames, outputs)
        if code:
            self.raise_for(code, sessions)

    def raise_for(self, code: int, sessions: Array) -> NoReturn:
        """Raise the exception for a code that `push` returned."""
        report = self._words[PUSH.report :]
        if code in (NOT_OPEN, IN_USE):
            self.store.refuse(code, int(sessions[report[REPORT.first]]))
        if code == TWICE:
            raise ShapeError(
                f"sessions: {sessions[report[REPORT.first]]} comes twice, expected each session once in a push"
            )
        if code == MISFIT:
            raise ShapeError("push: an array changed while it was checked")
        first, second, instruction, rows = report[
            [REPORT.first, REPORT.second, REPORT.instruction, REPORT.rows]
        ].tolist()
        kind = StateError if code == FORKED else ShapeError
        raise kind(f"{self._labels[rows][instruction]}: {FAILURES[code].format(first, second)}")

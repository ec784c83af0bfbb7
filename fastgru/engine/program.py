"""A finished plan, and frames: the memory in which one caller at a time runs it.

Who keeps what alive, and for how long, of everything whose address native code reads:

    what                                          kept by
    arrays of a call: inputs, outputs             the tuples that a native call is given, until it returns
    constants: packed weights, tables             `Program.constants`, with the program
    instructions                                  `Program.words`, with the program
    arena, addresses, status, ticket              `CallFrame`, with the program; a frame runs one call at a time
    banks of a stream's state, and its words      the frames that are bound to them, besides the stream
    slots of a pool's sessions, and its words     `streaming.store.Store`, with every frame that pushes them
    words and locks of a team                     `team.Team`, which the table of teams keeps until the process ends
    native functions, and what names them         the linker, until the process ends
    words of the process                          `process.process`, until the process ends

Whoever puts an address into an array of words keeps its object beside that array. A model's file is read into memory of
the process when it is loaded; nothing of it stays open or mapped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from fastgru.errors import ShapeError, StateError
from fastgru.kernels.operands.team import MEMBER, STATUS, TEAM
from fastgru.kernels.operands.ticket import ARRAY, REPORT, STATE, TICKET
from fastgru.kernels.run import IN_USE, MISFIT, calls, team_caller
from fastgru.kernels.table import BASES, FAILURES, FORKED
from fastgru.packing.aligned import zeros
from fastgru.process import process
from fastgru.records import dataclass
from fastgru.simd.ndarray import WRITEABLE, expectation

__all__ = ["CallFrame", "Joined", "Program", "Slot", "StoppedError", "refuse_second_user"]

Array = NDArray[Any]

# Of a program in Python's memory, besides its arrays: by experience, rounded up.
_OBJECT_BYTES: Final = 4096
_INSTRUCTION_BYTES: Final = 256

# Why a run ends that another thread has stopped: no code of `FAILURES`.
_STOPPED: Final = 1 << 16

# The state of a call that has none: nobody at it, no arrays.
_STATELESS: Final = (0,) * (STATE.words + 1)


class StoppedError(Exception):
    """A run has ended early because another thread wanted it to."""


class Joined(NamedTuple):
    """A team as a call has it: its address, for how long its workers look out for the next call, and whether it is
    worth its waking where they sleep; see `kernels.entries.run_team`."""

    address: int
    spin_ns: int
    asleep: bool


@dataclass(frozen=True)
class Slot:
    """An input or output of a program: where its address goes, and the contiguous array that must lie there."""

    base: int
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Program:
    """Instructions as words (see `kernels.run`), addresses of the constants, and the slots of inputs and outputs.

    Immutable, and shared by every frame. `constants` keeps the arrays alive whose addresses stand in `bases`;
    `own_bytes` is what those take that no other program has; `labels` and `names` tell the node and the native function
    of each instruction; `handlers` lists the functions; `members` threads may share it, which saves `gain_s` seconds by
    estimate; `open_ended` are the outputs that come in blocks of rows, of the size of their slots.
    """

    words: NDArray[np.int64]
    bases: NDArray[np.int64]
    arena_bytes: int
    inputs: Mapping[str, Slot]
    outputs: Mapping[str, Slot]
    constants: tuple[Array, ...]
    own_bytes: int
    labels: tuple[str, ...]
    names: tuple[str, ...]
    handlers: tuple[str, ...]
    members: int
    gain_s: float
    open_ended: tuple[str, ...] = ()

    @property
    def nbytes(self) -> int:
        """What the program takes in memory, without frames and without constants that it shares."""
        lists = _OBJECT_BYTES + _INSTRUCTION_BYTES * len(self.labels)
        return self.words.nbytes + self.bases.nbytes + self.own_bytes + lists


class CallFrame:
    """What one call at a time runs a program in: an arena, addresses, a ticket.

    state: the words of the state, whose parity changes with every call (see `kernels.operands.ticket`); None for a
        state of the frame's own, without arrays.
    bound: inputs and outputs that are no arguments of a call, each as the arrays of parity 0 and of parity 1.

    `call` is the native function, to be called with `ticket`, a tuple of the other inputs, and a tuple of the other
    outputs, in order; it answers 0, or what `raise_for` takes.
    """

    __slots__ = ("_keeps", "_status", "_words", "call", "nbytes", "program", "ticket")

    def __init__(
        self,
        program: Program,
        state: NDArray[np.int64] | None = None,
        inputs: Mapping[str, tuple[Array, Array]] | None = None,
        outputs: Mapping[str, tuple[Array, Array]] | None = None,
    ) -> None:
        self.program, self.call = program, calls().alone
        bound_in, bound_out = inputs or {}, outputs or {}
        state = np.array(_STATELESS, np.int64) if state is None else state
        arena = zeros(max(program.arena_bytes, 1), np.uint8)
        status = np.zeros((2, STATUS.words), np.int64)
        tables = np.stack([program.bases, program.bases])
        for parity in (0, 1):
            status[parity, STATUS.process] = process.ctypes.data
            for team in (STATUS.own + MEMBER.team, STATUS.own + MEMBER.alone):
                status[parity, team + TEAM.members] = 1
            tables[parity, [BASES.status, BASES.arena]] = status[parity].ctypes.data, arena.ctypes.data
            for slots, bound in ((program.inputs, bound_in), (program.outputs, bound_out)):
                for name, banks in bound.items():
                    tables[parity, slots[name].base] = banks[parity].ctypes.data
        free_in = [slot for name, slot in program.inputs.items() if name not in bound_in]
        free_out = [slot for name, slot in program.outputs.items() if name not in bound_out]
        ends = [
            (slot, _expected(slot, flags)) for slots, flags in ((free_in, 0), (free_out, WRITEABLE)) for slot in slots
        ]
        self._status = status
        self._words = np.zeros(TICKET.words + ARRAY.words * len(ends), np.int64)
        self._words[[TICKET.state, TICKET.program]] = state.ctypes.data, program.words.ctypes.data
        self._words[[TICKET.bases, TICKET.bases + 1]] = tables[0].ctypes.data, tables[1].ctypes.data
        self._words[[TICKET.tuple, TICKET.inputs, TICKET.outputs]] = id(tuple), len(free_in), len(free_out)
        for about, (slot, (words, nbytes)) in zip(
            self._words[TICKET.arrays :].reshape(-1, ARRAY.words), ends, strict=True
        ):
            about[[ARRAY.base, ARRAY.expected, ARRAY.nbytes]] = slot.base, words.ctypes.data, nbytes
        self.ticket = int(self._words.ctypes.data)
        self._keeps = (state, arena, status, tables, [words for _, (words, _) in ends], bound_in, bound_out)
        self.nbytes = arena.nbytes + tables.nbytes + status.nbytes + self._words.nbytes + _OBJECT_BYTES

    def call_on(self, team: Joined | None, inputs: Any, outputs: Any) -> int:
        """As `call`, on a team."""
        if team is not None:
            return team_caller()(*team, self.ticket, inputs, outputs)
        return self.call(self.ticket, inputs, outputs)

    def stop(self) -> None:
        """Have a run on one thread end within about a millisecond, in `StoppedError`. No run: no effect."""
        self._status[:, STATUS.code] = _STOPPED

    @property
    def rows(self) -> int:
        """Of what comes in blocks: those that the last call has stacked."""
        return int(self._words[TICKET.report + REPORT.rows])

    def run(self, inputs: tuple[Array, ...], outputs: tuple[Array, ...], team: Joined | None = None) -> None:
        """Carry out the program. Raises `ShapeError` for data out of range; the arrays must fit."""
        if code := self.call_on(team, inputs, outputs):
            self.raise_for(code)

    @contextmanager
    def instead(self, words: NDArray[np.int64]) -> Iterator[None]:
        """Have calls carry out other instructions, on the same arrays and with the same arena."""
        self._words[TICKET.program] = words.ctypes.data
        try:
            yield
        finally:
            self._words[TICKET.program] = self.program.words.ctypes.data

    def raise_for(self, code: int) -> NoReturn:
        """Raise what an answer of `call` says."""
        if code == _STOPPED:
            raise StoppedError
        if code == IN_USE:
            refuse_second_user()
        if code == MISFIT:
            raise ShapeError(f"an array changed while it was checked: expected {dict(self.program.inputs)}")
        report = self._words[TICKET.report :]
        first, second, instruction = report[[REPORT.first, REPORT.second, REPORT.instruction]].tolist()
        kind = StateError if code == FORKED else ShapeError
        raise kind(f"{self.program.labels[instruction]}: {FAILURES[code].format(first, second)}")


def refuse_second_user() -> NoReturn:
    """Raise `StateError` for whoever comes to a stream in the middle of a push."""
    raise StateError(
        "this stream is in use by another thread, or by the call that a signal handler has interrupted; use a separate"
        " stream for each, or keep many sessions in a SessionPool"
    )


def _expected(slot: Slot, flags: int) -> tuple[NDArray[np.int64], int]:
    array = np.empty(slot.shape, slot.dtype)
    return expectation(array, flags), array.nbytes

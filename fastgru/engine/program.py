"""A finished plan, and frames: the memory in which one caller at a time runs it.

The owner of each object whose address native code reads, and for how long the owner keeps it:

    object                                        kept by
    arrays of a call: inputs, outputs             the tuples that a native call is given, until it returns
    constants: packed weights, tables             `Program.constants`, with the program
    instructions                                  `Program.words`, with the program
    arena, addresses, status, ticket              `CallFrame`, with the program; a frame runs one call at a time
    banks of a stream's state, and its words      the frames that are bound to them, besides the stream
    slots of a pool's sessions, and its words     `streaming.store.Store`, with every frame that pushes them
    words and locks of a team                     `threads.Team`, which the table of teams keeps until the process ends
    native functions, and what names them         the linker, until the process ends
    words of the process                          `process.process`, until the process ends

Code that writes an address into an array of words must keep the object beside that array. A model's file is read into
memory when it is loaded; it does not stay open or mapped.
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

# Memory of a program's Python objects, without its arrays: measured, and rounded up.
_OBJECT_BYTES: Final = 4096
_INSTRUCTION_BYTES: Final = 256

# The code of a run that another thread has stopped: not one of `FAILURES`.
_STOPPED: Final = 1 << 16

# The state words of a frame without state: not in use, no arrays.
_STATELESS: Final = (0,) * (STATE.words + 1)


class StoppedError(Exception):
    """A run has ended early because another thread has stopped it."""


class Joined(NamedTuple):
    """The team of a call, as `kernels.entries.run_team` takes it.

    spin_ns: how long its workers spin for the next call. asleep: whether the team pays even if its workers sleep.
    """

    address: int
    spin_ns: int
    asleep: bool


@dataclass(frozen=True)
class Slot:
    """An input or output of a program.

    base: the index of its address among the bases. shape, dtype: of the contiguous array that must lie there.
    """

    base: int
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Program:
    """Instructions as words (see `kernels.run`), addresses of the constants, and the slots of inputs and outputs.

    A program is immutable, and its frames share it.

    constants: keeps the arrays alive whose addresses are in `bases`. own_bytes: bytes of the constants that no other
    program shares. labels, names: the node and the native function of each instruction. handlers: all native functions.
    members: threads that may share it. gain_s: estimated seconds that this saves. open_ended: outputs that come in
    blocks of rows, each of the size of its slot.
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
        """The bytes of the program in memory, without frames and without constants that it shares."""
        lists = _OBJECT_BYTES + _INSTRUCTION_BYTES * len(self.labels)
        return self.words.nbytes + self.bases.nbytes + self.own_bytes + lists


class CallFrame:
    """The memory in which one call at a time runs a program: an arena, addresses, a ticket.

    state: the words of the state, whose parity changes with every call (see `kernels.operands.ticket`); None for a
        state of the frame's own, without arrays.
    inputs, outputs: the bound ones, which are not arguments of a call, each as the arrays of parity 0 and of parity 1.

    `call` is a native function. It takes `ticket`, a tuple of the other inputs, and a tuple of the other outputs, in
    order, and returns 0 or a code for `raise_for`.
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
        """Call as `call` does, on a team, or alone if `team` is None."""
        if team is not None:
            return team_caller()(*team, self.ticket, inputs, outputs)
        return self.call(self.ticket, inputs, outputs)

    def stop(self) -> None:
        """Make a run on one thread end within about a millisecond, with `StoppedError`. Without a run, do nothing."""
        self._status[:, STATUS.code] = _STOPPED

    @property
    def rows(self) -> int:
        """The rows that the last call has stacked, for outputs that come in blocks."""
        return int(self._words[TICKET.report + REPORT.rows])

    def run(self, inputs: tuple[Array, ...], outputs: tuple[Array, ...], team: Joined | None = None) -> None:
        """Run the program on arrays that must fit. Raises `ShapeError` for data out of range."""
        if code := self.call_on(team, inputs, outputs):
            self.raise_for(code)

    @contextmanager
    def instead(self, words: NDArray[np.int64]) -> Iterator[None]:
        """Make calls run other instructions, on the same arrays and with the same arena."""
        self._words[TICKET.program] = words.ctypes.data
        try:
            yield
        finally:
            self._words[TICKET.program] = self.program.words.ctypes.data

    def raise_for(self, code: int) -> NoReturn:
        """Raise the error that a code of `call` stands for."""
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
    """Raise `StateError` for a call to a stream that is in the middle of a push."""
    raise StateError(
        "this stream is in use by another thread, or by the call that a signal handler has interrupted; use a separate"
        " stream for each, or keep many sessions in a SessionPool"
    )


def _expected(slot: Slot, flags: int) -> tuple[NDArray[np.int64], int]:
    array = np.empty(slot.shape, slot.dtype)
    return expectation(array, flags), array.nbytes

"""A finished plan, and frames: the memory in which one caller at a time runs it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any, Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from fastgru.engine.team import Team, borrow, give_back, wake_seconds
from fastgru.errors import ShapeError
from fastgru.kernels.operands.team import TEAM_WORDS
from fastgru.kernels.run import runner
from fastgru.kernels.table import ARENA, FAILURES, STATUS, STATUS_WORDS
from fastgru.packing.aligned import zeros

__all__ = ["Frame", "Program", "Sharing", "Slot"]


# Beyond this gain no measurement is worth its time.
_CLEAR_GAIN_S: Final = 1e-3
_TRIALS: Final = 7
_WORTH: Final = 0.9  # the share of the time alone that a team has to stay below


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
    `labels` and `names` tell the node and the native function of each instruction; `handlers` lists the
    functions; `sharing` knows the team it was planned for, and whether that pays.
    """

    words: NDArray[np.int64]
    bases: NDArray[np.int64]
    arena_bytes: int
    inputs: Mapping[str, Slot]
    outputs: Mapping[str, Slot]
    constants: tuple[NDArray[Any], ...]
    labels: tuple[str, ...]
    names: tuple[str, ...]
    handlers: tuple[str, ...]
    sharing: Sharing


class Sharing:
    """Whether a team runs a program: told by the estimate where that is clear, measured on the first run where not."""

    def __init__(self, members: int, gain_s: float) -> None:
        self.members, self._gain_s = members, gain_s
        self._pays: bool | None = None if members > 1 else False

    def pays(self, frame: Frame) -> bool:
        """`frame` has its inputs and outputs bound: a measurement runs it a few times."""
        if self._pays is None:
            wake = wake_seconds(self.members)
            if wake is None:
                return False  # busy: this call runs alone, and the question stays open
            if self._gain_s < 0.3 * wake:
                self._pays = False
            elif self._gain_s > max(_CLEAR_GAIN_S, 10 * wake):
                self._pays = True
            else:
                return self._measure(frame)
        return self._pays

    def _measure(self, frame: Frame) -> bool:
        team = borrow(self.members)
        if team is None:
            return False  # busy: this call runs alone, and the question stays open
        try:
            alone: list[float] = []
            shared: list[float] = []
            for _ in range(_TRIALS):
                for run, times in ((frame.run, alone), (lambda: frame.run_on(team), shared)):
                    start = time.perf_counter()
                    run()
                    times.append(time.perf_counter() - start)
        finally:
            give_back(team)
        self._pays = median(shared) < _WORTH * median(alone)
        return self._pays


class Frame:
    """One caller's arena and addresses. Not for two threads at once.

    walk: 0 or 1, the way round in which weights are walked first; frames that take turns have one of each.
    """

    __slots__ = ("_arena", "_run", "_status", "_walk", "_words_at", "bases", "bases_at", "program")

    def __init__(self, program: Program, walk: int = 0) -> None:
        self.program, self._walk = program, walk
        self.bases = program.bases.copy()
        self._arena = zeros(max(program.arena_bytes, 1), np.uint8)
        self._status = np.zeros(STATUS_WORDS + 2 * TEAM_WORDS, np.int64)
        self._status[[STATUS_WORDS + 1, STATUS_WORDS + TEAM_WORDS + 1]] = 1
        self._status[[STATUS_WORDS + 3, STATUS_WORDS + TEAM_WORDS + 3]] = walk
        self.bases[STATUS] = self._status.ctypes.data
        self.bases[ARENA] = self._arena.ctypes.data
        self._run = runner()
        self._words_at, self.bases_at = program.words.ctypes.data, self.bases.ctypes.data

    @property
    def shared(self) -> bool:
        """True where a team runs the program. Inputs and outputs must be bound."""
        return self.program.sharing.pays(self)

    def run(self) -> None:
        """Carry out the program on the addresses that stand in `bases`. Raises `ShapeError` for data out of range."""
        if self._run(self._words_at, self.bases_at):
            self.fail()

    def run_shared(self) -> None:
        """The same, on the threads of a team; on the caller's alone where the team is busy or the program is small."""
        team = borrow(self.program.sharing.members) if self.shared else None
        if team is None:
            self.run()
            return
        try:
            self.run_on(team)
        finally:
            give_back(team)

    def run_on(self, team: Team) -> None:
        """The same, on the members of a team that the caller holds."""
        if team.run(self._words_at, self.bases_at, self._walk):
            self.fail()

    def fail(self) -> NoReturn:
        """Raise what the status words say."""
        code, first, second, instruction = self._status[:STATUS_WORDS].tolist()
        raise ShapeError(f"{self.program.labels[instruction]}: {FAILURES[code].format(first, second)}")

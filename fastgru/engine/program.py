"""A finished plan, and frames: the memory in which one caller at a time runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from fastgru.engine.team import Team, borrow, give_back, wake_seconds
from fastgru.errors import ShapeError
from fastgru.kernels.registry import ARENA, FAILURES, STATUS, STATUS_WORDS
from fastgru.kernels.run import runner
from fastgru.kernels.team import TEAM_WORDS
from fastgru.packing.aligned import zeros

__all__ = ["Frame", "Program", "Slot"]


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
    `labels` names the node of each instruction; `handlers` the native functions it calls; `members` is the
    size of the team it was planned for, `gain_s` what the team saves by estimate.
    """

    words: NDArray[np.int64]
    bases: NDArray[np.int64]
    arena_bytes: int
    inputs: Mapping[str, Slot]
    outputs: Mapping[str, Slot]
    constants: tuple[NDArray[Any], ...]
    labels: tuple[str, ...]
    handlers: tuple[str, ...]
    members: int = 1
    gain_s: float = 0.0


class Frame:
    """One caller's arena and addresses. Not for two threads at once.

    walk: 0 or 1, the way round in which weights are walked first; frames that take turns have one of each.
    """

    __slots__ = ("_arena", "_bases_at", "_members", "_run", "_status", "_walk", "_words_at", "bases", "program")

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
        # A team that costs more than it saves is not called.
        self._members = program.members
        if program.members > 1 and program.gain_s < 1.5 * wake_seconds(program.members):
            self._members = 1
        self._words_at, self._bases_at = program.words.ctypes.data, self.bases.ctypes.data

    @property
    def shared(self) -> bool:
        """True where a team runs the program."""
        return self._members > 1

    def run(self) -> None:
        """Carry out the program on the addresses that stand in `bases`. Raises `ShapeError` for data out of range."""
        if self._run(self._words_at, self._bases_at):
            self.fail()

    def run_shared(self) -> None:
        """The same, on the threads of a team; on the caller's alone where the team is busy or the program is small."""
        team = borrow(self._members) if self._members > 1 else None
        if team is None:
            self.run()
            return
        try:
            self.run_on(team)
        finally:
            give_back(team)

    def run_on(self, team: Team) -> None:
        """The same, on the members of a team that the caller holds."""
        if team.run(self._words_at, self._bases_at, self._walk):
            self.fail()

    def fail(self) -> NoReturn:
        """Raise what the status words say."""
        code, first, second, instruction = self._status[:STATUS_WORDS].tolist()
        raise ShapeError(f"{self.program.labels[instruction]}: {FAILURES[code].format(first, second)}")

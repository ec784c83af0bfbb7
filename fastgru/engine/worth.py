"""Whether a team is worth its waking: as the estimate says where that is clear, else measured on the first call."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Final

import numpy as np

from fastgru.engine.program import CallFrame, Program
from fastgru.engine.threads import team_address
from fastgru.kernels.table import BASES

__all__ = ["Sharing", "wake_seconds"]

# Beyond this gain no measurement is worth its time.
_CLEAR_GAIN_S: Final = 1e-3
_TRIALS: Final = 7
_WORTH: Final = 0.9  # the share of the time alone that a team has to stay below

_EMPTY: Final = Program(
    words=np.zeros(1, np.int64),
    bases=np.zeros(BASES.words, np.int64),
    arena_bytes=0,
    inputs={},
    outputs={},
    constants=(),
    own_bytes=0,
    labels=(),
    names=(),
    handlers=(),
    members=1,
    gain_s=0.0,
)

_wake_costs: dict[int, float] = {}


class Sharing:
    """Which team runs a program."""

    def __init__(self, members: int, gain_s: float) -> None:
        self.members, self._gain_s = members, gain_s
        self._pays: bool | None = None if members > 1 else False

    def team(self, trial: Callable[[int], None]) -> int:
        """The address of the team, 0 for the caller alone.

        trial: runs the program once on a team or alone, without consequence; a measurement does so a few times.
        """
        if self._pays is None:
            self._pays = self._is_worth(trial)
        return team_address(self.members) if self._pays else 0

    def _is_worth(self, trial: Callable[[int], None]) -> bool:
        wake = wake_seconds(self.members)
        if self._gain_s < 0.3 * wake:
            return False
        if self._gain_s > max(_CLEAR_GAIN_S, 10 * wake):
            return True
        team = team_address(self.members)
        times: dict[int, list[float]] = {0: [], team: []}
        for _ in range(_TRIALS):
            for which, taken in times.items():
                start = time.perf_counter()
                trial(which)
                taken.append(time.perf_counter() - start)
        return median(times[team]) < _WORTH * median(times[0])


def wake_seconds(members: int) -> float:
    """What it costs to call a team together for nothing, measured once. A program that saves less is not shared."""
    if members not in _wake_costs:
        frame, team = CallFrame(_EMPTY), team_address(members)
        costs = []
        for _ in range(32):
            start = time.perf_counter()
            frame.run((), (), team)
            costs.append(time.perf_counter() - start)
        _wake_costs[members] = median(costs)
    return _wake_costs[members]

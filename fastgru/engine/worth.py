"""Whether a team is worth its waking: as the estimate says where that is clear, else measured on the first call.

Workers that look out for the next call (`spin_us`) need no waking in a loop of calls. A program that gains from a team
that is awake, and not from one that has to be woken, has it in such a loop, and runs alone after a pause.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

import numpy as np

from fastgru.engine.program import CallFrame, Joined, Program
from fastgru.engine.threads import forget_at_forks, team_address, usable_cores
from fastgru.kernels.table import BASES

__all__ = ["Costs", "Sharing", "Trial", "wake_costs"]

# Beyond this gain no measurement is worth its time.
_CLEAR_GAIN_S: Final = 1e-3
_TRIALS, _MOST_TRIALS, _ENOUGH_S = 7, 50, 2e-3  # more than the least where they are short
_WORTH: Final = 0.9  # the share of the time alone that a team has to stay below

# Runs a program once on a team, or alone, without consequence.
Trial = Callable[[Joined | None], object]

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

# Long enough for a worker to be found awake by the next call of a measurement.
_MEASURED_SPIN_NS: Final = 200_000


class Costs(NamedTuple):
    """Seconds that it takes to call a team together for nothing: asleep, and awake."""

    asleep: float
    awake: float


_costs: dict[int, Costs] = {}


class Sharing:
    """Which team runs a program. spin_us: how long its workers look out for the next call."""

    def __init__(self, members: int, gain_s: float, spin_us: float = 0) -> None:
        self.members, self._gain_s, self._spin_ns = members, gain_s, round(spin_us * 1e3)
        self._pays: bool | None = None if members > 1 else False
        self._pays_asleep = True
        self._joined: Joined | None = None

    def team(self, make_trial: Callable[[], Trial]) -> Joined | None:
        """The team, None for the caller alone.

        make_trial: gives what runs the program for a measurement, which does so a few times.
        """
        if self._joined is not None:
            return self._joined
        if self._pays is None:
            self._pays = self._is_worth(make_trial)
        if self._pays:
            forget_at_forks(self)
            self._joined = self.join()
        return self._joined

    def forget_team(self) -> None:
        """The next call makes a team."""
        self._joined = None

    def join(self) -> Joined:
        """The team, whether it pays or not."""
        return Joined(team_address(self.members), self._spin_ns, self._pays_asleep)

    def _is_worth(self, make_trial: Callable[[], Trial]) -> bool:
        if len(usable_cores()) < self.members:
            return False  # members that wait for each other on one core only take it from each other
        costs = wake_costs(self.members)
        least = costs.awake if self._spin_ns else costs.asleep
        if self._gain_s < 0.3 * least:
            return False
        if self._gain_s > max(_CLEAR_GAIN_S, 10 * costs.asleep):
            return True
        trial, alone, together, begin = make_trial(), list[float](), list[float](), time.perf_counter()
        while len(alone) < _TRIALS or (len(alone) < _MOST_TRIALS and time.perf_counter() - begin < _ENOUGH_S):
            for team, taken in ((None, alone), (self.join(), together)):
                trial(team)  # after which the weights are where it wants them, and the team is awake if it spins
                taken.append(_seconds(trial, team))
        bound, found = _WORTH * _median(alone), _median(together)
        self._pays_asleep = found + (costs.asleep - costs.awake if self._spin_ns else 0.0) < bound
        return found < bound


def _seconds(trial: Trial, team: Joined | None) -> float:
    start = time.perf_counter()
    trial(team)
    return time.perf_counter() - start


def _median(seconds: list[float]) -> float:
    """NumPy's imports a part of NumPy first, in the middle of which another thread may fork."""
    ordered, half = sorted(seconds), len(seconds) // 2
    return (ordered[half] + ordered[~half]) / 2


def wake_costs(members: int) -> Costs:
    """What it costs to call a team together for nothing, measured once. A program that saves less is not shared."""
    if members not in _costs:
        frame, team = CallFrame(_EMPTY), team_address(members)

        def cost(spin_ns: int) -> float:
            return _median([_seconds(partial(frame.run, (), ()), Joined(team, spin_ns, True)) for _ in range(32)])

        _costs[members] = Costs(cost(0), cost(_MEASURED_SPIN_NS))
    return _costs[members]

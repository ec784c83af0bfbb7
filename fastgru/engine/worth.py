"""Whether a team is worth waking for a program: by estimate if that is clear, otherwise measured on the first call.

Workers that spin for the next call (`spin_us`) need not be woken in a loop of calls. A program that gains only from a
team that is awake uses the team in such a loop, and runs alone after a pause.
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

# Above this gain, a measurement is not worth its time.
_CLEAR_GAIN_S: Final = 1e-3
_TRIALS, _MOST_TRIALS, _ENOUGH_S = 7, 50, 2e-3  # at least the first, and more while they have not taken enough time
_WORTH: Final = 0.9  # a team must take less than this share of the time of one thread

# Runs a program once on a team, or alone, and discards the outputs.
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
    """Seconds that an empty program takes on a team whose workers sleep, and on one whose workers spin."""

    asleep: float
    awake: float


_costs: dict[int, Costs] = {}


class Sharing:
    """The choice of the team that runs a program. spin_us: how long its workers spin for the next call."""

    def __init__(self, members: int, gain_s: float, spin_us: float = 0) -> None:
        self.members, self._gain_s, self._spin_ns = members, gain_s, round(spin_us * 1e3)
        self._pays: bool | None = None if members > 1 else False
        self._pays_asleep = True
        self._joined: Joined | None = None

    def team(self, make_trial: Callable[[], Trial]) -> Joined | None:
        """Return the team, or None if the caller runs the program alone.

        make_trial: returns the function that a measurement calls to run the program.
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
        """Forget the team, so that the next call joins a new one."""
        self._joined = None

    def join(self) -> Joined:
        """Return the team, whether it pays or not."""
        return Joined(team_address(self.members), self._spin_ns, self._pays_asleep)

    def _is_worth(self, make_trial: Callable[[], Trial]) -> bool:
        if len(usable_cores()) < self.members:
            return False  # members that share a core would only take it from each other while they wait
        costs = wake_costs(self.members)
        least = costs.awake if self._spin_ns else costs.asleep
        if self._gain_s < 0.3 * least:
            return False
        if self._gain_s > max(_CLEAR_GAIN_S, 10 * costs.asleep):
            return True
        trial, alone, together, begin = make_trial(), list[float](), list[float](), time.perf_counter()
        while len(alone) < _TRIALS or (len(alone) < _MOST_TRIALS and time.perf_counter() - begin < _ENOUGH_S):
            for team, taken in ((None, alone), (self.join(), together)):
                trial(team)  # this brings the weights into the right caches, and wakes a team that spins
                taken.append(_seconds(trial, team))
        bound, found = _WORTH * _median(alone), _median(together)
        self._pays_asleep = found + (costs.asleep - costs.awake if self._spin_ns else 0.0) < bound
        return found < bound


def _seconds(trial: Trial, team: Joined | None) -> float:
    start = time.perf_counter()
    trial(team)
    return time.perf_counter() - start


def _median(seconds: list[float]) -> float:
    """Return the median. numpy.median would first import a module, and another thread may fork during an import."""
    ordered, half = sorted(seconds), len(seconds) // 2
    return (ordered[half] + ordered[~half]) / 2


def wake_costs(members: int) -> Costs:
    """Measure, once for each size, what a call on a team costs. A program that saves less is not shared."""
    if members not in _costs:
        frame, team = CallFrame(_EMPTY), team_address(members)

        def cost(spin_ns: int) -> float:
            return _median([_seconds(partial(frame.run, (), ()), Joined(team, spin_ns, True)) for _ in range(32)])

        _costs[members] = Costs(cost(0), cost(_MEASURED_SPIN_NS))
    return _costs[members]

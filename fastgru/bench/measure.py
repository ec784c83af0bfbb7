"""Verify, then time: outputs are compared before a clock is read, and contenders are timed in turns.

The speed of a machine drifts with its clock, its neighbours and other work. So every round gives each contender one
turn, the ratio of two contenders is taken within a round, and the result is the median of these ratios.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fastgru.bench.contender import Contender
from fastgru.bench.problem import Problem
from fastgru.bench.watch import collector_on
from fastgru.errors import VerificationError
from fastgru.records import dataclass
from fastgru.verify.compare import TOLERANCES, Run, check_output

__all__ = [
    "AGAINST",
    "SPINNING_S",
    "Plan",
    "Ratio",
    "Timing",
    "check_outputs",
    "fastest",
    "largest_difference",
    "outputs_of",
    "pooled",
    "ratio",
    "same_bits",
    "take_turns",
]

Outputs = Sequence[Mapping[str, NDArray[Any]]]

_BUNCHES = 25  # samples of a turn; each has several calls if calls are short
_SLOW_TURNS, _SLOWEST_TURNS = 8, 32  # if one call takes so many turns, a half or a sixth of the rounds is enough
_SINGLE_CALLS = 400  # at most, timed one by one in a turn, for the tail


# How long the idle threads of a rival may spin after its last call: up to 40 ms was seen with onnxruntime.
SPINNING_S: Final = 0.08


@dataclass(frozen=True)
class Plan:
    """Rounds, each with one turn of `turn_s` seconds for every contender (of one call at least).

    settle_s, warm_s: before a turn, a sleep in which the threads of the last contender stop spinning, and untimed
        calls.
    collect: leave the garbage collector on.
    rested_turn_s: the length of a turn on several threads, each of which begins with a long rest. There are then fewer
        rounds, for the same time in all.
    spin_us: that of our own threads, if there are several.
    """

    rounds: int = 9
    turn_s: float = 0.03
    warm_s: float = 0.005
    settle_s: float = 0.01
    collect: bool = False
    rested_turn_s: float | None = None
    spin_us: float = 0

    @property
    def shorter(self) -> "Plan":
        """A plan that is enough to find the fastest of a few configurations."""
        return replace(self, rounds=min(self.rounds, 3), turn_s=self.turn_s / 2)

    @property
    def rested(self) -> "Plan":
        """A plan for several threads, with rests as long as the idle threads of a contender may spin."""
        turn_s = self.rested_turn_s or self.turn_s
        rounds = max(1, round(self.rounds * self.turn_s / turn_s))
        return replace(self, rounds=rounds, turn_s=turn_s, settle_s=max(self.settle_s, SPINNING_S))


# For a pair of processes: turns so short that a drift of the machine affects both.
AGAINST: Final = Plan(12, 0.004, 0.0005, 0.0, rested_turn_s=0.03)


@dataclass(frozen=True)
class Timing:
    """The times of one contender. rounds: seconds per call in each round, the median of its samples.

    median_s: the median of `rounds`. spread: the distance between their quartiles as a share of it, None for one round.
    p99_s: of single calls.
    """

    name: str
    setting: str
    median_s: float
    p99_s: float
    spread: float | None
    rounds: tuple[float, ...]


@dataclass(frozen=True)
class Ratio:
    """Time of the other over ours, within a round: the median of the rounds and their quartiles."""

    median: float
    low: float
    high: float


def ratio(ours: Timing, other: Timing) -> Ratio:
    """Return how many times as long as ours `other` takes. Both must come from the same `take_turns`."""
    each = np.array(other.rounds) / np.array(ours.rounds)
    low, middle, high = np.percentile(each, [25, 50, 75])
    return Ratio(float(middle), float(low), float(high))


def outputs_of(contender: Contender, problem: Problem) -> list[Mapping[str, NDArray[Any]]]:
    """Return the contender's outputs for all frames of the problem, in order, from a state of zeros."""
    contender.reset()
    found = []
    with contender.around():
        for k in range(len(problem.frames)):
            problem.present(k)
            contender.call()
            found.append(contender.results())
    problem.present(0)
    return found


def check_outputs(got: Outputs, expected: Outputs, *, who: str, against: str, precision: str) -> None:
    """Raise `VerificationError` if an output is missing or differs by more than the precision allows."""
    names = [name for name in expected[0] if name in got[0]]
    if not names or ("y" in expected[0] and "y" not in names):
        raise VerificationError(f"{who} gives {sorted(got[0])}, expected {sorted(expected[0])}")
    for name in names:
        check = check_output(
            name,
            None,
            [Run("", got)],
            [Run("", expected)],
            against=against,
            tol=TOLERANCES[precision],
            precision=precision,
        )
        if not check.holds:
            raise VerificationError(
                f"{who}: output {name!r} differs from {against} by {check.max_abs:.2e}, {check.allowed:.2e} is allowed"
            )


def largest_difference(got: Outputs, expected: Outputs) -> float:
    """Return the largest difference between outputs that both contenders give; infinite if a number is not finite."""
    names = [name for name in expected[0] if name in got[0]]
    pairs = [(a[name], b[name]) for a, b in zip(got, expected, strict=True) for name in names]
    found = max((float(np.abs(np.float64(a) - np.float64(b)).max(initial=0.0)) for a, b in pairs), default=0.0)
    return found if np.isfinite(found) else float("inf")


def same_bits(got: Outputs, expected: Outputs) -> bool:
    """Return True if all outputs that both give are equal to the last bit."""
    names = [name for name in expected[0] if name in got[0]]
    return all(a[n].tobytes() == b[n].tobytes() for a, b in zip(got, expected, strict=True) for n in names)


def take_turns(contenders: Sequence[Contender], plan: Plan) -> list[Timing]:
    """Return a `Timing` for each contender, in order. Every round begins with another contender."""
    estimates = []
    rounds: list[list[float]] = [[] for _ in contenders]
    singles: list[list[int]] = [[] for _ in contenders]
    with collector_on(plan.collect):
        for contender in contenders:
            with contender.around():
                estimates.append(_estimate(contender, plan.turn_s))
        for number in range(_rounds(plan, max(estimates) / plan.turn_s)):
            for k in range(len(contenders)):
                i = (k + number) % len(contenders)
                time.sleep(plan.settle_s)
                with contenders[i].around():
                    _turn(contenders[i], estimates[i], plan, rounds[i], singles[i])
    return [
        _timing(contender.name, contender.setting, float(np.percentile(single, 99)) * 1e-9, each)
        for contender, each, single in zip(contenders, rounds, singles, strict=True)
    ]


def _rounds(plan: Plan, turns: float) -> int:
    """Return the number of rounds. turns: how many turns the slowest call takes."""
    if turns > _SLOWEST_TURNS:
        return min(plan.rounds, max(2, plan.rounds // 6))
    return (plan.rounds + 1) // 2 if turns > _SLOW_TURNS else plan.rounds


def pooled(timings: Sequence[Timing]) -> Timing:
    """Merge the timings of one contender in several processes; the p99 is their median."""
    first, each = timings[0], [seconds for timing in timings for seconds in timing.rounds]
    return _timing(first.name, first.setting, median(timing.p99_s for timing in timings), each)


def _timing(name: str, setting: str, p99_s: float, rounds: Sequence[float]) -> Timing:
    low, middle, high = np.percentile(rounds, [25, 50, 75])
    spread = float((high - low) / middle) if len(rounds) > 1 else None
    return Timing(name, setting, float(middle), p99_s, spread, tuple(rounds))


def fastest(contenders: Sequence[Contender], plan: Plan) -> Contender:
    """Return the contender with the smallest median, by a shorter measurement."""
    if len(contenders) == 1:
        return contenders[0]
    timings = take_turns(contenders, plan.shorter)
    return contenders[min(range(len(contenders)), key=lambda i: timings[i].median_s)]


def _turn(contender: Contender, estimate_s: float, plan: Plan, means: list[float], singles: list[int]) -> None:
    if estimate_s < plan.turn_s:
        contender.timed(max(1, int(plan.warm_s / estimate_s)), 1)
    calls = max(1, round(plan.turn_s / estimate_s))
    bunches = min(calls, _BUNCHES)
    size = calls // bunches
    samples = contender.timed(size, bunches)
    means.append(median(samples) / size * 1e-9)
    singles += samples if size == 1 else contender.timed(1, min(calls // 4, _SINGLE_CALLS))


def _estimate(contender: Contender, enough_s: float) -> float:
    """Return seconds per call, from runs that double until they take a tenth of a turn, without the first call."""
    first = contender.timed(1, 1)[0] * 1e-9
    if first > 4 * enough_s:
        return first
    count = 1
    while True:
        elapsed = contender.timed(count, 1)[0] * 1e-9
        if elapsed > enough_s / 10:
            return elapsed / count
        count *= 2

"""Decides whether ours has changed against another environment's fastgru, in one cell and over all cells."""

import math
from collections.abc import Iterable
from typing import Final

import numpy as np

from fastgru.records import dataclass

__all__ = ["LEAST_CHANGE", "REPEATS", "Comparison", "Repeat", "geometric_mean"]

REPEATS: Final = 3
LEAST_CHANGE: Final = 0.02


@dataclass(frozen=True)
class Repeat:
    """ratios: theirs over ours, above 1 if ours is faster. Each ratio is from a pair of new processes.

    The addresses of a process's code and arrays change the time of a short call by some percent for the life of the
    process. The spread is that between pairs; more turns of one pair would not reduce it.
    """

    ratios: tuple[float, ...]

    @property
    def ratio(self) -> float:
        return float(np.median(self.ratios))

    @property
    def spread(self) -> float:
        """The distance between the quartiles, as a share of the median."""
        low, high = np.percentile(self.ratios, [25, 75])
        return float(high - low) / self.ratio

    @property
    def error(self) -> float:
        """The standard error of the median, as a share of it, assuming normal samples with these quartiles."""
        return 1.2533 / 1.349 * self.spread / math.sqrt(len(self.ratios))

    @property
    def change(self) -> int:
        """1 if ours is faster, -1 if it is slower, by more than the spread and than `LEAST_CHANGE`; otherwise 0."""
        change = math.log(self.ratio)
        return 0 if abs(change) <= max(LEAST_CHANGE, self.spread) else 1 if change > 0 else -1


@dataclass(frozen=True)
class Comparison:
    """The repeats of a cell, which has changed if each of three shows a change in the same direction.

    The first repeat without this change is the last one.

    same_bits: whether the outputs of both sides are the same.
    """

    repeats: tuple[Repeat, ...]
    same_bits: bool

    @classmethod
    def of(cls, ratio: float, same_bits: bool) -> "Comparison":
        """Make a comparison of a single pair."""
        return cls((Repeat((ratio,)),), same_bits)

    @property
    def ratio(self) -> float:
        """Theirs over ours: the mean of the repeats."""
        return geometric_mean(repeat.ratio for repeat in self.repeats)

    @property
    def spread(self) -> float | None:
        """The largest spread of a repeat, or None if each repeat has only one pair."""
        return max((repeat.spread for repeat in self.repeats if len(repeat.ratios) > 1), default=None)

    @property
    def decided(self) -> bool:
        """True if another repeat could not change the verdict."""
        return len(self.repeats) >= REPEATS or abs(self._changes) < len(self.repeats)

    @property
    def verdict(self) -> str:
        """ "faster", "slower" or "same"."""
        if len(self.repeats) < REPEATS or abs(self._changes) < REPEATS:
            return "same"
        return "faster" if self._changes > 0 else "slower"

    @property
    def _changes(self) -> int:
        return sum(repeat.change for repeat in self.repeats)


def geometric_mean(ratios: Iterable[float]) -> float:
    """Return the geometric mean of the ratios. Raises `ValueError` if there are none."""
    logs = [math.log(each) for each in ratios]
    if not logs:
        raise ValueError("no ratio has a mean")
    return math.exp(sum(logs) / len(logs))

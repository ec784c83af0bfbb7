"""Ours beside another environment's fastgru in one cell: whether it has changed, and over all cells."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from fastgru.bench.measure import Ratio

__all__ = ["LEAST_CHANGE", "REPEATS", "Comparison", "geometric_mean"]

REPEATS: Final = 3
LEAST_CHANGE: Final = 0.02  # what two builds of the same code may differ by
_NOISES: Final = 3.0  # standard errors of the median


@dataclass(frozen=True)
class Comparison:
    """repeats: theirs over ours, above 1 where ours is faster, each of new processes. same_bits: of the outputs.

    A repeat shows a change where its ratio is further from 1 than `LEAST_CHANGE`, and than three times the standard
    error of its median. The cell has changed where three repeats show it, all in one direction, and do not lie further
    apart than their middle is from 1; the first that shows none ends it.
    """

    repeats: tuple[Ratio, ...]
    same_bits: bool

    @property
    def ratio(self) -> float:
        return geometric_mean(repeat.median for repeat in self.repeats)

    @property
    def spread(self) -> float:
        """The distance of the quartiles over all rounds of a repeat, the largest of the repeats."""
        return max((repeat.high - repeat.low) / repeat.median for repeat in self.repeats)

    @property
    def decided(self) -> bool:
        return len(self.repeats) >= REPEATS or abs(sum(map(_sign, self.repeats))) < len(self.repeats)

    @property
    def verdict(self) -> str:
        """ "faster" or "slower" where ours has changed, "same" where not, "" before it is decided."""
        if not self.decided:
            return ""
        signs = sum(map(_sign, self.repeats))
        medians = [math.log(repeat.median) for repeat in self.repeats]
        if abs(signs) < REPEATS or max(medians) - min(medians) > abs(math.log(self.ratio)):
            return "same"
        return "faster" if signs > 0 else "slower"

    def followed_by(self, other: Comparison) -> Comparison:
        return Comparison((*self.repeats, *other.repeats), self.same_bits and other.same_bits)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"ratio": self.ratio, "verdict": self.verdict}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Comparison:
        return cls(tuple(Ratio(**each) for each in data["repeats"]), data["same_bits"])


def _sign(repeat: Ratio) -> int:
    """1 where the repeat shows that ours is faster, -1 where slower, 0 where it shows neither."""
    change = math.log(repeat.median)
    limit = max(LEAST_CHANGE, _NOISES * repeat.noise)
    return 0 if abs(change) <= limit else 1 if change > 0 else -1


def geometric_mean(ratios: Iterable[float]) -> float:
    """Raises `ValueError` for none."""
    logs = [math.log(each) for each in ratios]
    if not logs:
        raise ValueError("no ratio has a mean")
    return math.exp(sum(logs) / len(logs))

"""What a run of a suite gives, as plain data: every figure of it, in JSON and back."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from fastgru.bench.bounds import Bound, Level, Peaks
from fastgru.bench.cases import Case
from fastgru.bench.comparison import Comparison
from fastgru.bench.measure import Ratio, Timing
from fastgru.errors import InvalidModelError

__all__ = ["FORMAT", "Result", "Row"]

FORMAT: Final = 2
_NOISE: Final = 0.03  # of a ratio that is to be 1, "no slower"


@dataclass(frozen=True)
class Row:
    """One case on a number of threads.

    ours: None where it failed, and `trouble` says why. rivals: those that ran, by name, each in its best
    configuration; absent: the others, with the reason. ratios: time of a rival over ours. own_ratio: our time on one
    thread over ours, where there are more. bound: None for a model from a file. errors: the largest difference to
    the float64 definition, by contender. other: ours beside another environment's fastgru.

    Beside ours in a lower precision, `rivals` holds ours in the wider ones, too ("fastgru float32"), and the rivals in
    lower precisions ("torch int8"); the best rival is one without such a word.
    """

    title: str
    slug: str
    threads: int
    case: Case | None
    ours: Timing | None
    rivals: Mapping[str, Timing] = field(default_factory=dict)
    ratios: Mapping[str, Ratio] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)
    own_ratio: Ratio | None = None
    bound: Bound | None = None
    trouble: str = ""
    errors: Mapping[str, float] = field(default_factory=dict)
    least: float | None = None
    other: Comparison | None = None

    @property
    def best_rival(self) -> str | None:
        """The rival, in float32 (float64 where ours is), that comes nearest to us, or beats us by most."""
        plain = {name: ratio.median for name, ratio in self.ratios.items() if " " not in name}
        return min(plain, key=lambda name: plain[name]) if plain else None

    @property
    def ratio(self) -> float | None:
        """Time of the best rival over ours."""
        best = self.best_rival
        return None if best is None else self.ratios[best].median

    @property
    def share(self) -> float | None:
        """The share of the bound that we reach: 1 is the machine's limit."""
        return None if self.bound is None or self.ours is None else self.bound.seconds / self.ours.median_s

    @property
    def goal(self) -> float | None:
        """The least ratio to the best rival that we hold ourselves to."""
        return self.least if self.case is None else self.case.goals.get(self.threads)

    @property
    def faults(self) -> list[str]:
        """The goals of the case that this row misses, and what else is wrong."""
        found = [self.trouble] if self.trouble else []
        against = self.best_rival if self.case is None else self.case.goal_rival or self.best_rival
        rival = self.ratios.get(against or "")
        if self.goal is not None and rival is not None and rival.median < self.goal:
            found.append(f"{rival.median:.2f}x {against}, the goal is {self.goal:g}x")
        if self.case is None:
            return found
        wide = self.ratios.get("fastgru float32")
        if wide is not None and wide.median < 1 - _NOISE:
            found.append(f"{wide.median:.2f}x our own float32: slower than it")
        own = self.case.own_goals.get(self.threads)
        if own is not None and self.own_ratio is not None and self.own_ratio.median < own - _NOISE:
            found.append(f"{self.own_ratio.median:.2f}x our own one thread, the goal is {own:g}x")
        return found

    def to_dict(self) -> dict[str, Any]:
        data = asdict(self)
        data["case"] = None if self.case is None else self.case.to_dict()
        derived = {"best_rival": self.best_rival, "ratio": self.ratio, "share": self.share, "goal": self.goal}
        if self.other is not None:
            data["other"] = self.other.to_dict()
        return data | derived | {"faults": self.faults}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Row":
        def timing(d: Mapping[str, Any]) -> Timing:
            return Timing(**{**d, "rounds": tuple(d["rounds"])})

        return cls(
            data["title"],
            data["slug"],
            data["threads"],
            None if data["case"] is None else Case.from_dict(data["case"]),
            None if data["ours"] is None else timing(data["ours"]),
            {name: timing(d) for name, d in data["rivals"].items()},
            {name: Ratio(**d) for name, d in data["ratios"].items()},
            dict(data["absent"]),
            None if data["own_ratio"] is None else Ratio(**data["own_ratio"]),
            None if data["bound"] is None else Bound(**data["bound"]),
            data["trouble"],
            dict(data["errors"]),
            data.get("least"),
            Comparison.from_dict(data["other"]) if data.get("other") else None,
        )


@dataclass(frozen=True)
class Result:
    """A run: where (`machine.describe`), what it can do, and a row for each case and number of threads.

    steady: what `fastgru.bench.steady` found, None where it was not asked. sides: what `Sides.about` tells of ours and
    the other fastgru, where there was one.
    """

    suite: str
    machine: Mapping[str, Any]
    peaks: tuple[Peaks, ...]
    rows: tuple[Row, ...]
    seconds: float
    steady: Mapping[str, Any] | None = None
    sides: Mapping[str, Any] | None = None

    def peaks_of(self, threads: int) -> Peaks | None:
        return next((p for p in self.peaks if p.threads == threads), None)

    def to_json(self) -> str:
        data = {
            "format": FORMAT,
            "suite": self.suite,
            "machine": dict(self.machine),
            "seconds": self.seconds,
            "peaks": [asdict(p) for p in self.peaks],
            "rows": [row.to_dict() for row in self.rows],
            "steady": self.steady,
            "sides": self.sides,
        }
        return json.dumps(data, indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Result":
        """Raises `InvalidModelError` for text that is not such a result."""
        try:
            data = json.loads(text)
            if data["format"] != FORMAT:
                raise InvalidModelError(f"bench result: format {data['format']!r}, expected {FORMAT}")
            peaks = tuple(
                Peaks(
                    p["threads"],
                    p["flops_per_s"],
                    tuple(Level(**level) for level in p["levels"]),
                    dict(p.get("dots_per_s", {})),
                )
                for p in data["peaks"]
            )
            rows = tuple(Row.from_dict(row) for row in data["rows"])
            return cls(data["suite"], data["machine"], peaks, rows, data["seconds"], data["steady"], data.get("sides"))
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            if isinstance(error, InvalidModelError):
                raise
            raise InvalidModelError(f"bench result: {type(error).__name__}: {error}") from None

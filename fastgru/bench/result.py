"""The result of a suite as plain data: every figure, to JSON and back."""

import json
from collections.abc import Mapping
from dataclasses import asdict, field, is_dataclass
from types import UnionType
from typing import Any, Final, Self, get_args, get_origin, get_type_hints

from fastgru.bench.bounds import Bound, Peaks
from fastgru.bench.cases import Case
from fastgru.bench.comparison import Comparison
from fastgru.bench.measure import Ratio, Timing
from fastgru.engine.precision import WeightPrecision
from fastgru.errors import InvalidModelError
from fastgru.precisions import WEIGHT_BYTES
from fastgru.records import dataclass

__all__ = ["FORMAT", "Result", "Row", "read_as"]

FORMAT: Final = 4


@dataclass(frozen=True)
class Row:
    """One case on a number of threads.

    ours: None if ours failed; `trouble` then says why. rivals: those that ran, by name, each in its best configuration.
    absent: the others, with the reason. ratios: time of each rival over ours. own_ratio: our time on one thread over
    ours, with several threads. bound: None for a model from a file. errors: the largest difference from the float64
    definition, by contender. other: ours compared with another environment's fastgru. weights: what "auto" chose for
    each node, and why.

    If ours is in a lower precision, `rivals` also has ours in the wider ones ("fastgru float32"), and the rivals in
    lower precisions ("torch int8"). The best rival is one without such a suffix.
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
    other: Comparison | None = None
    weights: Mapping[str, WeightPrecision] = field(default_factory=dict)

    @property
    def widest(self) -> str | None:
        """The widest precision of weights that "auto" chose; None for another precision."""
        found = [each.precision for each in self.weights.values()]
        return max(found, key=lambda name: WEIGHT_BYTES[name], default=None)

    @property
    def best_rival(self) -> str | None:
        """The fastest rival, among those in float32 (or float64, if ours is)."""
        plain = {name: ratio.median for name, ratio in self.ratios.items() if " " not in name}
        return min(plain, key=lambda name: plain[name]) if plain else None

    @property
    def ratio(self) -> float | None:
        """Time of the best rival over ours."""
        best = self.best_rival
        return None if best is None else self.ratios[best].median

    @property
    def share(self) -> float | None:
        """The share of the bound that ours reaches: 1 is the machine's limit."""
        return None if self.bound is None or self.ours is None else self.bound.seconds / self.ours.median_s

    def to_dict(self) -> dict[str, Any]:
        """Return every figure, including those that follow from others."""
        derived = ("best_rival", "ratio", "share")
        data = asdict(self) | {name: getattr(self, name) for name in derived}
        if self.other is not None:
            data["other"] |= {name: getattr(self.other, name) for name in ("ratio", "spread", "verdict")}
        return data


@dataclass(frozen=True)
class Result:
    """A run: the machine (`machine.describe`), its peaks, and a row for each case and number of threads.

    steady: the findings of `fastgru.bench.steady`, or None. sides: what `Sides.about` tells about ours and the other
    fastgru, if there is one. command: the command line of the run, without the folders of paths; "" for a call from
    Python.
    """

    suite: str
    machine: Mapping[str, Any]
    peaks: tuple[Peaks, ...]
    rows: tuple[Row, ...]
    seconds: float
    steady: Mapping[str, Any] | None = None
    sides: Mapping[str, Any] | None = None
    command: str = ""

    def to_json(self) -> str:
        data = {"format": FORMAT, **asdict(self), "rows": [row.to_dict() for row in self.rows]}
        return json.dumps(data, indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a result. Raises `InvalidModelError` for text that is not such a result."""
        try:
            data = json.loads(text)
            if data["format"] != FORMAT:
                raise InvalidModelError(f"bench result: format {data['format']!r}, expected {FORMAT}")
            found: Self = read_as(cls, data)
            return found
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            if isinstance(error, InvalidModelError):
                raise
            raise InvalidModelError(f"bench result: {type(error).__name__}: {error}") from None


def read_as(kind: Any, data: Any) -> Any:
    """Return the value of this type from the data of `asdict` and JSON: dataclasses, tuples and mappings of them."""
    origin, arguments = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        return kind(**{name: read_as(hint, data[name]) for name, hint in hints.items()})  # type: ignore[operator]
    if origin is UnionType:
        return None if data is None else read_as(arguments[0], data)
    if origin is tuple:
        return tuple(read_as(arguments[0], each) for each in data)
    if origin is Mapping:
        return {arguments[0](key): read_as(arguments[1], value) for key, value in data.items()}
    return data

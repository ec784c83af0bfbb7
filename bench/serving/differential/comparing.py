"""Finds the differences between two records of answers, and those that have no known reason."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

__all__ = ["EXCEPTIONS", "Difference", "Row", "differences", "read_exceptions", "unexplained"]

Json = Any
EXCEPTIONS = Path(__file__).with_name("exceptions.toml")
ABSENT = "absent"
TAKEN = 200, "OK"


@dataclass(frozen=True)
class Difference:
    """A difference at a place of an observation: "status", "body.outputs.0.name"..."""

    call: str
    place: str
    triton: Json
    ours: Json

    def __str__(self) -> str:
        return f"{self.call}  {self.place}: Triton {self.triton!r:.120}, fastgru {self.ours!r:.120}"


@dataclass(frozen=True)
class Row:
    """An expected difference: patterns of calls, a pattern of places, and the reason. triton, ours: the values that a
    side must have there, if they matter.

    said: what differs, for the page.
    """

    calls: tuple[str, ...]
    place: str
    reason: str
    said: str = ""
    triton: Json = None
    ours: Json = None

    def takes(self, found: Difference) -> bool:
        return (
            any(fnmatchcase(found.call, pattern) for pattern in self.calls)
            and fnmatchcase(found.place, self.place)
            and self.triton in (None, found.triton)
            and self.ours in (None, found.ours)
        )


def read_exceptions(path: Path = EXCEPTIONS) -> list[Row]:
    rows = tomllib.loads(path.read_text())["differs"]
    return [Row(tuple(row.pop("calls")), **row) for row in rows]


def differences(call: str, triton: Json, ours: Json) -> list[Difference]:
    """Return all differences, or only that of the status if one side refuses what the other accepts."""
    both = triton.get("status"), ours.get("status")
    if both[0] != both[1] and (both[0] in TAKEN or both[1] in TAKEN):
        return [Difference(call, "status", *both)]
    return [Difference(call, place, a, b) for place, a, b in _differ("", triton, ours)]


def _differ(place: str, triton: Json, ours: Json) -> Iterator[tuple[str, Json, Json]]:
    if isinstance(triton, dict) and isinstance(ours, dict):
        for name in {**triton, **ours}:
            inner = f"{place}.{name}" if place else name
            yield from _differ(inner, triton.get(name, ABSENT), ours.get(name, ABSENT))
    elif isinstance(triton, list) and isinstance(ours, list) and len(triton) == len(ours):
        for i, (a, b) in enumerate(zip(triton, ours, strict=True)):
            yield from _differ(f"{place}.{i}", a, b)
    elif isinstance(triton, float) or isinstance(ours, float):
        if not (isinstance(triton, float | int) and isinstance(ours, float | int) and abs(triton - ours) <= 2e-4):
            yield place, triton, ours
    elif triton != ours or type(triton) is not type(ours):
        yield place, triton, ours


def unexplained(found: list[Difference], exceptions: list[Row]) -> tuple[list[Difference], list[Row]]:
    """Return the differences that no row explains, and the rows that explain none."""
    used: set[int] = set()
    left = []
    for difference in found:
        rows = [i for i, row in enumerate(exceptions) if row.takes(difference)]
        used.update(rows)
        if not rows:
            left.append(difference)
    return left, [row for i, row in enumerate(exceptions) if i not in used]

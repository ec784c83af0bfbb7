"""A case on ours and on another environment's fastgru, in one pair of new processes after the other."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from fastgru.bench.comparison import Comparison, Repeat
from fastgru.bench.measure import pooled
from fastgru.bench.result import Row
from fastgru.bench.rivals.other import OTHER, Sides

__all__ = ["compare"]

_LEAST_PAIRS: Final = 3
_PAIRS: Final = 7
_REPEAT_S: Final = 5.0  # after which a repeat takes no further pair


def compare(python: Path, measure: Callable[[Sides, bool], Row]) -> Row:
    """The row of as many pairs as the verdict needs. measure: one row, (sides, whether it is the first)."""
    rows: list[Row] = []
    pairs: list[Comparison] = []
    repeats: list[Repeat] = []
    while not repeats or not Comparison(tuple(repeats), True).decided:
        started, begin = time.perf_counter(), len(rows)
        while (count := len(rows) - begin) < _PAIRS:
            if count >= _LEAST_PAIRS and time.perf_counter() - started > _REPEAT_S:
                break
            with Sides(python) as sides:
                row = measure(sides, not rows)
            if row.other is None:
                return row
            rows.append(row)
            pairs.append(row.other)
        repeats.append(Repeat(tuple(pair.ratio for pair in pairs[begin:])))
    return replace(
        rows[0],
        ours=pooled([row.ours for row in rows if row.ours is not None]),
        rivals={**rows[0].rivals, OTHER: pooled([row.rivals[OTHER] for row in rows])},
        other=Comparison(tuple(repeats), all(pair.same_bits for pair in pairs)),
    )

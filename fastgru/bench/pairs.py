"""A case on ours and on another environment's fastgru, in one pair of new processes after the other."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from fastgru.bench.comparison import Comparison, Repeat
from fastgru.bench.measure import Ratio, pooled
from fastgru.bench.result import Row
from fastgru.bench.rivals.other import OTHER, Sides

__all__ = ["compare"]

# A repeat has enough pairs where the error of their median is small, or where it has taken long. Long calls vary little
# from pair to pair: the least number of pairs has to do where it takes a while.
_LEAST_PAIRS, _LEAST_OF_LONG = 5, 3
_ERROR: Final = 0.01
_LONG_S, _MOST_S = 5.0, 15.0


def compare(python: Path, measure: Callable[[Sides, bool], Row]) -> Row:
    """The row of as many pairs as the verdict needs. measure: one row, (sides, whether it is the first)."""
    rows: list[Row] = []
    pairs: list[Comparison] = []
    repeats: list[Repeat] = []
    while not repeats or not Comparison(tuple(repeats), True).decided:
        started, begin = time.perf_counter(), len(rows)
        while not _enough([pair.ratio for pair in pairs[begin:]], time.perf_counter() - started):
            with Sides(python) as sides:
                row = measure(sides, not rows)
            if row.other is None:
                return row
            rows.append(row)
            pairs.append(row.other)
        repeats.append(Repeat(tuple(pair.ratio for pair in pairs[begin:])))
    low, middle, high = np.percentile([pair.ratio for pair in pairs], [25, 50, 75])
    return replace(
        rows[0],
        ours=pooled([row.ours for row in rows if row.ours is not None]),
        rivals={**rows[0].rivals, OTHER: pooled([row.rivals[OTHER] for row in rows])},
        ratios={**rows[0].ratios, OTHER: Ratio(float(middle), float(low), float(high))},
        other=Comparison(tuple(repeats), all(pair.same_bits for pair in pairs)),
    )


def _enough(ratios: Sequence[float], elapsed_s: float) -> bool:
    """Says nothing of where the ratios lie, so that no result is likelier to end a repeat than another."""
    if len(ratios) < (_LEAST_PAIRS if elapsed_s < _LONG_S else _LEAST_OF_LONG):
        return False
    return elapsed_s > _MOST_S or Repeat(tuple(ratios)).error <= _ERROR

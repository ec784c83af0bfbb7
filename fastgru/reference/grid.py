"""Weights that were quantised before: rows in which every number is a whole multiple of one step.

Weights of a quantised file are read as floats, and so are weights from quantisation-aware training. If they were
quantised again with the scale max|w| / 127, a row whose largest number is less than 127 steps would be rounded twice.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from fastgru.graph import Array

__all__ = ["LEAST_PEAK", "MOST_STEPS", "grid_steps", "integer_rows"]


LEAST_PEAK: Final = 2.0**-100  # the magnitude below which a row counts as zero
MOST_STEPS: Final = 127
_TOLERANCE: Final = 2.0**-14  # in steps: the error of 127 steps after four roundings to float32
_SEEN_COLUMNS: Final = 256
_ROWS_AT_ONCE: Final = 1024
_LEVELS: Final = (0.3, 0.5, 0.7, 0.9)  # of the largest: the numbers nearest to these rule out most steps


def grid_steps(rows: Array, peak: Array) -> NDArray[np.float32]:
    """Return how many steps the largest number of each row is, (O,) float32; 127 for a row without a common step.

    rows: (O, K) float32. peak: (O,), the largest magnitudes. If several numbers of steps fit, the largest up to 127 is
    taken. Rows of up to three numbers count as rows without a step, because these may have one by chance.
    """
    steps = np.full(len(rows), MOST_STEPS, np.float32)
    usable = np.flatnonzero(np.isfinite(peak) & (peak >= LEAST_PEAK) & (rows.shape[1] > 3))
    for first in range(0, len(usable), _ROWS_AT_ONCE):
        some = usable[first : first + _ROWS_AT_ONCE]
        steps[some] = _found(rows[some], peak[some])
    return steps


def integer_rows(rows: Array) -> tuple[NDArray[np.int8], NDArray[np.float32]] | None:
    """Return q (O, K) int8 and scale (O,) with rows = scale * q, or None if a row is not on a grid. rows: float32."""
    peak = np.abs(rows).max(axis=1, initial=0)
    if not np.isfinite(peak).all() or ((peak > 0) & (peak < LEAST_PEAK)).any():
        return None
    steps = grid_steps(rows, peak)
    factor = np.divide(steps, peak, out=np.zeros_like(peak), where=peak > 0)
    scaled = rows * factor[:, None]
    if not _whole(scaled).all():
        return None
    return np.rint(scaled).astype(np.int8), np.asarray(peak / steps, np.float32)


def _found(rows: Array, peak: Array) -> NDArray[np.float32]:
    steps = np.full(len(rows), MOST_STEPS, np.float32)
    counts = np.arange(MOST_STEPS, 0, -1, dtype=np.float32)
    factors = counts / peak[:, None]
    seen = rows[:, :: -(-rows.shape[1] // _SEEN_COLUMNS)]
    share = np.abs(seen) / peak[:, None]
    maybe = np.ones(factors.shape, bool)
    for level in _LEVELS:
        probe = np.abs(share - level).argmin(axis=1)
        maybe &= _whole(seen[np.arange(len(rows)), probe, None] * factors)
    for i in np.flatnonzero(maybe.any(axis=0)):
        left = np.flatnonzero(maybe[:, i])
        fits = left[_whole(rows[left] * factors[left, i, None]).all(axis=1)]
        steps[fits] = counts[i]
        maybe[fits] = False
    return steps


def _whole(scaled: Array) -> NDArray[np.bool_]:
    return np.asarray(np.abs(scaled - np.rint(scaled)) <= _TOLERANCE)

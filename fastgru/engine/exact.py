"""Exact sums of integer products in floats: how many products may be added, and integers as sums of int8 matrices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fastgru.engine.buffers import Constant, Value

__all__ = ["EXACT", "bytes_of", "peak_of", "runs_of"]

Array = NDArray[Any]

# Every whole number up to this bound is exact in the dtype.
EXACT: Final = {"float32": 1 << 24, "float64": 1 << 53}


def peak_of(x: Value, zero_point: Value | None) -> int:
    """Return a bound on abs(x - zero_point)."""
    limits = np.iinfo(x.dtype)
    low, high = limits.min, limits.max
    if zero_point is None:
        low = high = 0
    elif isinstance(zero_point, Constant) and zero_point.array.size:
        low, high = int(zero_point.array.min()), int(zero_point.array.max())
    return max(limits.max - low, high - limits.min)


def runs_of(weights: Array, peak: int, exact: int) -> Iterator[tuple[int, int]]:
    """Yield runs of k in which no sum of products with numbers up to `peak` exceeds `exact`.

    Yields at least one run, and each holds at least one k. weights: (K, O).
    """
    total = np.cumsum(np.abs(weights), axis=0) * peak
    first, K = 0, len(weights)
    while first < K or first == 0:
        reach = (total[first:] - (total[first - 1] if first else 0)).max(axis=1, initial=0)
        last = first + max(int(np.searchsorted(reach, exact, side="right")), 1)
        yield first, min(last, K)
        first = last


def bytes_of(numbers: Array) -> list[NDArray[np.int8]]:
    """Return int8 matrices that add up to a matrix of whole numbers."""
    layers: list[NDArray[np.int8]] = []
    while not layers or numbers.any():
        layers.append(numbers.clip(-128, 127).astype(np.int8))
        numbers = numbers - layers[-1]
    return layers

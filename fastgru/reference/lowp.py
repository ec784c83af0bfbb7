"""Weights of 16 and 8 bits: how numbers are rounded, and the products of the rounded numbers.

    bfloat16   both factors rounded to 8 bits of mantissa, halves to even; the sum in the dtype of x
    int8       both factors as q * s, with a scale s = max|a| / 127 for each row of x and each output of the weights,
               q = round(a * (127 / max|a|)), halves to even; the sum of integers is exact:
               x W^T = (q_x q_w^T) * (s_x * s_w)
               A row of weights that was quantised before (`grid`) keeps its q, and s = max|a| / max|q|.

A row of x that is not finite has the scale NaN; a row of magnitudes below `LEAST_PEAK` has the scale 0. Scales and
their products are float32 for every dtype of x.
"""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fastgru.graph import Array
from fastgru.modules import late
from fastgru.reference.grid import LEAST_PEAK, MOST_STEPS, grid_steps

__all__ = ["LEAST_PEAK", "PRODUCTS", "product_bfloat16", "product_int8", "quantised", "quantised_weights", "rounded"]


def rounded(a: Array) -> Array:
    """Return the bfloat16 nearest to each number, in the dtype of a."""
    return a.astype(np.float32).astype(late("ml_dtypes").bfloat16).astype(a.dtype)


def quantised(a: Array, steps: Array | float = MOST_STEPS) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return q, shaped as a, and the scale of each row along the last axis. steps: the largest q of each row."""
    single, most = a.astype(np.float32), np.asarray(steps, np.float32)
    peak = np.abs(single).max(axis=-1, initial=0)
    usable = np.isfinite(peak) & (peak >= LEAST_PEAK)
    factor = most / np.where(usable, peak, np.float32(1))
    q = np.rint(np.where(usable[..., None], single, np.float32(0)) * factor[..., None]).astype(np.int64)
    scale = np.where(usable, peak / most, np.where(np.isfinite(peak), np.float32(0), np.float32(np.nan)))
    return q, scale.astype(np.float32)


def quantised_weights(w: Array) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return q (O, K) and the scale of each row. Rows that were quantised before keep their q."""
    single = w.astype(np.float32)
    return quantised(w, grid_steps(single, np.abs(single).max(axis=1, initial=0)))


def product_bfloat16(x: Array, weight: Array) -> Array:
    """x (..., I), weight (O, I) -> x weight^T, with both factors rounded."""
    return np.asarray(rounded(x) @ rounded(weight).T)


def product_int8(x: Array, weight: Array) -> Array:
    """x (..., I), weight (O, I) -> x weight^T, with both factors quantised. Each sum of integers is exact."""
    (q_x, s_x), (q_w, s_w) = quantised(x), quantised_weights(weight)
    total = (q_x @ q_w.T).astype(np.float32)
    return np.asarray((total * (s_x[..., None] * s_w)).astype(x.dtype))


PRODUCTS: Final[Mapping[str, Callable[[Array, Array], Array]]] = {"bfloat16": product_bfloat16, "int8": product_int8}

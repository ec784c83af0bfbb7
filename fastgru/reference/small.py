"""What weights of 16 and 8 bits mean: how numbers are rounded, and the products of what is left of them.

    bfloat16   both factors rounded to 8 bits of mantissa, halves to even; the sum in the dtype of x
    int8       both factors as q * s, a scale s = max|a| / 127 for each row of x and each output of the weights,
               q = round(a * (127 / max|a|)), halves to even; the sum of integers is exact:
               x W^T = (q_x q_w^T) * (s_x * s_w)

A row of x that is not finite has the scale NaN, one of magnitudes below `LEAST_PEAK` the scale 0. Scales and their
products are float32 whatever the dtype of x.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

__all__ = ["LEAST_PEAK", "PRODUCTS", "product_bfloat16", "product_int8", "quantised", "rounded"]

Array = NDArray[Any]

LEAST_PEAK: Final = 2.0**-100


def rounded(a: Array) -> Array:
    """The nearest bfloat16 of each number, as the dtype of a."""
    return a.astype(np.float32).astype(ml_dtypes.bfloat16).astype(a.dtype)


def quantised(a: Array) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """q, in the shape of a, and the scale of each row along the last axis."""
    single = a.astype(np.float32)
    peak = np.abs(single).max(axis=-1, initial=0)
    usable = np.isfinite(peak) & (peak >= LEAST_PEAK)
    factor = np.float32(127) / np.where(usable, peak, np.float32(1))
    q = np.rint(np.where(usable[..., None], single, np.float32(0)) * factor[..., None]).astype(np.int64)
    scale = np.where(usable, peak / np.float32(127), np.where(np.isfinite(peak), np.float32(0), np.float32(np.nan)))
    return q, scale.astype(np.float32)


def product_bfloat16(x: Array, weight: Array) -> Array:
    """x (..., I), weight (O, I) -> x weight^T of rounded factors."""
    return np.asarray(rounded(x) @ rounded(weight).T)


def product_int8(x: Array, weight: Array) -> Array:
    """x (..., I), weight (O, I) -> x weight^T of quantised factors, each output of one exact sum."""
    (q_x, s_x), (q_w, s_w) = quantised(x), quantised(weight)
    total = (q_x @ q_w.T).astype(np.float32)
    return np.asarray((total * (s_x[..., None] * s_w)).astype(x.dtype))


PRODUCTS: Final[Mapping[str, Callable[[Array, Array], Array]]] = {"bfloat16": product_bfloat16, "int8": product_int8}

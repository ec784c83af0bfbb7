"""A function of the vector floor, applied to an array: every lane, and the tail."""

from __future__ import annotations

from functools import cache

import numpy as np
from numba import njit

from fastgru.kernels.registry import kernel
from fastgru.simd import math as vector_math
from fastgru.simd.memory import lanes_of, load, load_tail, pointer, store, store_tail


@cache
def _loop(name, dtype):
    function = getattr(vector_math, name)

    @kernel
    def apply(v):
        return function(v)

    @njit
    def loop(x_at, y_at, count):
        x, y = pointer(x_at, dtype), pointer(y_at, dtype)
        lanes = lanes_of(x)
        i = 0
        while i + lanes <= count:
            store(y, i, apply(load(x, i)))
            i += lanes
        if i < count:
            store_tail(y, i, apply(load_tail(x, i, count - i)), count - i)

    return loop


def apply(name: str, x: np.ndarray) -> np.ndarray:
    """`fastgru.simd.math`'s function of that name, of each element of x."""
    x = np.ascontiguousarray(x)
    y = np.full_like(x, np.nan)
    _loop(name, x.dtype.name)(x.ctypes.data, y.ctypes.data, x.size)
    return y

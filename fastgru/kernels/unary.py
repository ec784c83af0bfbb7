"""One element in, one out, where there is no vector form (`kernels.fusion` has those): by the C library's function."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from fastgru.kernels.operands.team import LOOK_WORK
from fastgru.kernels.registry import handler, tensor
from fastgru.kernels.team import spend
from fastgru.simd.memory import pointer

__all__ = ["unary_library"]

_BLOCK: Final = 1024


@handler("unary_library", "float32", "float64")
def unary_library(dtype: str) -> Any:
    """y = f(x), element by element, by the C library.

    Operands: x, y; count, code.
    """
    half, root_half = np.dtype(dtype).type(0.5), np.dtype(dtype).type(math.sqrt(0.5))
    nan = np.dtype(dtype).type(np.nan)

    def handle(operands, bases, team):
        x, y = pointer(tensor(bases, operands, 0), dtype), pointer(tensor(bases, operands, 2), dtype)
        count, kind, left = operands[4], operands[5], np.int64(LOOK_WORK)
        for i in range(count):
            if i % _BLOCK == 0:
                left = spend(left, 128 * _BLOCK, team, bases)
                if left < 0:
                    return
            v = x[i]
            if kind == 0:
                y[i] = math.log(v)
            elif kind == 1:
                y[i] = math.sin(v)
            elif kind == 2:
                y[i] = math.cos(v)
            elif kind == 3:
                y[i] = math.tan(v)
            elif kind == 4:
                y[i] = math.asin(v)
            elif kind == 5:
                y[i] = math.acos(v)
            elif kind == 6:
                y[i] = math.atan(v)
            elif kind == 7:
                y[i] = math.sinh(v)
            elif kind == 8:
                y[i] = math.cosh(v)
            elif kind == 9:
                y[i] = math.erf(v)
            elif kind == 10:
                y[i] = math.log1p(v)
            elif kind == 11:
                y[i] = math.expm1(v)
            elif kind == 12:
                y[i] = half * v * math.erfc(-v * root_half)
            elif kind == 13:
                y[i] = math.acosh(v) if v >= 1 else nan
            elif kind == 14:
                y[i] = math.asinh(v)
            else:
                y[i] = math.atanh(v)

    return handle


@handler("unary", "int64")
def unary_int64(dtype: str) -> Any:
    """y = f(x) for integers.

    Operands: x, y; count, code.
    """

    def handle(operands, bases, team):
        x, y = pointer(tensor(bases, operands, 0), dtype), pointer(tensor(bases, operands, 2), dtype)
        count, kind = operands[4], operands[5]
        for i in range(count):
            v = x[i]
            if kind == 0:
                y[i] = -v if v < 0 else v
            elif kind == 1:
                y[i] = -v
            elif kind == 2:
                y[i] = 1 if v > 0 else (-1 if v < 0 else 0)
            else:
                y[i] = ~v

    return handle


@handler("unary_test", "float32", "float64")
def unary_test(dtype: str) -> Any:
    """y (bool) = x is NaN, or x is infinite.

    Operands: x, y; count, code.
    """
    infinity = np.dtype(dtype).type(np.inf)

    def handle(operands, bases, team):
        x, y = pointer(tensor(bases, operands, 0), dtype), pointer(tensor(bases, operands, 2), "bool")
        count = operands[4]
        if operands[5] == 0:
            for i in range(count):
                y[i] = 1 if x[i] != x[i] else 0
        else:
            for i in range(count):
                y[i] = 1 if abs(x[i]) == infinity else 0

    return handle

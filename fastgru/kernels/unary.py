"""One element in, one out, where there is no vector form (`kernels.fusion` has those): by the C library's function."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from fastgru.kernels.operands.team import LOOK_WORK
from fastgru.kernels.operands.unary import INTEGER, LIBRARY, TESTS, UNARY
from fastgru.kernels.registry import handler, tensor
from fastgru.kernels.team import spend
from fastgru.simd.memory import pointer

__all__ = ["unary_library"]

AT = UNARY.at

_BLOCK: Final = 1024


@handler("unary_library", "float32", "float64")
def unary_library(dtype: str) -> Any:
    """y = f(x), element by element, by the C library."""
    half, root_half = np.dtype(dtype).type(0.5), np.dtype(dtype).type(math.sqrt(0.5))
    nan = np.dtype(dtype).type(np.nan)

    def handle(operands, bases, team):
        x, y = pointer(tensor(bases, operands, AT.x), dtype), pointer(tensor(bases, operands, AT.y), dtype)
        count, code, left = operands[AT.count], operands[AT.code], np.int64(LOOK_WORK)
        for i in range(count):
            if i % _BLOCK == 0:
                left = spend(left, 128 * _BLOCK, team, bases)
                if left < 0:
                    return
            v = x[i]
            if code == LIBRARY.log:
                y[i] = math.log(v)
            elif code == LIBRARY.sin:
                y[i] = math.sin(v)
            elif code == LIBRARY.cos:
                y[i] = math.cos(v)
            elif code == LIBRARY.tan:
                y[i] = math.tan(v)
            elif code == LIBRARY.asin:
                y[i] = math.asin(v)
            elif code == LIBRARY.acos:
                y[i] = math.acos(v)
            elif code == LIBRARY.atan:
                y[i] = math.atan(v)
            elif code == LIBRARY.sinh:
                y[i] = math.sinh(v)
            elif code == LIBRARY.cosh:
                y[i] = math.cosh(v)
            elif code == LIBRARY.erf:
                y[i] = math.erf(v)
            elif code == LIBRARY.log1p:
                y[i] = math.log1p(v)
            elif code == LIBRARY.expm1:
                y[i] = math.expm1(v)
            elif code == LIBRARY.gelu:
                y[i] = half * v * math.erfc(-v * root_half)
            elif code == LIBRARY.acosh:
                y[i] = math.acosh(v) if v >= 1 else nan
            elif code == LIBRARY.asinh:
                y[i] = math.asinh(v)
            else:
                y[i] = math.atanh(v)

    return handle


@handler("unary", "int64")
def unary_int64(dtype: str) -> Any:
    """y = f(x) for integers."""

    def handle(operands, bases, team):
        x, y = pointer(tensor(bases, operands, AT.x), dtype), pointer(tensor(bases, operands, AT.y), dtype)
        count, code = operands[AT.count], operands[AT.code]
        for i in range(count):
            v = x[i]
            if code == INTEGER.abs:
                y[i] = -v if v < 0 else v
            elif code == INTEGER.neg:
                y[i] = -v
            elif code == INTEGER.sign:
                y[i] = 1 if v > 0 else (-1 if v < 0 else 0)
            else:
                y[i] = ~v

    return handle


@handler("unary_test", "float32", "float64")
def unary_test(dtype: str) -> Any:
    """y (bool) = x is NaN, or x is infinite."""
    infinity = np.dtype(dtype).type(np.inf)

    def handle(operands, bases, team):
        x, y = pointer(tensor(bases, operands, AT.x), dtype), pointer(tensor(bases, operands, AT.y), "bool")
        count = operands[AT.count]
        if operands[AT.code] == TESTS.isnan:
            for i in range(count):
                y[i] = 1 if x[i] != x[i] else 0
        else:
            for i in range(count):
                y[i] = 1 if abs(x[i]) == infinity else 0

    return handle

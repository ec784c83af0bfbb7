"""Element-wise operations on one operand that have no vector form; `kernels.fusion` has the others."""

import math
import operator
from typing import Any, Final

import numpy as np

from fastgru.kernels.operands.team import LOOK_WORK
from fastgru.kernels.operands.unary import INTEGER, LIBRARY, TESTS, UNARY
from fastgru.kernels.registry import handler, kernel, tensor
from fastgru.kernels.team import spend
from fastgru.simd.choice import make_choice
from fastgru.simd.memory import pointer

__all__ = ["unary_library"]

AT = UNARY.at

_BLOCK: Final = 1024


@handler("unary_library", "float32", "float64")
def unary_library(dtype: str) -> Any:
    """y = f(x), element by element, by the C library."""
    half, root_half = np.dtype(dtype).type(0.5), np.dtype(dtype).type(math.sqrt(0.5))
    nan = np.dtype(dtype).type(np.nan)

    @kernel
    def gelu(v):
        return half * v * math.erfc(-v * root_half)

    @kernel
    def acosh(v):
        return math.acosh(v) if v >= 1 else nan

    own = {"gelu": gelu, "acosh": acosh}
    function = make_choice({code: own.get(name) or getattr(math, name) for name, code in LIBRARY._asdict().items()})

    def handle(operands, bases, team):
        x, y = pointer(tensor(bases, operands, AT.x), dtype), pointer(tensor(bases, operands, AT.y), dtype)
        count, code, left = operands[AT.count], operands[AT.code], np.int64(LOOK_WORK)
        for i in range(count):
            if i % _BLOCK == 0:
                left = spend(left, 128 * _BLOCK, team, bases)
                if left < 0:
                    return
            y[i] = function(code, x[i])

    return handle


@kernel
def _sign(v):
    return 1 if v > 0 else (-1 if v < 0 else 0)


_integer = make_choice(
    {INTEGER.abs: abs, INTEGER.neg: operator.neg, INTEGER.sign: _sign, INTEGER.bitwise_not: operator.invert}
)


@handler("unary", "int64")
def unary_int64(dtype: str) -> Any:
    """y = f(x) for integers."""

    def handle(operands, bases, team):
        x, y = pointer(tensor(bases, operands, AT.x), dtype), pointer(tensor(bases, operands, AT.y), dtype)
        count, code, left = operands[AT.count], operands[AT.code], np.int64(LOOK_WORK)
        for begin in range(0, count, _BLOCK):
            left = spend(left, 32 * _BLOCK, team, bases)
            if left < 0:
                return
            for i in range(begin, min(count, begin + _BLOCK)):
                y[i] = _integer(code, x[i])

    return handle


@handler("unary_test", "float32", "float64")
def unary_test(dtype: str) -> Any:
    """y (bool) = x is NaN, or x is infinite."""
    infinity = np.dtype(dtype).type(np.inf)

    def handle(operands, bases, team):
        x, y = pointer(tensor(bases, operands, AT.x), dtype), pointer(tensor(bases, operands, AT.y), "bool")
        count, left = operands[AT.count], np.int64(LOOK_WORK)
        for begin in range(0, count, _BLOCK):
            left = spend(left, 32 * _BLOCK, team, bases)
            if left < 0:
                return
            end = min(count, begin + _BLOCK)
            if operands[AT.code] == TESTS.isnan:
                for i in range(begin, end):
                    y[i] = 1 if x[i] != x[i] else 0
            else:
                for i in range(begin, end):
                    y[i] = 1 if abs(x[i]) == infinity else 0

    return handle

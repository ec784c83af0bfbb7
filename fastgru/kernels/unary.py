"""One element in, one out: on vectors where there is a vector form, by the C library's function where there is none."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from fastgru.kernels.registry import handler, kernel, tensor
from fastgru.simd.math import exp, expm1, tanh
from fastgru.simd.memory import broadcast, lanes_of, load, load_tail, pointer, store, store_tail
from fastgru.simd.vector import (
    fma,
    maximum,
    minimum,
    round_even,
    select,
    splat,
    vec_abs,
    vec_floor,
    vec_sqrt,
)

__all__ = ["INTEGER_CODES", "LIBRARY_CODES", "TEST_CODES", "VECTOR_CODES", "parameters"]

# As instruction words carry them.
VECTOR_CODES: Final = {
    "abs": 0,
    "neg": 1,
    "sign": 2,
    "sqrt": 3,
    "reciprocal": 4,
    "floor": 5,
    "ceil": 6,
    "round": 7,
    "exp": 8,
    "silu": 9,
    "gelu_tanh": 10,
    "hard_swish": 11,
    "selu": 12,
}
LIBRARY_CODES: Final = {
    "log": 0,
    "sin": 1,
    "cos": 2,
    "tan": 3,
    "asin": 4,
    "acos": 5,
    "atan": 6,
    "sinh": 7,
    "cosh": 8,
    "erf": 9,
    "log1p": 10,
    "expm1": 11,
    "gelu": 12,
}
INTEGER_CODES: Final = {"abs": 0, "neg": 1, "sign": 2, "bitwise_not": 3}
TEST_CODES: Final = {"isnan": 0, "isinf": 1}


def parameters(dtype: Any, alpha: float = 0.0, gamma: float = 0.0) -> Any:
    """The numbers that `unary` reads: constants of its formulas, then alpha and gamma of selu."""
    bound = 80.0 if np.dtype(dtype) == np.float32 else 700.0  # within it, exp neither overflows nor rounds to zero
    tanh_scale = math.sqrt(2 / math.pi)
    return np.array([0, 1, 0.5, 1 / 6, tanh_scale, tanh_scale * 0.044715, bound, gamma, gamma * alpha], dtype)


@kernel
def _whole_exp(c, x):
    """e^x over the whole line: infinity and zero where the one of the vector floor saturates."""
    bound = broadcast(c, 6)
    inside = maximum(minimum(x, bound), -bound)
    return exp(inside) * exp(x - inside)


@kernel
def _apply(kind, c, x):
    zero, one = broadcast(c, 0), broadcast(c, 1)
    if kind == 0:
        return vec_abs(x)
    if kind == 1:
        return -x
    if kind == 2:
        return select(x > zero, one, select(x < zero, -one, x))
    if kind == 3:
        return vec_sqrt(x)
    if kind == 4:
        return one / x
    if kind == 5:
        return vec_floor(x)
    if kind == 6:
        return -vec_floor(-x)
    if kind == 7:
        return round_even(x)
    if kind == 8:
        return _whole_exp(c, x)
    if kind == 9:
        return x / (one + _whole_exp(c, -x))
    if kind == 10:
        inner = x * fma(x * x, broadcast(c, 5), broadcast(c, 4))
        return broadcast(c, 2) * x * (one + tanh(inner))
    if kind == 11:
        return x * maximum(minimum(fma(x, broadcast(c, 3), broadcast(c, 2)), one), zero)
    return select(x > zero, broadcast(c, 7) * x, broadcast(c, 8) * expm1(x))


@handler("unary", "float32", "float64")
def unary(dtype: str) -> Any:
    """y = f(x) for the kinds with a vector form.

    Operands: x, y, parameters; count, code.
    """

    def handle(operands, bases, team):
        x, y = pointer(tensor(bases, operands, 0), dtype), pointer(tensor(bases, operands, 2), dtype)
        c = pointer(tensor(bases, operands, 4), dtype)
        count, kind = operands[6], operands[7]
        lanes = lanes_of(x)
        i = 0
        while i + lanes <= count:
            store(y, i, _apply(kind, c, load(x, i)))
            i += lanes
        if i < count:
            store_tail(y, i, _apply(kind, c, load_tail(x, i, count - i)), count - i)

    return handle


@handler("unary_library", "float32", "float64")
def unary_library(dtype: str) -> Any:
    """y = f(x), element by element, by the C library.

    Operands: x, y; count, code.
    """
    half, root_half = np.dtype(dtype).type(0.5), np.dtype(dtype).type(math.sqrt(0.5))

    def handle(operands, bases, team):
        x, y = pointer(tensor(bases, operands, 0), dtype), pointer(tensor(bases, operands, 2), dtype)
        count, kind = operands[4], operands[5]
        for i in range(count):
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
            else:
                y[i] = half * v * math.erfc(-v * root_half)

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


@handler("clip", "float32", "float64")
def clip(dtype: str) -> Any:
    """y = min(max(x, low), high); NaN stays, and a bound that is NaN makes everything NaN.

    Operands: x, y, low (one number), high (one number); count. A bound may be absent.
    """
    infinity = np.dtype(dtype).type(np.inf)

    def handle(operands, bases, team):
        x, y = pointer(tensor(bases, operands, 0), dtype), pointer(tensor(bases, operands, 2), dtype)
        low_at, high_at = tensor(bases, operands, 4), tensor(bases, operands, 6)
        count = operands[8]
        low, high = -infinity, infinity
        if low_at != 0:
            low = pointer(low_at, dtype)[0]
        if high_at != 0:
            high = pointer(high_at, dtype)[0]
        lanes = lanes_of(x)
        if low != low or high != high:
            for i in range(count):
                y[i] = low + high
            return
        i = 0
        while i + lanes <= count:
            store(y, i, minimum(maximum(load(x, i), splat(low)), splat(high)))
            i += lanes
        if i < count:
            store_tail(y, i, minimum(maximum(load_tail(x, i, count - i), splat(low)), splat(high)), count - i)

    return handle

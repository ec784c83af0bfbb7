"""Two elements in, one out, with broadcasting, where there is no vector form (`kernels.fusion` has those)."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from fastgru.kernels.operands.binary import BINARY, COMPARISONS, INTEGER, LIBRARY, LOGICAL_CODES, WHERE
from fastgru.kernels.operands.strides import NDITER
from fastgru.kernels.registry import DIVISION_BY_ZERO, NEGATIVE_EXPONENT, fail, handler, kernel, tensor
from fastgru.kernels.strides import inner_stride, row_start
from fastgru.simd.memory import offset, pointer

__all__ = ["binary_library", "compare", "logical"]

_AND, _OR = LOGICAL_CODES["and"], LOGICAL_CODES["or"]


def _make_handler(dtype: str, result: str, fill: Any) -> Any:
    """A handler that goes over a and b (dtype) in rows; y (result) is contiguous.

    fill(bases, code, a, step_a, b, step_b, y, n): the n elements of a row, False where they cannot be computed.
    """
    at, nth = BINARY.at, BINARY.tensors.at

    def handle(operands, bases, team):
        a, b = pointer(tensor(bases, operands, at.a), dtype), pointer(tensor(bases, operands, at.b), dtype)
        y = pointer(tensor(bases, operands, at.y), result)
        code, nditer = operands[at.code], offset(operands, at.nditer)
        n = nditer[NDITER.inner]
        step_a, step_b = inner_stride(nditer, nth.a), inner_stride(nditer, nth.b)
        for row in range(nditer[NDITER.rows]):
            row_a, row_b = offset(a, row_start(nditer, nth.a, row)), offset(b, row_start(nditer, nth.b, row))
            if not fill(bases, code, row_a, step_a, row_b, step_b, offset(y, row * n), n):
                return

    return handle


def _element_by_element(compute: Callable[[Any, Any, Any], Any]) -> Any:
    """`fill` for y[i] = compute(code, a[i], b[i])."""

    @kernel
    def fill(bases, code, a, step_a, b, step_b, y, n):
        for i in range(n):
            y[i] = compute(code, a[i * step_a], b[i * step_b])
        return True

    return fill


@kernel
def _library(code, u, v):
    if code == LIBRARY.pow:
        return u**v
    r = np.fmod(u, v)
    if code == LIBRARY.mod and r != 0 and (r < 0) != (v < 0):
        r += v
    return r


@handler("binary_library", "float32", "float64")
def binary_library(dtype: str) -> Any:
    """y = a (op) b, element by element, by the C library."""
    return _make_handler(dtype, dtype, _element_by_element(_library))


@kernel
def _power(base, exponent):
    result = 1
    while exponent > 0:
        if exponent & 1:
            result *= base
        base *= base
        exponent >>= 1
    return result


@kernel
def _divide(code, a, b):
    """The quotient towards zero, the remainder with the divisor's sign (mod) or the dividend's (fmod); b is not 0."""
    if b == -1:  # the one quotient that may not fit
        return -a if code == INTEGER.div else 0
    quotient = a // b
    rest = a - quotient * b
    if code == INTEGER.mod or rest == 0 or (rest < 0) == (a < 0):
        return quotient if code == INTEGER.div else rest
    return quotient + 1 if code == INTEGER.div else rest - b


@kernel
def _bitwise(code, a, b):
    if code == INTEGER.bit_and:
        return a & b
    if code == INTEGER.bit_or:
        return a | b
    if code == INTEGER.bit_xor:
        return a ^ b
    if b < 0 or b > 63:  # which the machine would take modulo 64
        return np.int64(-1) if code == INTEGER.shift_right and a < 0 else np.int64(0)
    return a << b if code == INTEGER.shift_left else a >> b


@kernel
def _integers(bases, code, a, step_a, b, step_b, y, n):
    for i in range(n):
        u, v = a[i * step_a], b[i * step_b]
        if code == INTEGER.add:
            y[i] = u + v
        elif code == INTEGER.sub:
            y[i] = u - v
        elif code == INTEGER.mul:
            y[i] = u * v
        elif code == INTEGER.min:
            y[i] = min(u, v)
        elif code == INTEGER.max:
            y[i] = max(u, v)
        elif code == INTEGER.prelu:
            y[i] = u * v if u < 0 else u
        elif code == INTEGER.pow:
            if v < 0:
                fail(bases, NEGATIVE_EXPONENT, v, 0)
                return False
            y[i] = _power(u, v)
        elif code >= INTEGER.bit_and:
            y[i] = _bitwise(code, u, v)
        else:
            if v == 0:
                fail(bases, DIVISION_BY_ZERO, u, 0)
                return False
            y[i] = _divide(code, u, v)
    return True


@handler("binary", "int64")
def binary_int64(dtype: str) -> Any:
    """y = a (op) b for integers; they wrap around."""
    return _make_handler(dtype, dtype, _integers)


def _relation(holds: Callable[[Any, Any], bool]) -> Any:
    """A loop of its own for each relation, which LLVM makes into vectors."""

    @kernel
    def fill(a, step_a, b, step_b, y, n):
        for i in range(n):
            y[i] = 1 if holds(a[i * step_a], b[i * step_b]) else 0

    return fill


_equal, _not_equal = _relation(operator.eq), _relation(operator.ne)
_less, _less_equal = _relation(operator.lt), _relation(operator.le)
_greater, _greater_equal = _relation(operator.gt), _relation(operator.ge)


@kernel
def _compared(bases, code, a, step_a, b, step_b, y, n):
    if code == COMPARISONS.equal:
        _equal(a, step_a, b, step_b, y, n)
    elif code == COMPARISONS.not_equal:
        _not_equal(a, step_a, b, step_b, y, n)
    elif code == COMPARISONS.less:
        _less(a, step_a, b, step_b, y, n)
    elif code == COMPARISONS.less_equal:
        _less_equal(a, step_a, b, step_b, y, n)
    elif code == COMPARISONS.greater:
        _greater(a, step_a, b, step_b, y, n)
    else:
        _greater_equal(a, step_a, b, step_b, y, n)
    return True


@handler("compare", "float32", "float64", "int64")
def compare(dtype: str) -> Any:
    """y (bool) = a (relation) b."""
    return _make_handler(dtype, "bool", _compared)


@kernel
def _logical(code, u, v):
    if code == _AND:
        return u & v
    if code == _OR:
        return u | v
    return u ^ v


@handler("logical", "bool")
def logical(dtype: str) -> Any:
    """y = a (and, or, xor) b, all bool."""
    return _make_handler(dtype, dtype, _element_by_element(_logical))


@handler("where", "int8", "int16", "int32", "int64")
def where(dtype: str) -> Any:
    """y = a where the condition holds, b elsewhere: elements are moved, so their width is all that matters."""
    at, nth = WHERE.at, WHERE.tensors.at

    def handle(operands, bases, team):
        c, y = pointer(tensor(bases, operands, at.condition), "bool"), pointer(tensor(bases, operands, at.y), dtype)
        a, b = pointer(tensor(bases, operands, at.a), dtype), pointer(tensor(bases, operands, at.b), dtype)
        nditer = offset(operands, at.nditer)
        n = nditer[NDITER.inner]
        step_c = inner_stride(nditer, nth.condition)
        step_a, step_b = inner_stride(nditer, nth.a), inner_stride(nditer, nth.b)
        for row in range(nditer[NDITER.rows]):
            row_c, row_y = offset(c, row_start(nditer, nth.condition, row)), offset(y, row * n)
            row_a, row_b = offset(a, row_start(nditer, nth.a, row)), offset(b, row_start(nditer, nth.b, row))
            for i in range(n):
                row_y[i] = row_a[i * step_a] if row_c[i * step_c] != 0 else row_b[i * step_b]

    return handle

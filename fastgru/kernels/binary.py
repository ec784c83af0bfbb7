"""Element-wise operations on two operands that have no vector form; `kernels.fusion` has the others."""

import operator
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from fastgru.kernels.operands.binary import BINARY, COMPARISONS, INTEGER, LIBRARY, LOGICAL_CODES, WHERE
from fastgru.kernels.operands.strides import NDITER
from fastgru.kernels.operands.team import LOOK_WORK
from fastgru.kernels.registry import DIVISION_BY_ZERO, NEGATIVE_EXPONENT, fail, handler, kernel, tensor
from fastgru.kernels.strides import inner_stride, row_start
from fastgru.kernels.team import spend
from fastgru.simd.choice import make_choice
from fastgru.simd.memory import offset, pointer

__all__ = ["binary_library", "compare", "logical"]

_BLOCK: Final = 4096  # elements between two looks at the work that is left

_logical = make_choice(
    {LOGICAL_CODES["and"]: operator.and_, LOGICAL_CODES["or"]: operator.or_, LOGICAL_CODES["xor"]: operator.xor}
)


def _make_handler(dtype: str, result: str, fill: Any, work: int = 64) -> Any:
    """Return a handler that goes over a and b (dtype) in rows; y (result) is contiguous.

    fill(bases, code, a, step_a, b, step_b, y, n): computes n elements of a row; False if it cannot. work: see `spend`.
    """
    at, nth = BINARY.at, BINARY.tensors.at

    def handle(operands, bases, team):
        a, b = pointer(tensor(bases, operands, at.a), dtype), pointer(tensor(bases, operands, at.b), dtype)
        y = pointer(tensor(bases, operands, at.y), result)
        code, nditer = operands[at.code], offset(operands, at.nditer)
        n = nditer[NDITER.inner]
        step_a, step_b = inner_stride(nditer, nth.a), inner_stride(nditer, nth.b)
        left = np.int64(LOOK_WORK)
        for row in range(nditer[NDITER.rows]):
            row_a, row_b = offset(a, row_start(nditer, nth.a, row)), offset(b, row_start(nditer, nth.b, row))
            for i in range(0, n, _BLOCK):
                some = min(n - i, _BLOCK)
                left = spend(left, work * some, team, bases)
                if left < 0:
                    return
                part_a, part_b = offset(row_a, i * step_a), offset(row_b, i * step_b)
                if not fill(bases, code, part_a, step_a, part_b, step_b, offset(y, row * n + i), some):
                    return

    return handle


def _element_by_element(compute: Callable[[Any, Any, Any], Any]) -> Any:
    """Return `fill` for y[i] = compute(code, a[i], b[i])."""

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
    return _make_handler(dtype, dtype, _element_by_element(_library), work=512)


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
    """Return the quotient, rounded towards zero, or the remainder; b is not 0.

    The remainder has the sign of the divisor (mod) or of the dividend (fmod).
    """
    if b == -1:  # the only divisor whose quotient may not fit
        return -a if code == INTEGER.div else 0
    quotient = a // b
    rest = a - quotient * b
    if code == INTEGER.mod or rest == 0 or (rest < 0) == (a < 0):
        return quotient if code == INTEGER.div else rest
    return quotient + 1 if code == INTEGER.div else rest - b


@kernel
def _shift(left, a, b):
    if b < 0 or b > 63:  # the CPU would shift by b modulo 64
        return np.int64(-1) if not left and a < 0 else np.int64(0)
    return a << b if left else a >> b


_total = make_choice(
    {
        INTEGER.add: operator.add,
        INTEGER.sub: operator.sub,
        INTEGER.mul: operator.mul,
        INTEGER.min: kernel(lambda u, v: min(u, v)),
        INTEGER.max: kernel(lambda u, v: max(u, v)),
        INTEGER.prelu: kernel(lambda u, v: u * v if u < 0 else u),
        INTEGER.bit_and: operator.and_,
        INTEGER.bit_or: operator.or_,
        INTEGER.bit_xor: operator.xor,
        INTEGER.shift_left: kernel(lambda u, v: _shift(True, u, v)),
        INTEGER.shift_right: kernel(lambda u, v: _shift(False, u, v)),
    }
)


@kernel
def _integers(bases, code, a, step_a, b, step_b, y, n):
    divides = code == INTEGER.div or code == INTEGER.mod or code == INTEGER.fmod
    for i in range(n):
        u, v = a[i * step_a], b[i * step_b]
        if code == INTEGER.pow:
            if v < 0:
                fail(bases, NEGATIVE_EXPONENT, v, 0)
                return False
            y[i] = _power(u, v)
        elif divides:
            if v == 0:
                fail(bases, DIVISION_BY_ZERO, u, 0)
                return False
            y[i] = _divide(code, u, v)
        else:
            y[i] = _total(code, u, v)
    return True


@handler("binary", "int64")
def binary_int64(dtype: str) -> Any:
    """y = a (op) b for integers; they wrap around."""
    return _make_handler(dtype, dtype, _integers)


def _relation(holds: Callable[[Any, Any], bool]) -> Any:
    """Return fill(a, step_a, b, step_b, y, n): each relation has a loop of its own, so that LLVM vectorises it."""

    @kernel
    def fill(a, step_a, b, step_b, y, n):
        for i in range(n):
            y[i] = 1 if holds(a[i * step_a], b[i * step_b]) else 0
        return True

    return fill


_compare = make_choice(
    {
        COMPARISONS.equal: _relation(operator.eq),
        COMPARISONS.not_equal: _relation(operator.ne),
        COMPARISONS.less: _relation(operator.lt),
        COMPARISONS.less_equal: _relation(operator.le),
        COMPARISONS.greater: _relation(operator.gt),
        COMPARISONS.greater_equal: _relation(operator.ge),
    }
)


@kernel
def _compared(bases, code, a, step_a, b, step_b, y, n):
    return _compare(code, a, step_a, b, step_b, y, n)


@handler("compare", "float32", "float64", "int64")
def compare(dtype: str) -> Any:
    """y (bool) = a (relation) b."""
    return _make_handler(dtype, "bool", _compared)


@handler("logical", "bool")
def logical(dtype: str) -> Any:
    """y = a (and, or, xor) b, all bool."""
    return _make_handler(dtype, dtype, _element_by_element(_logical))


@handler("where", "int8", "int16", "int32", "int64")
def where(dtype: str) -> Any:
    """y = a where the condition holds, b elsewhere. Elements are only moved, so dtypes of the same width share it."""
    at, nth = WHERE.at, WHERE.tensors.at

    def handle(operands, bases, team):
        c, y = pointer(tensor(bases, operands, at.condition), "bool"), pointer(tensor(bases, operands, at.y), dtype)
        a, b = pointer(tensor(bases, operands, at.a), dtype), pointer(tensor(bases, operands, at.b), dtype)
        nditer = offset(operands, at.nditer)
        n = nditer[NDITER.inner]
        step_c = inner_stride(nditer, nth.condition)
        step_a, step_b = inner_stride(nditer, nth.a), inner_stride(nditer, nth.b)
        left = np.int64(LOOK_WORK)
        for row in range(nditer[NDITER.rows]):
            row_c, row_y = offset(c, row_start(nditer, nth.condition, row)), offset(y, row * n)
            row_a, row_b = offset(a, row_start(nditer, nth.a, row)), offset(b, row_start(nditer, nth.b, row))
            for begin in range(0, n, _BLOCK):
                end = min(n, begin + _BLOCK)
                left = spend(left, 64 * (end - begin), team, bases)
                if left < 0:
                    return
                for i in range(begin, end):
                    row_y[i] = row_a[i * step_a] if row_c[i * step_c] != 0 else row_b[i * step_b]

    return handle

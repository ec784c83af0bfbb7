"""Two elements in, one out, with broadcasting, where there is no vector form (`kernels.fusion` has those)."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastgru.kernels.registry import DIVISION_BY_ZERO, NEGATIVE_EXPONENT, fail, handler, kernel, tensor
from fastgru.kernels.strides import inner_stride, row_start
from fastgru.simd.memory import offset, pointer

__all__ = ["binary_library", "compare", "logical"]


@handler("binary_library", "float32", "float64")
def binary_library(dtype: str) -> Any:
    """y = a (op) b, element by element, by the C library.

    Operands: a, b, y; code, then a walk over a and b.
    """

    def handle(operands, bases, team):
        a, b = pointer(tensor(bases, operands, 0), dtype), pointer(tensor(bases, operands, 2), dtype)
        y = pointer(tensor(bases, operands, 4), dtype)
        kind, walk = operands[6], offset(operands, 7)
        rows, n = walk[0], walk[2]
        step_a, step_b = inner_stride(walk, 0), inner_stride(walk, 1)
        for row in range(rows):
            pa, pb = offset(a, row_start(walk, 0, row)), offset(b, row_start(walk, 1, row))
            py = offset(y, row * n)
            for i in range(n):
                u, v = pa[i * step_a], pb[i * step_b]
                if kind == 0:
                    py[i] = u**v
                else:
                    r = np.fmod(u, v)
                    if kind == 1 and r != 0 and (r < 0) != (v < 0):
                        r += v
                    py[i] = r

    return handle


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
def _divide(kind, a, b):
    """Quotient towards zero (7), remainder with the divisor's sign (8) or the dividend's (9); b is not 0."""
    if b == -1:  # the one quotient that may not fit
        return -a if kind == 7 else 0
    quotient = a // b
    rest = a - quotient * b
    if kind == 8 or rest == 0 or (rest < 0) == (a < 0):
        return quotient if kind == 7 else rest
    return quotient + 1 if kind == 7 else rest - b


@kernel
def _bitwise(kind, a, b):
    """And (10), or (11), exclusive or (12), shift to the left (13) or right (14)."""
    if kind == 10:
        return a & b
    if kind == 11:
        return a | b
    if kind == 12:
        return a ^ b
    if b < 0 or b > 63:  # which the machine would take modulo 64
        return np.int64(-1) if kind == 14 and a < 0 else np.int64(0)
    return a << b if kind == 13 else a >> b


@handler("binary", "int64")
def binary_int64(dtype: str) -> Any:
    """y = a (op) b for integers; they wrap around.

    Operands: a, b, y; code, then a walk over a and b.
    """

    def handle(operands, bases, team):
        a, b = pointer(tensor(bases, operands, 0), dtype), pointer(tensor(bases, operands, 2), dtype)
        y = pointer(tensor(bases, operands, 4), dtype)
        kind, walk = operands[6], offset(operands, 7)
        rows, n = walk[0], walk[2]
        step_a, step_b = inner_stride(walk, 0), inner_stride(walk, 1)
        for row in range(rows):
            pa, pb = offset(a, row_start(walk, 0, row)), offset(b, row_start(walk, 1, row))
            py = offset(y, row * n)
            for i in range(n):
                u, v = pa[i * step_a], pb[i * step_b]
                if kind == 0:
                    py[i] = u + v
                elif kind == 1:
                    py[i] = u - v
                elif kind == 2:
                    py[i] = u * v
                elif kind == 3:
                    py[i] = min(u, v)
                elif kind == 4:
                    py[i] = max(u, v)
                elif kind == 5:
                    py[i] = u * v if u < 0 else u
                elif kind == 6:
                    if v < 0:
                        fail(bases, NEGATIVE_EXPONENT, v, 0)
                        return
                    py[i] = _power(u, v)
                elif kind >= 10:
                    py[i] = _bitwise(kind, u, v)
                else:
                    if v == 0:
                        fail(bases, DIVISION_BY_ZERO, u, 0)
                        return
                    py[i] = _divide(kind, u, v)

    return handle


@handler("compare", "float32", "float64", "int64")
def compare(dtype: str) -> Any:
    """y (bool) = a (relation) b.

    Operands: a, b, y; code, then a walk over a and b.
    """

    def handle(operands, bases, team):
        a, b = pointer(tensor(bases, operands, 0), dtype), pointer(tensor(bases, operands, 2), dtype)
        y = pointer(tensor(bases, operands, 4), "bool")
        kind, walk = operands[6], offset(operands, 7)
        rows, n = walk[0], walk[2]
        step_a, step_b = inner_stride(walk, 0), inner_stride(walk, 1)
        for row in range(rows):
            pa, pb = offset(a, row_start(walk, 0, row)), offset(b, row_start(walk, 1, row))
            py = offset(y, row * n)
            if kind == 0:
                for i in range(n):
                    py[i] = 1 if pa[i * step_a] == pb[i * step_b] else 0
            elif kind == 1:
                for i in range(n):
                    py[i] = 1 if pa[i * step_a] != pb[i * step_b] else 0
            elif kind == 2:
                for i in range(n):
                    py[i] = 1 if pa[i * step_a] < pb[i * step_b] else 0
            elif kind == 3:
                for i in range(n):
                    py[i] = 1 if pa[i * step_a] <= pb[i * step_b] else 0
            elif kind == 4:
                for i in range(n):
                    py[i] = 1 if pa[i * step_a] > pb[i * step_b] else 0
            else:
                for i in range(n):
                    py[i] = 1 if pa[i * step_a] >= pb[i * step_b] else 0

    return handle


@handler("logical", "bool")
def logical(dtype: str) -> Any:
    """y = a (and, or, xor) b, all bool.

    Operands: a, b, y; code, then a walk over a and b.
    """

    def handle(operands, bases, team):
        a, b = pointer(tensor(bases, operands, 0), dtype), pointer(tensor(bases, operands, 2), dtype)
        y = pointer(tensor(bases, operands, 4), dtype)
        kind, walk = operands[6], offset(operands, 7)
        rows, n = walk[0], walk[2]
        step_a, step_b = inner_stride(walk, 0), inner_stride(walk, 1)
        for row in range(rows):
            pa, pb = offset(a, row_start(walk, 0, row)), offset(b, row_start(walk, 1, row))
            py = offset(y, row * n)
            for i in range(n):
                u, v = pa[i * step_a], pb[i * step_b]
                if kind == 0:
                    py[i] = u & v
                elif kind == 1:
                    py[i] = u | v
                else:
                    py[i] = u ^ v

    return handle


@handler("where", "int8", "int16", "int32", "int64")
def where(dtype: str) -> Any:
    """y = a where the condition holds, b elsewhere: elements are moved, so their width is all that matters.

    Operands: condition, a, b, y; a walk over condition, a and b.
    """

    def handle(operands, bases, team):
        c, a = pointer(tensor(bases, operands, 0), "bool"), pointer(tensor(bases, operands, 2), dtype)
        b, y = pointer(tensor(bases, operands, 4), dtype), pointer(tensor(bases, operands, 6), dtype)
        walk = offset(operands, 8)
        rows, n = walk[0], walk[2]
        step_c, step_a, step_b = inner_stride(walk, 0), inner_stride(walk, 1), inner_stride(walk, 2)
        for row in range(rows):
            pc, pa = offset(c, row_start(walk, 0, row)), offset(a, row_start(walk, 1, row))
            pb, py = offset(b, row_start(walk, 2, row)), offset(y, row * n)
            for i in range(n):
                py[i] = pa[i * step_a] if pc[i * step_c] != 0 else pb[i * step_b]

    return handle

"""Fused element-wise operations: a short program for each block of elements, in registers that lie in L1.

A register holds a block of `block_elements` contiguous elements, whatever the strides of their operand. A source is
loaded into its own register, unless its memory already has the layout of the block. Every operation reads up to three
registers and writes one; the last one is stored. Operations work lane by lane, so the bits of an element do not depend
on its neighbours.
"""

from typing import Any

import numpy as np

from fastgru.kernels.activation import activate
from fastgru.kernels.operands.fusion import (
    ARITHMETIC,
    FIRST_ACTIVATION,
    FUSION,
    ITERATED,
    OPERATION,
    UNARY,
    block_elements,
    scratch,
)
from fastgru.kernels.operands.fusion import UNARY_NUMBERS as NUMBERS
from fastgru.kernels.operands.strides import NDITER
from fastgru.kernels.operands.team import LOOK_WORK
from fastgru.kernels.registry import handler, kernel, tensor
from fastgru.kernels.strides import inner_stride, outer_stride, row_start
from fastgru.kernels.team import spend
from fastgru.simd.masks import maximum_nan, minimum_nan
from fastgru.simd.math import exp, expm1, tanh
from fastgru.simd.memory import address, broadcast, lanes_of, load, load_tail, offset, pointer, store, store_tail
from fastgru.simd.vector import fma, maximum, minimum, round_even, select, vec_abs, vec_floor, vec_sqrt

__all__ = ["fusion"]

AT, OP = FUSION.at, OPERATION.at


@kernel
def _whole_exp(c, x):
    """Return e^x for every x: infinity and zero where `simd.math.exp` saturates."""
    bound = broadcast(c, NUMBERS.bound)
    inside = maximum(minimum(x, bound), -bound)
    return exp(inside) * exp(x - inside)


@kernel
def _unary(code, c, x):
    zero, one = broadcast(c, NUMBERS.zero), broadcast(c, NUMBERS.one)
    if code == UNARY.abs:
        return vec_abs(x)
    if code == UNARY.neg:
        return -x
    if code == UNARY.sign:
        return select(x > zero, one, select(x < zero, -one, x))
    if code == UNARY.sqrt:
        return vec_sqrt(x)
    if code == UNARY.reciprocal:
        return one / x
    if code == UNARY.floor:
        return vec_floor(x)
    if code == UNARY.ceil:
        return -vec_floor(-x)
    if code == UNARY.round:
        return round_even(x)
    if code == UNARY.exp:
        return _whole_exp(c, x)
    if code == UNARY.silu:
        return x / (one + _whole_exp(c, -x))
    if code == UNARY.gelu_tanh:
        inner = x * fma(x * x, broadcast(c, NUMBERS.tanh_cubic), broadcast(c, NUMBERS.tanh_scale))
        return broadcast(c, NUMBERS.half) * x * (one + tanh(inner))
    if code == UNARY.hard_swish:
        return x * maximum(minimum(fma(x, broadcast(c, NUMBERS.sixth), broadcast(c, NUMBERS.half)), one), zero)
    return select(x > zero, broadcast(c, NUMBERS.gamma) * x, broadcast(c, NUMBERS.gamma_alpha) * expm1(x))


@kernel
def _apply(code, p, x, y, z):
    if code == ARITHMETIC.add:
        return x + y
    if code == ARITHMETIC.sub:
        return x - y
    if code == ARITHMETIC.mul:
        return x * y
    if code == ARITHMETIC.div:
        return x / y
    if code == ARITHMETIC.min:
        return minimum_nan(x, y)
    if code == ARITHMETIC.max:
        return maximum_nan(x, y)
    if code == ARITHMETIC.prelu:
        return select(x < -x, x * y, x)  # x < -x: x is negative, or -inf
    if code == ARITHMETIC.fma:
        return fma(x, y, z)
    if code == ARITHMETIC.clip:
        return minimum_nan(maximum_nan(x, y), z)
    if code < FIRST_ACTIVATION:
        return _unary(code, p, x)
    return activate(code - FIRST_ACTIVATION, p, x)


@kernel
def _load_block(p, step, target, count):
    """target[:count] = p[0], p[step]...; elements up to the next whole vector may be written as well."""
    lanes = lanes_of(target)
    i = 0
    if step == 1:
        while i + lanes <= count:
            store(target, i, load(p, i))
            i += lanes
        if i < count:
            store(target, i, load_tail(p, i, count - i))
    elif step == 0:
        value = broadcast(p, 0)
        while i < count:
            store(target, i, value)
            i += lanes
    else:
        while i < count:
            target[i] = p[i * step]
            i += 1


@kernel
def _store_block(source, p, step, count):
    lanes = lanes_of(source)
    i = 0
    if step == 1:
        while i + lanes <= count:
            store(p, i, load(source, i))
            i += lanes
        if i < count:
            store_tail(p, i, load(source, i), count - i)
    else:
        while i < count:
            p[i * step] = source[i]
            i += 1


@kernel
def _runs_on(nditer, k, rows, inner, step):
    """Return whether operand k has one stride across rows and within a row, or there is only one row."""
    return rows == 1 or (nditer[NDITER.axes] == 1 and outer_stride(nditer, k, 0) == inner * step)


@handler("fusion", "float32", "float64")
def fusion(dtype: str) -> Any:
    """y = the last of a list of operations over sources of any strides; `fastgru.engine.fusion` makes the list."""
    block, regions = block_elements(dtype), scratch(dtype, 0)
    first_register, size = regions.registers, regions.register

    def handle(operands, bases, team):
        y, numbers = pointer(tensor(bases, operands, AT.y), dtype), pointer(tensor(bases, operands, AT.numbers), dtype)
        table = pointer(tensor(bases, operands, AT.scratch), "int64")
        registers = offset(pointer(tensor(bases, operands, AT.scratch), dtype), first_register)
        sources, count_ops = operands[AT.count], operands[AT.operations]
        ops = offset(operands, AT.program)
        nditer = offset(ops, OP.words * count_ops)
        rows, n = nditer[NDITER.rows], nditer[NDITER.inner]
        lanes = lanes_of(y)
        at_once = min(rows, max(1, block // n))
        final = ops[OP.words * (count_ops - 1) + OP.target]
        y_step = inner_stride(nditer, ITERATED.y)
        for k in range(sources):  # a scalar fills its register once, and a negative address marks that
            table[k] = 0
            flat = inner_stride(nditer, ITERATED.sources + k) == 0
            for j in range(nditer[NDITER.axes]):
                flat = flat and outer_stride(nditer, ITERATED.sources + k, j) == 0
            if flat:
                register = offset(registers, k * size)
                source = pointer(tensor(bases, operands, AT.sources + 2 * k), dtype)
                _load_block(source, np.int64(0), register, min(block, rows * n))
                table[k] = -address(register)
        row, left = 0, np.int64(LOOK_WORK)
        while row < rows:
            group = min(at_once, rows - row)
            start = 0
            while start < n:
                inside = min(block, n - start)  # the whole row if a group has several rows
                count = inside * group
                whole = count % lanes == 0
                for k in range(sources):
                    if table[k] < 0:
                        continue
                    p = pointer(tensor(bases, operands, AT.sources + 2 * k), dtype)
                    step = inner_stride(nditer, ITERATED.sources + k)
                    p = offset(p, row_start(nditer, ITERATED.sources + k, row) + start * step)
                    register = offset(registers, k * size)
                    if _runs_on(nditer, ITERATED.sources + k, group, n, step):
                        if step == 1 and whole:
                            table[k] = address(p)
                            continue
                        _load_block(p, step, register, count)
                    else:
                        _load_block(p, step, register, inside)
                        for r in range(1, group):
                            q = pointer(tensor(bases, operands, AT.sources + 2 * k), dtype)
                            q = offset(q, row_start(nditer, ITERATED.sources + k, row + r))
                            _load_block(q, step, offset(register, r * inside), inside)
                    table[k] = address(register)
                target = offset(y, row_start(nditer, ITERATED.y, row) + start * y_step)
                straight = y_step == 1 and whole and _runs_on(nditer, ITERATED.y, group, n, y_step)
                for o in range(count_ops):
                    op = offset(ops, OP.words * o)
                    code, p = op[OP.code], offset(numbers, op[OP.numbers])
                    a, b = pointer(abs(table[op[OP.a]]), dtype), pointer(abs(table[op[OP.b]]), dtype)
                    c = pointer(abs(table[op[OP.c]]), dtype)
                    out = offset(registers, op[OP.target] * size)
                    if straight and o == count_ops - 1:
                        out = target
                    i = 0
                    while i < count:
                        store(out, i, _apply(code, p, load(a, i), load(b, i), load(c, i)))
                        i += lanes
                    table[op[OP.target]] = address(out)
                if not straight:
                    result = offset(registers, final * size)
                    if _runs_on(nditer, ITERATED.y, group, n, y_step):
                        _store_block(result, target, y_step, count)
                    else:
                        for r in range(group):
                            place = offset(y, row_start(nditer, ITERATED.y, row + r))
                            _store_block(offset(result, r * inside), place, y_step, inside)
                start += inside
                left = spend(left, 8 * count * count_ops, team, bases)
                if left < 0:
                    return
            row += group

    return handle

"""Chains of element-wise operations: a short program for each block of elements, in registers that lie in L1.

A register holds a block of `block_elements`, one after the other whatever the strides of the operand they came from: a
source is loaded into its own, unless it lies there as the block needs it; every operation reads up to three registers
and writes one; the last is stored. Operations work lane by lane, so the bits do not depend on what stands beside them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastgru.kernels.activation import activate
from fastgru.kernels.operands.fusion import HEAD, MAX_REGISTERS, OPERATION_WORDS, block_elements
from fastgru.kernels.operands.team import LOOK_WORK
from fastgru.kernels.registry import handler, kernel, tensor
from fastgru.kernels.strides import inner_stride, row_start
from fastgru.kernels.team import spend
from fastgru.simd.masks import maximum_nan, minimum_nan
from fastgru.simd.math import exp, expm1, tanh
from fastgru.simd.memory import address, broadcast, lanes_of, load, load_tail, offset, pointer, store, store_tail
from fastgru.simd.vector import fma, maximum, minimum, round_even, select, vec_abs, vec_floor, vec_sqrt

__all__ = ["fusion"]


@kernel
def _whole_exp(c, x):
    """e^x over the whole line: infinity and zero where the one of the vector floor saturates."""
    bound = broadcast(c, 6)
    inside = maximum(minimum(x, bound), -bound)
    return exp(inside) * exp(x - inside)


@kernel
def _unary(kind, c, x):
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


@kernel
def _apply(code, p, x, y, z):
    if code == 0:
        return x + y
    if code == 1:
        return x - y
    if code == 2:
        return x * y
    if code == 3:
        return x / y
    if code == 4:
        return minimum_nan(x, y)
    if code == 5:
        return maximum_nan(x, y)
    if code == 6:
        return select(x < -x, x * y, x)  # negative, -inf too
    if code == 7:
        return fma(x, y, z)
    if code == 8:
        return minimum_nan(maximum_nan(x, y), z)
    if code < 32:
        return _unary(code - 16, p, x)
    return activate(code - 32, p, x)


@kernel
def _load_block(p, step, target, count):
    """target[:count] = p[0], p[step]...; what follows up to a whole vector may be written, too."""
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
def _runs_on(walk, k, rows, inner, step):
    """Whether operand k goes on from row to row as it does within one, for any number of rows, or for one."""
    axes = walk[1]
    return rows == 1 or (axes == 1 and walk[4 + axes + k * (axes + 1)] == inner * step)


@handler("fusion", "float32", "float64")
def fusion(dtype: str) -> Any:
    """y = the last of a list of operations over sources of any strides; see `fastgru.engine.fusion` for the words.

    Operands: y, scratch, parameters, `MAX_SOURCES` sources (the rest absent); their number, that of the operations, the
    operations (code, target, three registers, first parameter), then a walk over y and the sources.
    """
    item, block = np.dtype(dtype).itemsize, block_elements(dtype)
    first_register, spare = MAX_REGISTERS * 8 // item, 64 // item

    def handle(operands, bases, team):
        y, scratch = pointer(tensor(bases, operands, 0), dtype), pointer(tensor(bases, operands, 2), dtype)
        table = pointer(tensor(bases, operands, 2), "int64")
        numbers = pointer(tensor(bases, operands, 4), dtype)
        sources, count_ops = operands[HEAD], operands[HEAD + 1]
        ops = offset(operands, HEAD + 2)
        walk = offset(ops, OPERATION_WORDS * count_ops)
        rows, n = walk[0], walk[2]
        lanes = lanes_of(y)
        registers = offset(scratch, first_register)
        size = block + spare
        at_once = min(rows, max(1, block // n))
        final = ops[OPERATION_WORDS * (count_ops - 1) + 1]
        y_step = inner_stride(walk, 0)
        for k in range(sources):  # a number fills its register once; its address stands as a negative one
            table[k] = 0
            flat = inner_stride(walk, k + 1) == 0
            for j in range(walk[1]):
                flat = flat and walk[4 + walk[1] + (k + 1) * (walk[1] + 1) + j] == 0
            if flat:
                register = offset(registers, k * size)
                source = pointer(tensor(bases, operands, 6 + 2 * k), dtype)
                _load_block(source, np.int64(0), register, min(block, rows * n))
                table[k] = -address(register)
        row, left = 0, np.int64(LOOK_WORK)
        while row < rows:
            group = min(at_once, rows - row)
            start = 0
            while start < n:
                inside = min(block, n - start)  # all of the row where there are several
                count = inside * group
                whole = count % lanes == 0
                for k in range(sources):
                    if table[k] < 0:
                        continue
                    p = offset(pointer(tensor(bases, operands, 6 + 2 * k), dtype), row_start(walk, k + 1, row))
                    step = inner_stride(walk, k + 1)
                    p = offset(p, start * step)
                    register = offset(registers, k * size)
                    if _runs_on(walk, k + 1, group, n, step):
                        if step == 1 and whole:
                            table[k] = address(p)
                            continue
                        _load_block(p, step, register, count)
                    else:
                        _load_block(p, step, register, inside)
                        for r in range(1, group):
                            q = pointer(tensor(bases, operands, 6 + 2 * k), dtype)
                            q = offset(q, row_start(walk, k + 1, row + r))
                            _load_block(q, step, offset(register, r * inside), inside)
                    table[k] = address(register)
                target = offset(y, row_start(walk, 0, row) + start * y_step)
                straight = y_step == 1 and whole and _runs_on(walk, 0, group, n, y_step)
                for o in range(count_ops):
                    op = offset(ops, OPERATION_WORDS * o)
                    code, p = op[0], offset(numbers, op[5])
                    a, b, c = pointer(abs(table[op[2]]), dtype), pointer(abs(table[op[3]]), dtype), abs(table[op[4]])
                    z = pointer(c, dtype)
                    out = offset(registers, op[1] * size)
                    if straight and o == count_ops - 1:
                        out = target
                    i = 0
                    while i < count:
                        store(out, i, _apply(code, p, load(a, i), load(b, i), load(z, i)))
                        i += lanes
                    table[op[1]] = address(out)
                if not straight:
                    result = offset(registers, final * size)
                    if _runs_on(walk, 0, group, n, y_step):
                        _store_block(result, target, y_step, count)
                    else:
                        for r in range(group):
                            place = offset(y, row_start(walk, 0, row + r))
                            _store_block(offset(result, r * inside), place, y_step, inside)
                start += inside
                left = spend(left, 8 * count * count_ops, team, bases)
                if left < 0:
                    return
            row += group

    return handle

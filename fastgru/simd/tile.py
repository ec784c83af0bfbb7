"""Register tiles: M rows by U vectors of accumulators, kept as one tuple value so that LLVM holds them in registers.

A tile advances by one k at a time, every accumulator by one fma, so each output is one chain over k in ascending
order whatever M and U are: results do not depend on which tile computed them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from llvmlite import ir
from numba.core import types
from numba.core.extending import intrinsic

from fastgru.simd.cpu import VECTOR_BYTES
from fastgru.simd.vector import Vec, llvm_vec, multiply_add, splat_value, vec_of

__all__ = ["Gates", "Tile", "make_gates", "make_tile"]

_INT64 = ir.IntType(64)


class Tile(NamedTuple):
    """Operations of one tile shape, to be used inside compiled code.

    zero(p): all accumulators zero, of the element type that p points to.
    advance(acc, x, row_stride, w): acc[m][u] += x[m * row_stride + k] * w[k * U + u], k = 0 .. steps - 1.
    advance_one: the same for k = 0 alone.
    finish(acc, start, start_stride, out, out_stride): out[m][u] = start[m][u] + acc[m][u]; a start stride of 0
        adds one row to all.
    """

    steps: int
    zero: Any
    advance: Any
    advance_one: Any
    finish: Any


class Gates(NamedTuple):
    """The operations of one row times `groups` matrices whose panels lie `group_stride` apart.

    finish(acc, start, start_last, out): group by group, out = start + acc; the last group starts from its own vector.
    The others are those of a `Tile`, with the group stride in place of the row stride.
    """

    steps: int
    zero: Any
    advance: Any
    advance_one: Any
    finish: Any


def _load(builder: ir.IRBuilder, vec: Vec, p: ir.Value, index: int) -> ir.Value:
    where = builder.gep(p, [ir.Constant(_INT64, index * vec.lanes)]) if index else p
    value = builder.load(builder.bitcast(where, llvm_vec(vec).as_pointer()))
    value.align = vec.dtype.bitwidth // 8
    return value


def _store_sum(
    builder: ir.IRBuilder, vec: Vec, acc: ir.Value, i: int, start: ir.Value, out: ir.Value, at: int, from_: int
) -> None:
    total = builder.fadd(_load(builder, vec, start, from_), builder.extract_value(acc, i))
    where = builder.gep(out, [ir.Constant(_INT64, at * vec.lanes)])
    builder.store(total, builder.bitcast(where, llvm_vec(vec).as_pointer())).align = vec.dtype.bitwidth // 8


def _tile_type(p: types.CPointer, count: int) -> types.UniTuple:
    return types.UniTuple(vec_of(p.dtype), count)


def _zero(count: int) -> Any:
    @intrinsic
    def zero(typingctx, p):
        if not isinstance(p, types.CPointer):
            return None
        result = _tile_type(p, count)
        return result(p), lambda context, builder, sig, args: ir.Constant(context.get_value_type(result), None)

    return zero


def _advancing(rows: int, groups: int, vectors: int, unroll: int) -> Any:
    """The stride is that of the rows of x, or, where there is one row, that of the groups of w."""
    count = rows * groups * vectors

    @intrinsic
    def advance(typingctx, acc, x, stride, w):
        if not (isinstance(x, types.CPointer) and x == w and acc == _tile_type(x, count) and stride == types.int64):
            return None

        def codegen(context, builder, sig, args):
            acc_value, x_value, stride_value, w_value = args
            vec = vec_of(x.dtype)
            lanes = VECTOR_BYTES * 8 // x.dtype.bitwidth
            sums = [builder.extract_value(acc_value, i) for i in range(count)]
            rows_at, groups_at = [x_value], [w_value]
            for _ in range(1, rows):
                rows_at.append(builder.gep(rows_at[-1], [stride_value]))
            for _ in range(1, groups):
                groups_at.append(builder.gep(groups_at[-1], [stride_value]))
            for k in range(unroll):
                weights = [_load(builder, vec, g, k * vectors + u) for g in groups_at for u in range(vectors)]
                for m in range(rows):
                    element = builder.gep(rows_at[m], [ir.Constant(_INT64, k)]) if k else rows_at[m]
                    scalar = splat_value(builder, builder.load(element), lanes)
                    for j, weight in enumerate(weights):
                        i = m * len(weights) + j
                        sums[i] = multiply_add(builder, vec, scalar, weight, sums[i])
            result = acc_value
            for i, value in enumerate(sums):
                result = builder.insert_value(result, value, i)
            return result

        return acc(acc, x, stride, w), codegen

    return advance


def make_tile(rows: int, vectors: int, steps: int = 4) -> Tile:
    """The operations of a tile of `rows` by `vectors`, unrolled `steps` times."""
    count = rows * vectors

    @intrinsic
    def finish(typingctx, acc, start, start_stride, out, out_stride):
        if not (start == out and acc == _tile_type(out, count) and start_stride == out_stride == types.int64):
            return None

        def codegen(context, builder, sig, args):
            acc_value, start_value, start_step, out_value, out_step = args
            for m in range(rows):
                if m:
                    start_value = builder.gep(start_value, [start_step])
                    out_value = builder.gep(out_value, [out_step])
                for u in range(vectors):
                    _store_sum(builder, vec_of(out.dtype), acc_value, m * vectors + u, start_value, out_value, u, u)
            return context.get_dummy_value()

        return types.void(acc, start, start_stride, out, out_stride), codegen

    return Tile(steps, _zero(count), _advancing(rows, 1, vectors, steps), _advancing(rows, 1, vectors, 1), finish)


def make_gates(groups: int, vectors: int, steps: int = 4) -> Gates:
    """The operations of one row times `groups` panels of `vectors`, unrolled `steps` times."""
    count = groups * vectors

    @intrinsic
    def finish(typingctx, acc, start, start_last, out):
        if not (start == out == start_last and acc == _tile_type(out, count)):
            return None

        def codegen(context, builder, sig, args):
            acc_value, start_value, last_value, out_value = args
            for i in range(count):
                own = i >= count - vectors
                source = last_value if own else start_value
                _store_sum(builder, vec_of(out.dtype), acc_value, i, source, out_value, i, i - own * (count - vectors))
            return context.get_dummy_value()

        return types.void(acc, start, start_last, out), codegen

    return Gates(steps, _zero(count), _advancing(1, groups, vectors, steps), _advancing(1, groups, vectors, 1), finish)

"""Register tiles: M rows by U vectors of accumulators, kept as one tuple value so that LLVM holds them in registers.

A tile advances by one k at a time, every accumulator by one fma, so each output is one chain over k in ascending
order whatever M and U are: results do not depend on which tile computed them.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from llvmlite import ir
from numba.core import types
from numba.core.extending import intrinsic

from fastgru.simd.vector import Vec, llvm_vec, multiply_add, splat_value, vec_of

__all__ = ["Form", "Gates", "Tile", "advancing", "make_gates", "make_tile", "tile_type", "zeros"]

_INT64 = ir.IntType(64)


class Form(Protocol):
    """What a tile multiplies: how one k of a row, and of the weights, is read, and enters the sums.

    A k is a unit: one number, or as many as one instruction multiplies and adds.
    """

    def sums(self, p: types.CPointer) -> Vec | None:
        """The type of a sum of products of what p points to; None where p is no pointer of this form."""

    def weight(self, builder: ir.IRBuilder, sums: Vec, p: ir.Value, index: int) -> ir.Value:
        """The index-th vector of weights from p on."""

    def value(self, builder: ir.IRBuilder, sums: Vec, p: ir.Value, k: int) -> ir.Value:
        """Unit k of the row at p, in every lane."""

    def accumulate(self, builder: ir.IRBuilder, sums: Vec, x: ir.Value, w: ir.Value, acc: ir.Value) -> ir.Value:
        """acc + x * w."""


class _Plain:
    """Floats times floats: a unit is one number."""

    def sums(self, p: types.CPointer) -> Vec | None:
        return vec_of(p.dtype) if isinstance(p.dtype, types.Float) else None

    def weight(self, builder: ir.IRBuilder, sums: Vec, p: ir.Value, index: int) -> ir.Value:
        return _load(builder, sums, p, index)

    def value(self, builder: ir.IRBuilder, sums: Vec, p: ir.Value, k: int) -> ir.Value:
        element = builder.gep(p, [ir.Constant(_INT64, k)]) if k else p
        return splat_value(builder, builder.load(element), sums.lanes)

    def accumulate(self, builder: ir.IRBuilder, sums: Vec, x: ir.Value, w: ir.Value, acc: ir.Value) -> ir.Value:
        return multiply_add(builder, sums, x, w, acc)


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


def tile_type(vec: Vec, count: int) -> types.UniTuple:
    """The type of `count` accumulators."""
    return types.UniTuple(vec, count)


def zeros(form: Form, count: int) -> Any:
    """zero(p): `count` accumulators of a form, all zero."""

    @intrinsic
    def zero(typingctx, p):
        if not isinstance(p, types.CPointer) or (vec := form.sums(p)) is None:
            return None
        result = tile_type(vec, count)
        return result(p), lambda context, builder, sig, args: ir.Constant(context.get_value_type(result), None)

    return zero


def advancing(form: Form, rows: int, groups: int, vectors: int, unroll: int) -> Any:
    """advance(acc, x, stride, w): the stride is that of the rows of x, or, with one row, that of the groups of w."""
    count = rows * groups * vectors

    @intrinsic
    def advance(typingctx, acc, x, stride, w):
        if not (isinstance(x, types.CPointer) and x == w and stride == types.int64):
            return None
        vec = form.sums(x)
        if vec is None or acc != tile_type(vec, count):
            return None

        def codegen(context, builder, sig, args):
            acc_value, x_value, stride_value, w_value = args
            sums = [builder.extract_value(acc_value, i) for i in range(count)]
            rows_at, groups_at = [x_value], [w_value]
            for _ in range(1, rows):
                rows_at.append(builder.gep(rows_at[-1], [stride_value]))
            for _ in range(1, groups):
                groups_at.append(builder.gep(groups_at[-1], [stride_value]))
            for k in range(unroll):
                weights = [form.weight(builder, vec, g, k * vectors + u) for g in groups_at for u in range(vectors)]
                for m in range(rows):
                    value = form.value(builder, vec, rows_at[m], k)
                    for j, weight in enumerate(weights):
                        i = m * len(weights) + j
                        sums[i] = form.accumulate(builder, vec, value, weight, sums[i])
            result = acc_value
            for i, value in enumerate(sums):
                result = builder.insert_value(result, value, i)
            return result

        return acc(acc, x, stride, w), codegen

    return advance


_PLAIN = _Plain()


def make_tile(rows: int, vectors: int, steps: int = 4, form: Form = _PLAIN) -> Tile:
    """The operations of a tile of `rows` by `vectors`, unrolled `steps` times."""
    count = rows * vectors

    @intrinsic
    def finish(typingctx, acc, start, start_stride, out, out_stride):
        acc_fits = acc == tile_type(vec_of(out.dtype), count)
        if not (start == out and acc_fits and start_stride == out_stride == types.int64):
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

    advance, advance_one = (advancing(form, rows, 1, vectors, n) for n in (steps, 1))
    return Tile(steps, zeros(form, count), advance, advance_one, finish)


def make_gates(groups: int, vectors: int, steps: int = 4, form: Form = _PLAIN) -> Gates:
    """The operations of one row times `groups` panels of `vectors`, unrolled `steps` times."""
    count = groups * vectors

    @intrinsic
    def finish(typingctx, acc, start, start_last, out):
        if not (start == out == start_last and acc == tile_type(vec_of(out.dtype), count)):
            return None

        def codegen(context, builder, sig, args):
            acc_value, start_value, last_value, out_value = args
            for i in range(count):
                own = i >= count - vectors
                source = last_value if own else start_value
                _store_sum(builder, vec_of(out.dtype), acc_value, i, source, out_value, i, i - own * (count - vectors))
            return context.get_dummy_value()

        return types.void(acc, start, start_last, out), codegen

    advance, advance_one = (advancing(form, 1, groups, vectors, n) for n in (steps, 1))
    return Gates(steps, zeros(form, count), advance, advance_one, finish)

"""Register tiles: M rows by U vectors of accumulators, kept as one tuple value so that LLVM holds them in registers.

A tile advances by one k at a time, every accumulator by one operation, so each output is one chain over k in ascending
order whatever M and U are: results do not depend on which tile computed them.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, Protocol

from llvmlite import ir
from numba.core import types
from numba.core.extending import intrinsic

from fastgru.simd.vector import Vec, llvm_vec, multiply_add, splat_value, vec_of

__all__ = ["FLOATS", "Floats", "Tile", "TileFormat", "load_vector", "make_tile"]

_INT64 = ir.IntType(64)


class TileFormat(Protocol):
    """What a tile multiplies: how one k of a row, and of the weights, is read, enters the sums, and leaves them.

    A k is a unit: one number, or as many as one instruction multiplies and adds.

    x_unit, w_unit: elements of a unit in a row, and in the weights of an output. x_head, w_head: those before the
        first.
    """

    x_unit: int
    w_unit: int
    x_head: int
    w_head: int

    def sums(self, p: types.CPointer) -> Vec | None:
        """The type of a sum of products of what p points to; None where p is no pointer of this format."""

    def begin(self, builder: ir.IRBuilder, sums: Vec, head: ir.Value, index: int) -> ir.Value:
        """What the index-th vector of sums begins with; `head` is where the weights of a panel begin."""

    def weight(self, builder: ir.IRBuilder, sums: Vec, p: ir.Value, index: int) -> ir.Value:
        """The index-th vector of weights from p on."""

    def value(self, builder: ir.IRBuilder, sums: Vec, p: ir.Value, k: int) -> ir.Value:
        """Unit k of the row at p, in every lane."""

    def accumulate(self, builder: ir.IRBuilder, sums: Vec, x: ir.Value, w: ir.Value, acc: ir.Value) -> ir.Value:
        """acc + x * w."""

    def scale(self, builder: ir.IRBuilder, head: ir.Value, vectors: int, index: int) -> ir.Value | None:
        """The scales of the index-th of `vectors` vectors of outputs, where there are any."""

    def row_scale(self, builder: ir.IRBuilder, x: ir.Value) -> ir.Value | None:
        """The scale of the row whose head x points to, in every lane, where there are any."""

    def scaled(self, builder: ir.IRBuilder, acc: ir.Value, row: Any, scale: Any) -> ir.Value:
        """A sum as a float."""


class Floats:
    """Floats times floats: a unit is one number."""

    x_unit, w_unit, x_head, w_head = 1, 1, 0, 0

    def sums(self, p: types.CPointer) -> Vec | None:
        return vec_of(p.dtype) if isinstance(p.dtype, types.Float) else None

    def begin(self, builder: ir.IRBuilder, sums: Vec, head: ir.Value, index: int) -> ir.Value:
        return ir.Constant(llvm_vec(sums), None)

    def weight(self, builder: ir.IRBuilder, sums: Vec, p: ir.Value, index: int) -> ir.Value:
        return load_vector(builder, sums, p, index)

    def value(self, builder: ir.IRBuilder, sums: Vec, p: ir.Value, k: int) -> ir.Value:
        element = builder.gep(p, [ir.Constant(_INT64, k)]) if k else p
        return splat_value(builder, builder.load(element), sums.lanes)

    def accumulate(self, builder: ir.IRBuilder, sums: Vec, x: ir.Value, w: ir.Value, acc: ir.Value) -> ir.Value:
        return multiply_add(builder, sums, x, w, acc)

    def scale(self, builder: ir.IRBuilder, head: ir.Value, vectors: int, index: int) -> None:
        return None

    def row_scale(self, builder: ir.IRBuilder, x: ir.Value) -> None:
        return None

    def scaled(self, builder: ir.IRBuilder, acc: ir.Value, row: Any, scale: Any) -> ir.Value:
        return acc


FLOATS: Final = Floats()


class Tile(NamedTuple):
    """Operations of one tile, for compiled code: rows by groups, which are matrices `apart` elements from each other.

    begin(head, apart): accumulators that have added up nothing; `head` is where the weights begin.
    advance(acc, x, stride, w, k): acc[m][g][u] += x[m * stride + k] * w[g][k * U + u] for `steps` units from k on, the
        stride being that of the rows, or, with several groups, `apart`.
    advance_one: the same for one unit.
    finish(acc, head, apart, x, x_stride, start, start_stride, start_last, out, out_stride): out = start + acc; x is
        where a row begins, a start stride of 0 adds one row to all, the last of several groups adds `start_last`.
    """

    steps: int
    begin: Any
    advance: Any
    advance_one: Any
    finish: Any


def load_vector(builder: ir.IRBuilder, vec: Vec, p: ir.Value, index: int) -> ir.Value:
    """The index-th vector from p on."""
    where = builder.gep(p, [ir.Constant(_INT64, index * vec.lanes)]) if index else p
    value = builder.load(builder.bitcast(where, llvm_vec(vec).as_pointer()))
    value.align = vec.dtype.bitwidth // 8
    return value


def _strided(builder: ir.IRBuilder, p: ir.Value, stride: ir.Value, count: int) -> list[ir.Value]:
    places = [p]
    for _ in range(1, count):
        places.append(builder.gep(places[-1], [stride]))
    return places


def _unit(builder: ir.IRBuilder, p: ir.Value, k: ir.Value, each: int, head: int) -> ir.Value:
    """Where unit k begins, `each` elements a unit behind a head."""
    at = builder.mul(k, ir.Constant(_INT64, each)) if each > 1 else k
    return builder.gep(p, [builder.add(at, ir.Constant(_INT64, head)) if head else at])


def _advancing(form: TileFormat, rows: int, groups: int, vectors: int, unroll: int) -> Any:
    count = rows * groups * vectors

    @intrinsic
    def advance(typingctx, acc, x, stride, w, k):
        if not (isinstance(x, types.CPointer) and x == w and stride == k == types.int64):
            return None
        vec = form.sums(x)
        if vec is None or acc != types.UniTuple(vec, count):
            return None

        def codegen(context, builder, sig, args):
            acc_value, x_value, stride_value, w_value, k_value = args
            width = vectors * vec.lanes
            x_value = _unit(builder, x_value, k_value, form.x_unit, form.x_head)
            w_value = _unit(builder, w_value, k_value, width * form.w_unit, width * form.w_head)
            sums = [builder.extract_value(acc_value, i) for i in range(count)]
            rows_at = _strided(builder, x_value, stride_value, rows)
            groups_at = _strided(builder, w_value, stride_value, groups)
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

        return acc(acc, x, stride, w, k), codegen

    return advance


def make_tile(form: TileFormat, rows: int, groups: int, vectors: int, steps: int = 4) -> Tile:
    """The operations of `rows` rows by `groups` matrices of `vectors` vectors, unrolled `steps` times.

    One of rows and groups is 1.
    """
    count = rows * groups * vectors

    @intrinsic
    def begin(typingctx, head, apart):
        if not isinstance(head, types.CPointer) or apart != types.int64 or (vec := form.sums(head)) is None:
            return None
        result = types.UniTuple(vec, count)

        def codegen(context, builder, sig, args):
            heads = _strided(builder, args[0], args[1], groups)
            made = [form.begin(builder, vec, at, u) for at in heads for u in range(vectors)]
            value = ir.Constant(context.get_value_type(result), ir.Undefined)
            for i in range(count):
                value = builder.insert_value(value, made[i % len(made)], i)
            return value

        return result(head, apart), codegen

    @intrinsic
    def finish(typingctx, acc, head, apart, x, x_stride, start, start_stride, start_last, out, out_stride):
        strides = apart == x_stride == start_stride == out_stride == types.int64
        if not (head == x and start == start_last == out and strides):
            return None
        if not isinstance(out, types.CPointer) or (sums := form.sums(head)) is None:
            return None
        if acc != types.UniTuple(sums, count):
            return None
        vec = vec_of(out.dtype)

        def codegen(context, builder, sig, args):
            acc_value, head_at, apart_value, x_at, x_step, start_at, start_step, last_at, out_at, out_step = args
            heads = _strided(builder, head_at, apart_value, groups)
            scales = [form.scale(builder, at, vectors, u) for at in heads for u in range(vectors)]
            for m in range(rows):
                if m:
                    x_at, start_at = builder.gep(x_at, [x_step]), builder.gep(start_at, [start_step])
                    out_at = builder.gep(out_at, [out_step])
                row = form.row_scale(builder, x_at)
                for i, scale in enumerate(scales):
                    own = groups > 1 and i >= (groups - 1) * vectors
                    begin_at = last_at if own else start_at
                    first = load_vector(builder, vec, begin_at, i - own * (groups - 1) * vectors)
                    total = builder.extract_value(acc_value, m * len(scales) + i)
                    total = builder.fadd(first, form.scaled(builder, total, row, scale))
                    where = builder.gep(out_at, [ir.Constant(_INT64, i * vec.lanes)])
                    made = builder.store(total, builder.bitcast(where, llvm_vec(vec).as_pointer()))
                    made.align = vec.dtype.bitwidth // 8
            return context.get_dummy_value()

        given = (acc, head, apart, x, x_stride, start, start_stride, start_last, out, out_stride)
        return types.void(*given), codegen

    advance, advance_one = (_advancing(form, rows, groups, vectors, n) for n in (steps, 1))
    return Tile(steps, begin, advance, advance_one, finish)

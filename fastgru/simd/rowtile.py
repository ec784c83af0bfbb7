"""Register tiles of a convolution: M output channels by U vectors of pixels, kept as one tuple value.

The pixels of a tile lie in a row. The last vector may start anywhere, so that it can end with the row and share pixels
with the vector before it. Every accumulator takes one fma for each tap, so an output is one chain over the taps,
whatever M and U are and wherever its vector starts.
"""

from typing import Any, NamedTuple

from llvmlite import ir
from numba.core import types
from numba.core.extending import intrinsic

from fastgru.simd.target import VECTOR_BYTES
from fastgru.simd.vector import llvm_vec, multiply_add, splat_value, vec_of

__all__ = ["RowTile", "make_row_tile"]

_INT64 = ir.IntType(64)
_WORDS = types.CPointer(types.int64)


class RowTile(NamedTuple):
    """Operations of one tile shape, for use in compiled code; `last` is the offset at which the last vector starts.

    zero(p): accumulators that are all zero, of the element type that p points to.
    advance(acc, w, x, taps, last): acc[m][u] + w[m] * x[taps[0] + u].
    begin(acc, bias): acc[m][u] + bias[m].
    resume(acc, out, stride, last): acc[m][u] + out[m * stride + u].
    clamp(acc, limits): acc[m][u], limited to the range from limits[0] to limits[1].
    lean(acc, slope): acc[m][u], times slope[m] if it is negative.
    put(acc, out, stride, last): stores out[m * stride + u] = acc[m][u].
    """

    zero: Any
    advance: Any
    begin: Any
    resume: Any
    clamp: Any
    lean: Any
    put: Any


def _vector_at(builder: ir.IRBuilder, p: ir.Value, vec: Any) -> ir.Value:
    return builder.bitcast(p, llvm_vec(vec).as_pointer())


def _load(builder: ir.IRBuilder, p: ir.Value, vec: Any) -> ir.Value:
    value = builder.load(_vector_at(builder, p, vec))
    value.align = vec.dtype.bitwidth // 8
    return value


def _starts(builder: ir.IRBuilder, p: ir.Value, vectors: int, lanes: int, last: ir.Value) -> list[ir.Value]:
    inner = [builder.gep(p, [ir.Constant(_INT64, u * lanes)]) if u else p for u in range(vectors - 1)]
    return [*inner, builder.gep(p, [last])]


def _packed(builder: ir.IRBuilder, like: ir.Value, values: list[ir.Value]) -> ir.Value:
    for i, value in enumerate(values):
        like = builder.insert_value(like, value, i)
    return like


def make_row_tile(channels: int, vectors: int) -> RowTile:
    """Return the operations of a tile of `channels` channels by `vectors` vectors."""
    count = channels * vectors

    def tile_type(p: types.CPointer) -> types.UniTuple:
        return types.UniTuple(vec_of(p.dtype), count)

    @intrinsic
    def zero(typingctx, p):
        if not isinstance(p, types.CPointer):
            return None
        result = tile_type(p)
        return result(p), lambda context, builder, sig, args: ir.Constant(context.get_value_type(result), None)

    @intrinsic
    def advance(typingctx, acc, w, x, taps, last):
        if not (isinstance(x, types.CPointer) and x == w and acc == tile_type(x)):
            return None
        if not (taps == _WORDS and last == types.int64):
            return None

        def codegen(context, builder, sig, args):
            acc_value, w_value, x_value, taps_value, last_value = args
            vec = vec_of(x.dtype)
            start = builder.gep(x_value, [builder.load(taps_value)])
            pixels = [_load(builder, p, vec) for p in _starts(builder, start, vectors, vec.lanes, last_value)]
            values = []
            for m in range(channels):
                number = builder.load(builder.gep(w_value, [ir.Constant(_INT64, m)]))
                scalar = splat_value(builder, number, vec.lanes)
                for u, pixel in enumerate(pixels):
                    before = builder.extract_value(acc_value, m * vectors + u)
                    values.append(multiply_add(builder, vec, scalar, pixel, before))
            return _packed(builder, acc_value, values)

        return acc(acc, w, x, taps, last), codegen

    def by_channel(combine: Any) -> Any:
        """Return f(acc, p), which combines the sums of each channel m with the number p[m]."""

        @intrinsic
        def apply(typingctx, acc, p):
            if not (isinstance(p, types.CPointer) and acc == tile_type(p)):
                return None

            def codegen(context, builder, sig, args):
                lanes = VECTOR_BYTES * 8 // p.dtype.bitwidth
                values = []
                for i in range(count):
                    if i % vectors == 0:
                        number = builder.load(builder.gep(args[1], [ir.Constant(_INT64, i // vectors)]))
                        each = splat_value(builder, number, lanes)
                    values.append(combine(builder, builder.extract_value(args[0], i), each))
                return _packed(builder, args[0], values)

            return acc(acc, p), codegen

        return apply

    def leaning(builder: ir.IRBuilder, value: ir.Value, slope: ir.Value) -> ir.Value:
        nothing = ir.Constant(value.type, [0.0] * value.type.count)
        return builder.select(builder.fcmp_ordered("<", value, nothing), builder.fmul(value, slope), value)

    @intrinsic
    def clamp(typingctx, acc, limits):
        if not (isinstance(limits, types.CPointer) and acc == tile_type(limits)):
            return None

        def codegen(context, builder, sig, args):
            lanes = VECTOR_BYTES * 8 // limits.dtype.bitwidth
            low, high = (
                splat_value(builder, builder.load(builder.gep(args[1], [ir.Constant(_INT64, i)])), lanes)
                for i in range(2)
            )
            values = []
            for i in range(count):
                value = builder.extract_value(args[0], i)
                value = builder.select(builder.fcmp_ordered(">", low, value), low, value)
                values.append(builder.select(builder.fcmp_ordered("<", high, value), high, value))
            return _packed(builder, args[0], values)

        return acc(acc, limits), codegen

    @intrinsic
    def resume(typingctx, acc, out, stride, last):
        if not (isinstance(out, types.CPointer) and acc == tile_type(out) and stride == last == types.int64):
            return None

        def codegen(context, builder, sig, args):
            acc_value, p, stride_value, last_value = args
            vec = vec_of(out.dtype)
            values = []
            for m in range(channels):
                p = builder.gep(p, [stride_value]) if m else p
                for u, start in enumerate(_starts(builder, p, vectors, vec.lanes, last_value)):
                    before = _load(builder, start, vec)
                    values.append(builder.fadd(before, builder.extract_value(acc_value, m * vectors + u)))
            return _packed(builder, acc_value, values)

        return acc(acc, out, stride, last), codegen

    @intrinsic
    def put(typingctx, acc, out, stride, last):
        if not (isinstance(out, types.CPointer) and acc == tile_type(out) and stride == last == types.int64):
            return None

        def codegen(context, builder, sig, args):
            acc_value, p, stride_value, last_value = args
            vec = vec_of(out.dtype)
            for m in range(channels):
                p = builder.gep(p, [stride_value]) if m else p
                for u, start in enumerate(_starts(builder, p, vectors, vec.lanes, last_value)):
                    value = builder.extract_value(acc_value, m * vectors + u)
                    builder.store(value, _vector_at(builder, start, vec)).align = vec.dtype.bitwidth // 8
            return context.get_dummy_value()

        return types.void(acc, out, stride, last), codegen

    begin = by_channel(lambda builder, value, bias: builder.fadd(bias, value))
    lean = by_channel(leaning)
    return RowTile(zero, advance, begin, resume, clamp, lean, put)

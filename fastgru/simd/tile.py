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
from fastgru.simd.vector import call, llvm_vec, splat_value, suffix, vec_of

__all__ = ["Tile", "make_tile"]

_INT64 = ir.IntType(64)


class Tile(NamedTuple):
    """Operations of one tile shape, to be used inside compiled code.

    zero(p): all accumulators zero, of the element type that p points to.
    advance(acc, x, row_stride, w, steps): acc[m][u] += x[m * row_stride + k] * w[k * U + u], k = 0 .. STEPS - 1.
    advance_one: the same for k = 0 alone.
    finish(acc, start, start_stride, out, out_stride): out[m][u] = start[m][u] + acc[m][u]; a start stride of 0
        adds one row to all.
    """

    rows: int
    vectors: int
    steps: int
    zero: Any
    advance: Any
    advance_one: Any
    finish: Any


def _load(builder: ir.IRBuilder, vec: Any, p: ir.Value, index: int) -> ir.Value:
    where = builder.gep(p, [ir.Constant(_INT64, index * vec.lanes)]) if index else p
    value = builder.load(builder.bitcast(where, llvm_vec(vec).as_pointer()))
    value.align = vec.dtype.bitwidth // 8
    return value


def make_tile(rows: int, vectors: int, steps: int = 4) -> Tile:
    """The operations of a tile of `rows` by `vectors`, unrolled `steps` times."""
    count = rows * vectors

    def tile_type(p: Any) -> Any:
        return types.UniTuple(vec_of(p.dtype), count)

    @intrinsic
    def zero(typingctx, p):
        if not isinstance(p, types.CPointer):
            return None
        result = tile_type(p)
        return result(p), lambda context, builder, sig, args: ir.Constant(context.get_value_type(result), None)

    def advancing(unroll: int) -> Any:
        @intrinsic
        def advance(typingctx, acc, x, row_stride, w):
            if not (isinstance(x, types.CPointer) and x == w and acc == tile_type(x) and row_stride == types.int64):
                return None

            def codegen(context, builder, sig, args):
                acc_value, x_value, stride, w_value = args
                vec = vec_of(x.dtype)
                lanes = VECTOR_BYTES * 8 // x.dtype.bitwidth
                fma = f"llvm.fma.{suffix(vec)}"
                sums = [builder.extract_value(acc_value, i) for i in range(count)]
                starts = [x_value]
                for _ in range(1, rows):
                    starts.append(builder.gep(starts[-1], [stride]))
                for k in range(unroll):
                    weights = [_load(builder, vec, w_value, k * vectors + u) for u in range(vectors)]
                    for m in range(rows):
                        element = builder.gep(starts[m], [ir.Constant(_INT64, k)]) if k else starts[m]
                        scalar = splat_value(builder, builder.load(element), lanes)
                        for u in range(vectors):
                            i = m * vectors + u
                            sums[i] = call(builder, fma, llvm_vec(vec), [scalar, weights[u], sums[i]])
                result = acc_value
                for i, value in enumerate(sums):
                    result = builder.insert_value(result, value, i)
                return result

            return acc(acc, x, row_stride, w), codegen

        return advance

    @intrinsic
    def finish(typingctx, acc, start, start_stride, out, out_stride):
        if not (start == out and acc == tile_type(out) and start_stride == out_stride == types.int64):
            return None

        def codegen(context, builder, sig, args):
            acc_value, start_value, start_step, out_value, out_step = args
            vec = vec_of(out.dtype)
            for m in range(rows):
                if m:
                    start_value = builder.gep(start_value, [start_step])
                    out_value = builder.gep(out_value, [out_step])
                for u in range(vectors):
                    total = builder.fadd(
                        _load(builder, vec, start_value, u), builder.extract_value(acc_value, m * vectors + u)
                    )
                    where = builder.gep(out_value, [ir.Constant(_INT64, u * vec.lanes)])
                    stored = builder.store(total, builder.bitcast(where, llvm_vec(vec).as_pointer()))
                    stored.align = vec.dtype.bitwidth // 8
            return context.get_dummy_value()

        return types.void(acc, start, start_stride, out, out_stride), codegen

    return Tile(rows, vectors, steps, zero, advancing(steps), advancing(1), finish)

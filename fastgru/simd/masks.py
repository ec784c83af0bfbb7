"""Masks: which lanes are NaN, which lie before the end of a row; minimum and maximum that let NaN through."""

from __future__ import annotations

from llvmlite import ir
from numba.core import types
from numba.core.extending import intrinsic

from fastgru.simd.vector import Vec, is_float_vec, splat_value, vec_of

__all__ = ["first_lanes", "is_nan", "maximum_nan", "minimum_nan"]


@intrinsic
def is_nan(typingctx, a):
    """The lanes that are NaN."""
    if not is_float_vec(a):
        return None
    mask = Vec(types.boolean, a.lanes)
    return mask(a), lambda context, builder, sig, args: builder.fcmp_unordered("uno", args[0], args[0])


@intrinsic
def first_lanes(typingctx, p, count):
    """The first `count` lanes of a vector of the type that `p` points to."""
    if not (isinstance(p, types.CPointer) and isinstance(p.dtype, types.Float) and count == types.int64):
        return None
    mask = Vec(types.boolean, vec_of(p.dtype).lanes)

    def codegen(context, builder, sig, args):
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), mask.lanes), list(range(mask.lanes)))
        bound = splat_value(builder, builder.trunc(args[1], ir.IntType(32)), mask.lanes)
        return builder.icmp_signed("<", lanes, bound)

    return mask(p, count), codegen


def _pick_nan(llvm_name: str, doc: str):
    def op(typingctx, a, b):
        if not is_float_vec(a, b) or a != b:
            return None

        def codegen(context, builder, sig, args):
            a, b = args
            best = builder.select(builder.fcmp_ordered(llvm_name, b, a), b, a)
            return builder.select(builder.fcmp_unordered("uno", b, b), b, best)

        return a(a, b), codegen

    op.__doc__ = doc
    return intrinsic(op)


minimum_nan = _pick_nan("<", "The smaller, NaN where either is NaN: numpy.minimum.")
maximum_nan = _pick_nan(">", "The larger, NaN where either is NaN: numpy.maximum.")

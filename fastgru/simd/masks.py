"""Masks of lanes that are NaN, equal, or before the end of a row; searches in masks; extremes that keep NaN."""

from llvmlite import ir
from numba.core import types
from numba.core.extending import intrinsic

from fastgru.simd.vector import Vec, call, is_float_vec, splat_value, vec_of

__all__ = ["first_lanes", "first_true", "is_nan", "maximum_nan", "minimum_nan", "same_or_nan", "zeros_above"]


@intrinsic
def is_nan(typingctx, a):
    """Return the mask of the lanes that are NaN."""
    if not is_float_vec(a):
        return None
    mask = Vec(types.boolean, a.lanes)
    return mask(a), lambda context, builder, sig, args: builder.fcmp_unordered("uno", args[0], args[0])


@intrinsic
def same_or_nan(typingctx, a, b):
    """Return the mask of the lanes in which a and b are equal, or both are NaN."""
    if not is_float_vec(a, b) or a != b:
        return None

    def codegen(context, builder, sig, args):
        a, b = args
        nan = builder.and_(builder.fcmp_unordered("uno", a, a), builder.fcmp_unordered("uno", b, b))
        return builder.or_(builder.fcmp_ordered("==", a, b), nan)

    return Vec(types.boolean, a.lanes)(a, b), codegen


@intrinsic
def first_lanes(typingctx, p, count):
    """Return the mask of the first `count` lanes of a vector of the type that `p` points to."""
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


def _lane_count(name: str, doc: str):
    def op(typingctx, mask):
        if not (isinstance(mask, Vec) and mask.dtype == types.boolean):
            return None

        def codegen(context, builder, sig, args):
            bits = builder.zext(builder.bitcast(args[0], ir.IntType(mask.lanes)), ir.IntType(64))
            return call(builder, f"llvm.{name}.i64", ir.IntType(64), [bits, ir.Constant(ir.IntType(1), 0)])

        return types.int64(mask), codegen

    op.__doc__ = doc
    return intrinsic(op)


first_true = _lane_count("cttz", "The first lane where the mask holds; 64 where it holds nowhere.")
zeros_above = _lane_count("ctlz", "63 minus the last lane where the mask holds; 64 where it holds nowhere.")

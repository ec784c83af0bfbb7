"""Quantisation of rows for `simd.dot`: floats are rounded to bfloat16, or to bytes by a scale."""

from typing import Final

from llvmlite import ir
from numba.core import types
from numba.core.extending import intrinsic

from fastgru.simd.groups import INT8_BIAS, INT8_GROUP, INT8_UNIT
from fastgru.simd.target import VECTOR_BYTES
from fastgru.simd.vector import Vec, call, llvm_vec

__all__ = ["largest", "no_bits", "peak_bits", "store_bfloat16", "store_int8"]

LANES: Final = VECTOR_BYTES // 4
_I8, _I16, _I32, _I64, _F32 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()
_BYTES = types.CPointer(types.uint8)


def _constant(value: int) -> ir.Constant:
    return ir.Constant(ir.VectorType(_I32, LANES), [value] * LANES)


def _float_lanes(v: types.Type) -> bool:
    return isinstance(v, Vec) and v.dtype == types.float32


@intrinsic
def peak_bits(typingctx, peak, v):
    """Return the larger of `peak` and the bits of |v|, lane by lane, as int32.

    As int32, the bits have the order of magnitudes; inf is above all numbers, and NaN above inf.
    """
    integers = Vec(types.int32, LANES)
    if not _float_lanes(v) or peak != integers:
        return None

    def codegen(context, builder, sig, args):
        bits = builder.and_(builder.bitcast(args[1], llvm_vec(integers)), _constant(0x7FFFFFFF))
        return builder.select(builder.icmp_signed(">", bits, args[0]), bits, args[0])

    return integers(peak, v), codegen


@intrinsic
def no_bits(typingctx):
    """Return the zeros that `peak_bits` starts from."""
    integers = Vec(types.int32, LANES)
    return integers(), lambda context, builder, sig, args: ir.Constant(llvm_vec(integers), None)


@intrinsic
def largest(typingctx, peak):
    """Return the largest lane, read as the bits of a float32."""
    if peak != Vec(types.int32, LANES):
        return None

    def codegen(context, builder, sig, args):
        best = call(builder, f"llvm.vector.reduce.smax.v{LANES}i32", _I32, [args[0]])
        return builder.bitcast(best, _F32)

    return types.float32(peak), codegen


@intrinsic
def store_int8(typingctx, out, i, v):
    """Round lanes to the nearest integer, halves to even, and store them from value i of a row on.

    A lane that is NaN, or not below 127.5 in magnitude, is stored as 0.
    """
    if out != _BYTES or not isinstance(i, types.Integer) or not _float_lanes(v):
        return None

    def codegen(context, builder, sig, args):
        value = args[2]
        real, whole = value.type, ir.VectorType(_I32, LANES)
        size = call(builder, f"llvm.fabs.v{LANES}f32", real, [value])
        within = builder.fcmp_ordered("<", size, ir.Constant(real, [127.5] * LANES))
        value = builder.select(within, value, ir.Constant(real, None))
        value = builder.fptosi(call(builder, f"llvm.nearbyint.v{LANES}f32", real, [value]), whole)
        if INT8_BIAS:
            value = builder.add(value, _constant(INT8_BIAS))
        kind = ir.VectorType(_I8 if INT8_UNIT == INT8_GROUP else _I16, LANES)
        width = INT8_UNIT // INT8_GROUP
        where = builder.gep(args[0], [builder.mul(args[1], ir.Constant(_I64, width))])
        builder.store(builder.trunc(value, kind), builder.bitcast(where, kind.as_pointer())).align = 1
        return context.get_dummy_value()

    return types.void(out, i, v), codegen


@intrinsic
def store_bfloat16(typingctx, out, i, v):
    """Round lanes to bfloat16, halves to even, and store them from value i of a row on; NaN stays NaN."""
    if out != _BYTES or not isinstance(i, types.Integer) or not _float_lanes(v):
        return None

    def codegen(context, builder, sig, args):
        bits = builder.bitcast(args[2], ir.VectorType(_I32, LANES))
        high = builder.lshr(bits, _constant(16))
        odd = builder.and_(high, _constant(1))
        rounded = builder.add(builder.add(bits, odd), _constant(0x7FFF))
        rounded = builder.lshr(rounded, _constant(16))
        quiet = builder.or_(high, _constant(0x40))
        rounded = builder.select(builder.fcmp_unordered("uno", args[2], args[2]), quiet, rounded)
        kind = ir.VectorType(_I16, LANES)
        where = builder.gep(args[0], [builder.mul(args[1], ir.Constant(_I64, 2))])
        builder.store(builder.trunc(rounded, kind), builder.bitcast(where, kind.as_pointer())).align = 1
        return context.get_dummy_value()

    return types.void(out, i, v), codegen

"""Tiles of low precision: products of bfloat16 pairs are summed in float32, of groups of bytes in int32.

Rows and weights are bytes in memory (`types.uint8`), grouped along k so that one instruction multiplies and adds a
whole group: AVX512-BF16 and VNNI, or BFDOT and SDOT, if the CPU has them, otherwise pairs that are widened. Sums of
bytes are exact on every path.

    bfloat16   row: values.   Weights: k pair by k pair, the pair of each output.
    int8       row: its scale (float32), then its values q. Weights: for each output a start (int32) and a scale
               (float32), then k group by k group, the group of each output.
               out = added + float(start + sum of q * w) * (scale of the row * scale of the output), where `added` is
               the float that a tile starts from; each operation is rounded.

VNNI multiplies unsigned by signed bytes: for it a row holds q + 128, and the start of an output is -128 times the sum
of its weights. Elsewhere the starts are zero, and a row holds q, in 16 bits if pairs are multiplied on x86.

BFDOT adds the two products of a pair to each other, then to the sum. Products are exact. Both sums are rounded to odd:
truncated, with the last bit set if any bit was lost. Denormals are zeros, and the only NaN is the quiet positive one.
BFMMLA adds in another order and is not used, because the bits of a row must not depend on its neighbours. Nor is SMMLA,
which needs a layout of its own and gains nothing for one row. SMULL and SADALP take pairs of bytes on any Arm CPU: a
product fits 16 bits, and neighbours are added in 32.

With AMX (`simd.amx`), single rows are multiplied in vectors by the arithmetic of the tiles: of every 16 pairs of
bfloat16, the first and the second products are summed separately, from zero; then the two sums are added, then their
sum to the total. Tiles treat denormals in inputs and results as zeros, as vectors do in the mode of a run
(`simd.control`).
"""

from typing import Any, Final

from llvmlite import ir
from numba.core import types

from fastgru.simd.groups import INT8_GROUP, INT8_HEAD, INT8_SCALE, INT8_UNIT
from fastgru.simd.target import AMX, DOT_BFLOAT16, DOT_INT8, IS_X86, VECTOR_BYTES
from fastgru.simd.tile import Floats
from fastgru.simd.vector import Vec, call, llvm_vec, multiply_add, splat_lane, splat_value

__all__ = ["BFLOAT16", "INT8", "dot_bytes", "dot_pairs"]

LANES: Final = VECTOR_BYTES // 4
_I8, _I16, _I32, _I64, _F32 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()
_UNIT = ir.IntType(8 * INT8_UNIT)  # of a row of bytes
_BYTES = types.CPointer(types.uint8)


class _BFloat(ir.Type):
    """The type that LLVM calls bfloat."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash(_BFloat)


def _vector(kind: ir.Type, lanes: int) -> ir.VectorType:
    return ir.VectorType(kind, lanes)


def _at(builder: ir.IRBuilder, p: ir.Value, nbytes: int) -> ir.Value:
    return builder.gep(p, [ir.Constant(_I64, nbytes)]) if nbytes else p


def _load(builder: ir.IRBuilder, p: ir.Value, kind: ir.Type) -> ir.Value:
    value = builder.load(builder.bitcast(p, kind.as_pointer()))
    value.align = 4 if kind in (_I32, _F32) else 1
    return value


def _constant(value: int, lanes: int) -> ir.Constant:
    return ir.Constant(_vector(_I32, lanes), [value] * lanes)


def _halves(builder: ir.IRBuilder, pairs: ir.Value, lanes: int) -> tuple[ir.Value, ir.Value]:
    """Return the two bfloat16 of each 32-bit lane, as float32."""
    floats = _vector(_F32, lanes)
    low = builder.bitcast(builder.shl(pairs, _constant(16, lanes)), floats)
    return low, builder.bitcast(builder.and_(pairs, _constant(0xFFFF0000, lanes)), floats)


def dot_pairs(
    builder: ir.IRBuilder, a: ir.Value, b: ir.Value, acc: ir.Value, *, native: bool = DOT_BFLOAT16 != ""
) -> ir.Value:
    """Return acc + the products of the pairs of bfloat16 in each 32-bit lane of a and b, in float32."""
    lanes = acc.type.count
    if native:
        pairs = _vector(_BFloat(), 2 * lanes)
        args = [builder.bitcast(a, pairs), builder.bitcast(b, pairs)]
        if not IS_X86:  # BFDOT can take one lane of its last operand
            return call(builder, "llvm.aarch64.neon.bfdot.v4f32.v8bf16", acc.type, [acc, *args[::-1]])
        return call(builder, f"llvm.x86.avx512bf16.dpbf16ps.{32 * lanes}", acc.type, [acc, *args])
    vec = Vec(types.float32, lanes)
    for x, w in zip(_halves(builder, a, lanes), _halves(builder, b, lanes), strict=True):
        acc = multiply_add(builder, vec, x, w, acc)
    return acc


def dot_bytes(
    builder: ir.IRBuilder, a: ir.Value, b: ir.Value, acc: ir.Value, *, native: bool = DOT_INT8 != ""
) -> ir.Value:
    """Return acc + the products of the groups in each lane of a and b, in int32.

    native, or with emulated AMX: a has four bytes, unsigned on x86, and b four signed bytes. Otherwise b has two signed
    bytes, and a two numbers of 16 bits on x86, two signed bytes elsewhere.
    """
    lanes = acc.type.count
    if native:
        group = _vector(_I8, 4 * lanes)
        args = [builder.bitcast(a, group), builder.bitcast(b, group)]
        if not IS_X86:
            return call(builder, "llvm.aarch64.neon.sdot.v4i32.v16i8", acc.type, [acc, *args[::-1]])
        return call(builder, f"llvm.x86.avx512.vpdpbusd.{32 * lanes}", acc.type, [acc, *args])
    if not IS_X86:
        args = [builder.bitcast(v, _vector(_I8, 2 * lanes)) for v in (a, b)]
        products = call(builder, "llvm.aarch64.neon.smull.v8i16", _vector(_I16, 2 * lanes), args)
        return builder.add(acc, call(builder, "llvm.aarch64.neon.saddlp.v4i32.v8i16", acc.type, [products]))
    if INT8_GROUP == 4:
        return _dot_quads(builder, a, b, acc)
    pairs = _vector(_I16, 2 * lanes)
    x, w = builder.bitcast(a, pairs), builder.sext(builder.bitcast(b, _vector(_I8, 2 * lanes)), pairs)
    name = {4: "sse2.pmadd.wd", 8: "avx2.pmadd.wd", 16: "avx512.pmaddw.d.512"}[lanes]
    return builder.add(acc, call(builder, f"llvm.x86.{name}", acc.type, [x, w]))


def _dot_quads(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, acc: ir.Value) -> ir.Value:
    """Compute `dot_bytes` for groups of four without the instruction for them: the even bytes, then the odd ones."""
    words = _vector(_I16, 2 * acc.type.count)
    eight = ir.Constant(words, [8] * words.count)
    a, b = builder.bitcast(a, words), builder.bitcast(b, words)
    even = builder.lshr(builder.shl(a, eight), eight), builder.ashr(builder.shl(b, eight), eight)
    for x, w in (even, (builder.lshr(a, eight), builder.ashr(b, eight))):
        acc = builder.add(acc, call(builder, "llvm.x86.avx512.pmaddw.d.512", acc.type, [x, w]))
    return acc


class _BFloat16(Floats):
    """Pairs of bfloat16; `sums` in float32, without scales."""

    x_unit, w_unit, x_head, w_head = 4, 4, 0, 0

    def sums(self, p: types.CPointer) -> Vec | None:
        return Vec(types.float32, LANES) if p == _BYTES else None

    def weight(self, builder: ir.IRBuilder, sums: Vec, p: ir.Value, index: int) -> ir.Value:
        return _load(builder, _at(builder, p, index * 4 * sums.lanes), _vector(_I32, sums.lanes))

    def value(self, builder: ir.IRBuilder, sums: Vec, p: ir.Value, k: int) -> Any:
        return splat_value(builder, _load(builder, _at(builder, p, 4 * k), _I32), sums.lanes)

    def units(self, builder: ir.IRBuilder, sums: Vec, p: ir.Value, k: int) -> Any:
        pairs = _vector(_BFloat(), 2 * sums.lanes)
        value = _load(builder, _at(builder, p, 4 * k), pairs)
        # Without the fence LLVM loads floats, and no longer recognises that BFDOT can take a lane.
        return call(builder, f"llvm.arithmetic.fence.v{pairs.count}bf16", pairs, [value])

    def accumulate(self, builder: ir.IRBuilder, sums: Vec, x: Any, w: ir.Value, acc: ir.Value) -> ir.Value:
        return dot_pairs(builder, x, w, acc)


class _BFloat16Widened(_BFloat16):
    """Pairs on Arm without BFDOT: a vector of a row's pairs is widened at once."""

    def value(self, builder: ir.IRBuilder, sums: Vec, p: ir.Value, k: int) -> Any:
        return _halves(builder, super().value(builder, sums, p, k), sums.lanes)

    def units(self, builder: ir.IRBuilder, sums: Vec, p: ir.Value, k: int) -> Any:
        return _halves(builder, _load(builder, _at(builder, p, 4 * k), _vector(_I32, sums.lanes)), sums.lanes)

    def lane(self, builder: ir.IRBuilder, sums: Vec, units: Any, lane: int) -> Any:
        return tuple(splat_lane(builder, half, lane, sums.lanes) for half in units)

    def accumulate(self, builder: ir.IRBuilder, sums: Vec, x: Any, w: ir.Value, acc: ir.Value) -> ir.Value:
        for values, weights in zip(x, _halves(builder, w, sums.lanes), strict=True):
            acc = multiply_add(builder, sums, values, weights, acc)
        return acc


class _BFloat16Apart(_BFloat16):
    """Pairs summed as AMX does: an accumulator is two vectors in one, the sums of the first and the second products."""

    def begin(self, builder: ir.IRBuilder, sums: Vec, head: ir.Value, index: int) -> ir.Value:
        return ir.Constant(_vector(_F32, 2 * sums.lanes), None)

    def weight(self, builder: ir.IRBuilder, sums: Vec, p: ir.Value, index: int) -> ir.Value:
        return _at(builder, p, index * 4 * sums.lanes)  # loaded where it is used, because the sums fill the registers

    def value(self, builder: ir.IRBuilder, sums: Vec, p: ir.Value, k: int) -> Any:
        return self._both(builder, super().value(builder, sums, p, k))

    def accumulate(self, builder: ir.IRBuilder, sums: Vec, x: Any, w: ir.Value, acc: ir.Value) -> ir.Value:
        # A product and its addition are rounded together, so a product that is subnormal counts, as in a tile.
        pairs = super().weight(builder, sums, w, 0)
        return multiply_add(builder, Vec(types.float32, 2 * sums.lanes), x, self._both(builder, pairs), acc)

    def scaled(self, builder: ir.IRBuilder, acc: ir.Value, row: Any, scale: Any) -> ir.Value:
        return builder.fadd(*(self._half(builder, acc, odd) for odd in (0, 1)))

    def _both(self, builder: ir.IRBuilder, pairs: ir.Value) -> ir.Value:
        lanes = pairs.type.count
        order = ir.Constant(_vector(_I32, 2 * lanes), list(range(2 * lanes)))
        return builder.shuffle_vector(*_halves(builder, pairs, lanes), order)

    def _half(self, builder: ir.IRBuilder, both: ir.Value, odd: int) -> ir.Value:
        lanes = both.type.count // 2
        order = ir.Constant(_vector(_I32, lanes), list(range(odd * lanes, (odd + 1) * lanes)))
        return builder.shuffle_vector(both, ir.Constant(both.type, ir.Undefined), order)


class _Int8:
    """Groups of bytes; `sums` in int32, beginning with the starts of the outputs."""

    x_unit, w_unit, x_head, w_head = INT8_UNIT, INT8_GROUP, INT8_SCALE, INT8_HEAD

    def sums(self, p: types.CPointer) -> Vec | None:
        return Vec(types.int32, LANES) if p == _BYTES else None

    def begin(self, builder: ir.IRBuilder, sums: Vec, head: ir.Value, index: int) -> ir.Value:
        return _load(builder, _at(builder, head, 4 * LANES * index), llvm_vec(sums))

    def weight(self, builder: ir.IRBuilder, sums: Vec, p: ir.Value, index: int) -> ir.Value:
        nbytes = INT8_GROUP * sums.lanes
        return _load(builder, _at(builder, p, index * nbytes), _vector(ir.IntType(8 * INT8_GROUP), sums.lanes))

    def value(self, builder: ir.IRBuilder, sums: Vec, p: ir.Value, k: int) -> ir.Value:
        return splat_value(builder, _load(builder, _at(builder, p, INT8_UNIT * k), _UNIT), sums.lanes)

    def units(self, builder: ir.IRBuilder, sums: Vec, p: ir.Value, k: int) -> ir.Value:
        return _load(builder, _at(builder, p, INT8_UNIT * k), _vector(_UNIT, sums.lanes))

    def lane(self, builder: ir.IRBuilder, sums: Vec, units: ir.Value, lane: int) -> ir.Value:
        return splat_lane(builder, units, lane, sums.lanes)

    def accumulate(self, builder: ir.IRBuilder, sums: Vec, x: ir.Value, w: ir.Value, acc: ir.Value) -> ir.Value:
        return dot_bytes(builder, x, w, acc)

    def scale(self, builder: ir.IRBuilder, head: ir.Value, vectors: int, index: int) -> ir.Value:
        return _load(builder, _at(builder, head, 4 * LANES * (vectors + index)), _vector(_F32, LANES))

    def row_scale(self, builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
        return splat_value(builder, _load(builder, x, _F32), LANES)

    def scaled(self, builder: ir.IRBuilder, acc: ir.Value, row: ir.Value, scale: ir.Value) -> ir.Value:
        return builder.fmul(builder.sitofp(acc, scale.type), builder.fmul(row, scale))


BFLOAT16: Final = _BFloat16Apart() if AMX else _BFloat16() if IS_X86 or DOT_BFLOAT16 else _BFloat16Widened()
INT8: Final = _Int8()

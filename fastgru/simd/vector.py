"""Vectors as Numba values: types, arithmetic, comparison, selection. One body for every instruction set.

The target decides how many lanes a vector has (`target.LANES`), so code in this vocabulary is written once. Operators
work lane by lane. They never contract a multiplication and an addition: code that wants one says `fma`, so bits do not
depend on the compiler.
"""

import operator
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.extending import intrinsic, lower_builtin, models, register_model, type_callable

from fastgru.simd.target import HAS_FMA, VECTOR_BYTES

__all__ = [
    "Vec",
    "bits_to_float",
    "combined",
    "exact",
    "float_to_int",
    "fma",
    "maximum",
    "minimum",
    "reduce_add",
    "reduce_max",
    "reduce_min",
    "round_even",
    "select",
    "shift_left",
    "splat",
    "vec_abs",
    "vec_floor",
    "vec_sqrt",
]  # fmt: skip


class Vec(types.Type):
    """A vector of `lanes` elements of `dtype`; a boolean one is a mask.

    exact: `fma` on it is a multiplication and an addition, each rounded, on every instruction set, so that all give
    the same bits. An operation on an exact vector and others gives an exact one.
    """

    def __init__(self, dtype: types.Type, lanes: int, *, exact: bool = False) -> None:
        self.dtype, self.lanes, self.exact = dtype, lanes, exact
        super().__init__(name=f"Vec({dtype}, {lanes}{', exact' if exact else ''})")


_ELEMENTS = {
    types.float32: ir.FloatType(),
    types.float64: ir.DoubleType(),
    types.int32: ir.IntType(32),
    types.int64: ir.IntType(64),
    types.boolean: ir.IntType(1),
}


@register_model(Vec)
class _VecModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Vec) -> None:
        super().__init__(dmm, fe_type, ir.VectorType(_ELEMENTS[fe_type.dtype], fe_type.lanes))


def vec_of(dtype: types.Type) -> Vec:
    """Return the vector type of a floating-point element type on this instruction set."""
    return Vec(dtype, VECTOR_BYTES * 8 // dtype.bitwidth)


def is_float_vec(*args: types.Type) -> bool:
    return all(isinstance(a, Vec) and isinstance(a.dtype, types.Float) for a in args)


def combined(*args: types.Type) -> Vec | None:
    """Return the type of the result of an operation on float vectors; None if they do not fit together."""
    if not is_float_vec(*args) or len({(a.dtype, a.lanes) for a in args}) > 1:
        return None
    return Vec(args[0].dtype, args[0].lanes, exact=any(a.exact for a in args))


def llvm_vec(vec: Vec) -> ir.VectorType:
    return ir.VectorType(_ELEMENTS[vec.dtype], vec.lanes)


def suffix(vec: Vec) -> str:
    """Return the type suffix of LLVM's overloaded intrinsics, such as v16f32."""
    kind = "f" if isinstance(vec.dtype, types.Float) else "i"
    return f"v{vec.lanes}{kind}{vec.dtype.bitwidth}"


def call(builder: ir.IRBuilder, name: str, returns: ir.Type, args: list[ir.Value]) -> ir.Value:
    """Call an LLVM intrinsic or C function by name, declaring it in the module the first time."""
    module = builder.module
    fn = module.globals.get(name)
    if fn is None:
        fn = ir.Function(module, ir.FunctionType(returns, [a.type for a in args]), name)
    return builder.call(fn, args)


def splat_value(builder: ir.IRBuilder, scalar: ir.Value, lanes: int) -> ir.Value:
    vector_type = ir.VectorType(scalar.type, lanes)
    one = builder.insert_element(ir.Constant(vector_type, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
    return builder.shuffle_vector(one, ir.Constant(vector_type, ir.Undefined), zeros)


def splat_lane(builder: ir.IRBuilder, vector: ir.Value, lane: int, lanes: int) -> ir.Value:
    """Return a vector with one of its `lanes` lanes in all of them; a lane may have several elements."""
    count = vector.type.count
    each = count // lanes
    order = ir.Constant(ir.VectorType(ir.IntType(32), count), [lane * each + i % each for i in range(count)])
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), order)


@intrinsic
def splat(typingctx, scalar):
    """Return a vector with `scalar` (float32 or float64) in every lane."""
    if scalar not in (types.float32, types.float64):
        return None
    vec = vec_of(scalar)
    return vec(scalar), lambda context, builder, sig, args: splat_value(builder, args[0], vec.lanes)


def _operator(function: Any, result: Any, build: Any, *operands: Any) -> None:
    """Define an operator of Python on vectors.

    result(*types) returns the type of its result, or None if the operands do not fit. build(builder, *values) writes
    its code.
    """
    type_callable(function)(lambda context: result)
    lower_builtin(function, *operands)(lambda context, builder, sig, args: build(builder, *args))


for _function, _build in (
    (operator.add, ir.IRBuilder.fadd),
    (operator.sub, ir.IRBuilder.fsub),
    (operator.mul, ir.IRBuilder.fmul),
    (operator.truediv, ir.IRBuilder.fdiv),
):
    _operator(_function, lambda a, b: combined(a, b), _build, Vec, Vec)

for _function, _name in ((operator.lt, "<"), (operator.le, "<="), (operator.gt, ">"), (operator.ge, ">=")):
    _operator(
        _function,
        lambda a, b: None if combined(a, b) is None else Vec(types.boolean, a.lanes),
        lambda builder, a, b, name=_name: builder.fcmp_ordered(name, a, b),
        Vec,
        Vec,
    )

_operator(operator.neg, lambda a: combined(a), ir.IRBuilder.fneg, Vec)


def multiply_add(builder: ir.IRBuilder, vec: Vec, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
    """Return a * b + c, as one instruction if the instruction set has it and the vector is not exact."""
    if HAS_FMA and not vec.exact:
        return call(builder, f"llvm.fma.{suffix(vec)}", llvm_vec(vec), [a, b, c])
    return builder.fadd(builder.fmul(a, b), c)


@intrinsic
def fma(typingctx, a, b, c):
    """Return a * b + c, rounded once if the instruction set can (`target.HAS_FMA`) and no vector is exact."""
    if (result := combined(a, b, c)) is None:
        return None
    return result(a, b, c), lambda context, builder, sig, args: multiply_add(builder, result, *args)


@intrinsic
def exact(typingctx, a):
    """Return the same lanes as an exact vector."""
    if not is_float_vec(a):
        return None
    return Vec(a.dtype, a.lanes, exact=True)(a), lambda context, builder, sig, args: args[0]


def _unary_intrinsic(llvm_name: str, doc: str):
    def op(typingctx, a):
        if not is_float_vec(a):
            return None
        name = f"llvm.{llvm_name}.{suffix(a)}"
        return a(a), lambda context, builder, sig, args: call(builder, name, llvm_vec(a), list(args))

    op.__doc__ = doc
    return intrinsic(op)


vec_abs = _unary_intrinsic("fabs", "|a|")
vec_floor = _unary_intrinsic("floor", "The largest integer not above a.")
vec_sqrt = _unary_intrinsic("sqrt", "The square root of a.")
round_even = _unary_intrinsic("nearbyint", "The nearest integer, halves to even.")


@intrinsic
def select(typingctx, mask, a, b):
    """Return a where the mask holds, b elsewhere. It never multiplies, so NaN stays in its lane."""
    if not (isinstance(mask, Vec) and mask.dtype == types.boolean and isinstance(a, Vec)):
        return None
    if (result := a if a == b else combined(a, b)) is None:
        return None
    return result(mask, a, b), lambda context, builder, sig, args: builder.select(*args)


def _pick(llvm_name: str, doc: str):
    def op(typingctx, a, b):
        if (result := combined(a, b)) is None:
            return None

        def codegen(context, builder, sig, args):
            return builder.select(builder.fcmp_ordered(llvm_name, args[1], args[0]), args[1], args[0])

        return result(a, b), codegen

    op.__doc__ = doc
    return intrinsic(op)


minimum = _pick("<", "b where b < a, else a: a NaN in a stays, so put the data first and the bound second.")
maximum = _pick(">", "b where b > a, else a: a NaN in a stays, so put the data first and the bound second.")


@intrinsic
def float_to_int(typingctx, a):
    """Convert lanes that hold whole numbers to integers of the same width. Clamp before: out of range is undefined."""
    if not is_float_vec(a):
        return None
    out = Vec(types.int32 if a.dtype == types.float32 else types.int64, a.lanes)
    return out(a), lambda context, builder, sig, args: builder.fptosi(args[0], llvm_vec(out))


@intrinsic
def shift_left(typingctx, a, by):
    """Shift integer lanes left by one count. `math` shifts the bits of an exponent into place."""
    if not (isinstance(a, Vec) and isinstance(a.dtype, types.Integer) and isinstance(by, types.Integer)):
        return None

    def codegen(context, builder, sig, args):
        count = context.cast(builder, args[1], sig.args[1], a.dtype)
        return builder.shl(args[0], splat_value(builder, count, a.lanes))

    return a(a, by), codegen


@intrinsic
def bits_to_float(typingctx, a):
    """Return the same bits as floats of the same width."""
    if not (isinstance(a, Vec) and isinstance(a.dtype, types.Integer)):
        return None
    out = Vec(types.float32 if a.dtype == types.int32 else types.float64, a.lanes)
    return out(a), lambda context, builder, sig, args: builder.bitcast(args[0], llvm_vec(out))


def _reduce(combine: Any):
    def op(typingctx, a):
        if not is_float_vec(a):
            return None

        def codegen(context, builder, sig, args):
            value, lanes = args[0], a.lanes
            undefined = ir.Constant(llvm_vec(a), ir.Undefined)
            while lanes > 1:
                lanes //= 2
                order = [i + lanes if i < lanes else i for i in range(a.lanes)]
                index = ir.Constant(ir.VectorType(ir.IntType(32), a.lanes), order)
                value = combine(builder, value, builder.shuffle_vector(value, undefined, index))
            return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

        return a.dtype(a), codegen

    return intrinsic(op)


def _extreme(name: str):
    def combine(builder, a, b):
        best = builder.select(builder.fcmp_ordered(name, b, a), b, a)
        return builder.select(builder.fcmp_unordered("uno", b, b), b, best)

    return combine


# Halves are folded onto each other: lane i with lane i + lanes/2, and so on. The tree is the same on every machine with
# the same number of lanes. A NaN in any lane is both the smallest and the largest.
reduce_add = _reduce(lambda builder, a, b: builder.fadd(a, b))
reduce_max = _reduce(_extreme(">"))
reduce_min = _reduce(_extreme("<"))

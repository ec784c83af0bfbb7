"""Addresses, typed pointers, and loads and stores of vectors.

Handlers see memory as 64-bit addresses; `pointer(address, dtype)` gives it an element type. Offsets count elements.
"""

from llvmlite import ir
from numba.core import types
from numba.core.extending import intrinsic

from fastgru.simd.target import VECTOR_BYTES
from fastgru.simd.vector import Vec, call, is_float_vec, llvm_vec, splat_value, suffix, vec_of

__all__ = [
    "address", "broadcast", "call_handler", "call_native", "lanes_of", "load", "load_tail", "offset", "pointer",
    "prefetch", "store", "store_tail", "tensor_address",
]  # fmt: skip

_DTYPES = {
    "float64": types.float64,
    "float32": types.float32,
    "int64": types.int64,
    "int32": types.int32,
    "int16": types.int16,
    "int8": types.int8,
    "uint16": types.uint16,
    "uint8": types.uint8,
    "bool": types.uint8,
    # Half precisions are only moved, as their bits; kernels do not compute with them.
    "float16": types.uint16,
    "bfloat16": types.uint16,
}


@intrinsic
def pointer(typingctx, where, dtype):
    """Return the address `where` (an integer) as a pointer to elements of `dtype`, a literal name."""
    if not (isinstance(where, types.Integer) and isinstance(dtype, types.StringLiteral)):
        return None
    result = types.CPointer(_DTYPES[dtype.literal_value])

    def codegen(context, builder, sig, args):
        return builder.inttoptr(args[0], context.get_value_type(result))

    return result(where, dtype), codegen


@intrinsic
def address(typingctx, p):
    """Return the address of a pointer, as an integer."""
    if not isinstance(p, types.CPointer):
        return None
    return types.int64(p), lambda context, builder, sig, args: builder.ptrtoint(args[0], ir.IntType(64))


@intrinsic
def offset(typingctx, p, i):
    """Return the pointer to the element i places after p."""
    if not (isinstance(p, types.CPointer) and isinstance(i, types.Integer)):
        return None
    return p(p, i), lambda context, builder, sig, args: builder.gep(args[0], [args[1]])


@intrinsic
def lanes_of(typingctx, p):
    """Return the number of elements in one vector of the type that `p` points to."""
    if not isinstance(p, types.CPointer):
        return None
    lanes = VECTOR_BYTES * 8 // p.dtype.bitwidth
    return types.int64(p), lambda context, builder, sig, args: ir.Constant(ir.IntType(64), lanes)


def _at(builder: ir.IRBuilder, p: ir.Value, i: ir.Value, to: ir.Type) -> ir.Value:
    return builder.bitcast(builder.gep(p, [i]), to.as_pointer())


@intrinsic
def load(typingctx, p, i):
    """Load one vector from p[i], with any alignment."""
    if not (isinstance(p, types.CPointer) and isinstance(i, types.Integer) and isinstance(p.dtype, types.Float)):
        return None
    vec = vec_of(p.dtype)

    def codegen(context, builder, sig, args):
        value = builder.load(_at(builder, args[0], args[1], llvm_vec(vec)))
        value.align = p.dtype.bitwidth // 8
        return value

    return vec(p, i), codegen


@intrinsic
def store(typingctx, p, i, v):
    """Store one vector to p[i]."""
    if not (isinstance(p, types.CPointer) and isinstance(i, types.Integer) and is_float_vec(v) and v.dtype == p.dtype):
        return None

    def codegen(context, builder, sig, args):
        instruction = builder.store(args[2], _at(builder, args[0], args[1], llvm_vec(v)))
        instruction.align = p.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(p, i, v), codegen


@intrinsic
def broadcast(typingctx, p, i):
    """Return a vector with p[i] in every lane."""
    if not (isinstance(p, types.CPointer) and isinstance(i, types.Integer) and isinstance(p.dtype, types.Float)):
        return None
    vec = vec_of(p.dtype)
    return vec(p, i), lambda context, builder, sig, args: splat_value(
        builder, builder.load(builder.gep(args[0], [args[1]])), vec.lanes
    )


def _tail_mask(builder: ir.IRBuilder, vec: Vec, count: ir.Value) -> ir.Value:
    wide = ir.VectorType(ir.IntType(32), vec.lanes)
    lanes = ir.Constant(wide, list(range(vec.lanes)))
    bound = splat_value(builder, builder.trunc(count, ir.IntType(32)), vec.lanes)
    return builder.icmp_signed("<", lanes, bound)


@intrinsic
def load_tail(typingctx, p, i, count):
    """Load the first `count` lanes from p[i]; the others are zero, and their memory is not read."""
    if not (isinstance(p, types.CPointer) and isinstance(p.dtype, types.Float) and count == types.int64):
        return None
    vec = vec_of(p.dtype)

    def codegen(context, builder, sig, args):
        where = _at(builder, args[0], args[1], llvm_vec(vec))
        mask = _tail_mask(builder, vec, args[2])
        align = ir.Constant(ir.IntType(32), p.dtype.bitwidth // 8)
        zero = ir.Constant(llvm_vec(vec), [0.0] * vec.lanes)
        return call(builder, f"llvm.masked.load.{suffix(vec)}.p0", llvm_vec(vec), [where, align, mask, zero])

    return vec(p, i, count), codegen


@intrinsic
def store_tail(typingctx, p, i, v, count):
    """Store the first `count` lanes to p[i]; the memory of the others is not written."""
    if not (isinstance(p, types.CPointer) and is_float_vec(v) and v.dtype == p.dtype and count == types.int64):
        return None

    def codegen(context, builder, sig, args):
        where = _at(builder, args[0], args[1], llvm_vec(v))
        mask = _tail_mask(builder, v, args[3])
        align = ir.Constant(ir.IntType(32), p.dtype.bitwidth // 8)
        call(builder, f"llvm.masked.store.{suffix(v)}.p0", ir.VoidType(), [args[2], where, align, mask])
        return context.get_dummy_value()

    return types.void(p, i, v, count), codegen


@intrinsic
def prefetch(typingctx, p, i):
    """Prefetch the cache line of p[i]; never faults."""
    if not isinstance(p, types.CPointer):
        return None

    def codegen(context, builder, sig, args):
        where = builder.bitcast(builder.gep(args[0], [args[1]]), ir.IntType(8).as_pointer())
        constants = [ir.Constant(ir.IntType(32), c) for c in (0, 3, 1)]
        call(builder, "llvm.prefetch.p0", ir.VoidType(), [where, *constants])
        return context.get_dummy_value()

    return types.void(p, i), codegen


@intrinsic
def tensor_address(typingctx, bases, operands, k):
    """Return the address of a tensor operand: bases[operands[k]] + operands[k + 1], or 0 if operands[k] is negative."""
    words = types.CPointer(types.int64)
    if not (bases == operands == words and isinstance(k, types.Integer)):
        return None

    def codegen(context, builder, sig, args):
        zero = ir.Constant(ir.IntType(64), 0)
        at = context.cast(builder, args[2], sig.args[2], types.int64)
        index = builder.load(builder.gep(args[1], [at]))
        absent = builder.icmp_signed("<", index, zero)
        base = builder.load(builder.gep(args[0], [builder.select(absent, zero, index)]))
        further = builder.load(builder.gep(args[1], [builder.add(at, ir.Constant(ir.IntType(64), 1))]))
        return builder.select(absent, zero, builder.add(base, further))

    return types.int64(bases, operands, k), codegen


@intrinsic
def call_handler(typingctx, where, operands, bases, team):
    """Call the C function void(int64*, int64*, int64*) at address `where`."""
    words = types.CPointer(types.int64)
    if where != types.int64 or not operands == bases == team == words:
        return None

    def codegen(context, builder, sig, args):
        word_pointer = context.get_value_type(words)
        function = ir.FunctionType(ir.VoidType(), [word_pointer] * 3)
        builder.call(builder.inttoptr(args[0], function.as_pointer()), list(args[1:]))
        return context.get_dummy_value()

    return types.void(where, operands, bases, team), codegen


@intrinsic
def call_native(typingctx, where, *arguments):
    """Call the C function at address `where`, which returns nothing. arguments: pointers and 64-bit integers."""
    if where != types.int64 or not all(isinstance(a, types.CPointer | types.Integer) for a in arguments):
        return None

    def codegen(context, builder, sig, args):
        values = []
        for i, given in enumerate(arguments):
            value = builder.extract_value(args[1], i)
            values.append(
                context.cast(builder, value, given, types.int64) if isinstance(given, types.Integer) else value
            )
        function = ir.FunctionType(ir.VoidType(), [v.type for v in values])
        builder.call(builder.inttoptr(args[0], function.as_pointer()), values)
        return context.get_dummy_value()

    return types.void(where, types.StarArgTuple.from_types(arguments)), codegen

"""What threads that run one program together need: a barrier of atomics that spins only inside a call.

A team is words: [own number, size, address of the shared words]; the shared words are an arrival count and a
generation on cache lines of their own. With one member every wait is free.
"""

from llvmlite import ir
from numba.core import types
from numba.core.extending import intrinsic

from fastgru.simd.sizes import CPU_WORDS
from fastgru.simd.target import IS_X86, TARGET
from fastgru.simd.vector import call

__all__ = [
    "allow_cpus", "atomic_add", "atomic_claim", "atomic_exchange", "atomic_load", "atomic_store", "current_cpu",
    "give_way", "relax",
]  # fmt: skip

_INT64 = ir.IntType(64)
_LINUX = TARGET.system == "linux"
_WORDS = types.CPointer(types.int64)


@intrinsic
def atomic_add(typingctx, p, i, value):
    """p[i] += value as one step; returns what was there before."""
    if p != _WORDS or not isinstance(i, types.Integer) or not isinstance(value, types.Integer):
        return None

    def codegen(context, builder, sig, args):
        amount = context.cast(builder, args[2], sig.args[2], types.int64)
        return builder.atomic_rmw("add", builder.gep(args[0], [args[1]]), amount, "seq_cst")

    return types.int64(p, i, value), codegen


@intrinsic
def atomic_exchange(typingctx, p, i, value):
    """p[i] = value; returns what was there before, as one step."""
    if p != _WORDS or not isinstance(i, types.Integer) or not isinstance(value, types.Integer):
        return None

    def codegen(context, builder, sig, args):
        amount = context.cast(builder, args[2], sig.args[2], types.int64)
        return builder.atomic_rmw("xchg", builder.gep(args[0], [args[1]]), amount, "seq_cst")

    return types.int64(p, i, value), codegen


@intrinsic
def atomic_claim(typingctx, p, i, value):
    """p[i] = value if that was 0, as one step; whether it was."""
    if p != _WORDS or not isinstance(i, types.Integer) or not isinstance(value, types.Integer):
        return None

    def codegen(context, builder, sig, args):
        new = context.cast(builder, args[2], sig.args[2], types.int64)
        where, nothing = builder.gep(args[0], [args[1]]), ir.Constant(_INT64, 0)
        return builder.extract_value(builder.cmpxchg(where, nothing, new, "seq_cst"), 1)

    return types.boolean(p, i, value), codegen


@intrinsic
def atomic_load(typingctx, p, i):
    """p[i], and everything that was written before whoever stored it."""
    if p != _WORDS or not isinstance(i, types.Integer):
        return None
    return types.int64(p, i), lambda context, builder, sig, args: builder.load_atomic(
        builder.gep(args[0], [args[1]]), "acquire", 8
    )


@intrinsic
def atomic_store(typingctx, p, i, value):
    """p[i] = value, after everything written before."""
    if p != _WORDS or not isinstance(i, types.Integer) or not isinstance(value, types.Integer):
        return None

    def codegen(context, builder, sig, args):
        amount = context.cast(builder, args[2], sig.args[2], types.int64)
        builder.store_atomic(amount, builder.gep(args[0], [args[1]]), "release", 8)
        return context.get_dummy_value()

    return types.void(p, i, value), codegen


@intrinsic
def relax(typingctx):
    """Tell the core that this is a spin loop: some ten nanoseconds in which it asks for nothing.

    Most Arm cores take `yield` for no instruction at all, while `isb` empties their pipeline.
    """

    def codegen(context, builder, sig, args):
        if IS_X86:
            call(builder, "llvm.x86.sse2.pause", ir.VoidType(), [])
        else:
            call(builder, "llvm.aarch64.isb", ir.VoidType(), [ir.Constant(ir.IntType(32), 15)])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def give_way(typingctx):
    """Let another thread run on this core, where the system offers it."""

    def codegen(context, builder, sig, args):
        if TARGET.system != "windows":
            call(builder, "sched_yield", ir.IntType(32), [])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def current_cpu(typingctx):
    """The number of the core that this thread is on, -1 where the system does not say."""

    def codegen(context, builder, sig, args):
        if not _LINUX:
            return ir.Constant(_INT64, -1)
        return builder.sext(call(builder, "sched_getcpu", ir.IntType(32), []), _INT64)

    return types.int64(), codegen


@intrinsic
def allow_cpus(typingctx, thread, mask):
    """Let a thread, by the system's number for it, run on the cores of a mask of `CPU_WORDS` words. Linux."""
    if thread != types.int64 or mask != _WORDS:
        return None

    def codegen(context, builder, sig, args):
        if not _LINUX:
            return ir.Constant(_INT64, -1)
        number = builder.trunc(args[0], ir.IntType(32))
        size = ir.Constant(_INT64, 8 * CPU_WORDS)
        result = call(builder, "sched_setaffinity", ir.IntType(32), [number, size, args[1]])
        return builder.sext(result, _INT64)

    return types.int64(thread, mask), codegen

"""Operations for threads that run one program together: atomics, and hints to the core and the scheduler.

`kernels.team` makes a barrier of them, which spins only inside a call.
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
    """Add `value` to p[i] atomically, and return the value before."""
    if p != _WORDS or not isinstance(i, types.Integer) or not isinstance(value, types.Integer):
        return None

    def codegen(context, builder, sig, args):
        amount = context.cast(builder, args[2], sig.args[2], types.int64)
        return builder.atomic_rmw("add", builder.gep(args[0], [args[1]]), amount, "seq_cst")

    return types.int64(p, i, value), codegen


@intrinsic
def atomic_exchange(typingctx, p, i, value):
    """Set p[i] to `value` atomically, and return the value before."""
    if p != _WORDS or not isinstance(i, types.Integer) or not isinstance(value, types.Integer):
        return None

    def codegen(context, builder, sig, args):
        amount = context.cast(builder, args[2], sig.args[2], types.int64)
        return builder.atomic_rmw("xchg", builder.gep(args[0], [args[1]]), amount, "seq_cst")

    return types.int64(p, i, value), codegen


@intrinsic
def atomic_claim(typingctx, p, i, value):
    """Set p[i] to `value` atomically if it is 0, and return whether it was."""
    if p != _WORDS or not isinstance(i, types.Integer) or not isinstance(value, types.Integer):
        return None

    def codegen(context, builder, sig, args):
        new = context.cast(builder, args[2], sig.args[2], types.int64)
        where, nothing = builder.gep(args[0], [args[1]]), ir.Constant(_INT64, 0)
        return builder.extract_value(builder.cmpxchg(where, nothing, new, "seq_cst"), 1)

    return types.boolean(p, i, value), codegen


@intrinsic
def atomic_load(typingctx, p, i):
    """Load p[i] with acquire order: what the storing thread wrote before its store can be read afterwards."""
    if p != _WORDS or not isinstance(i, types.Integer):
        return None
    return types.int64(p, i), lambda context, builder, sig, args: builder.load_atomic(
        builder.gep(args[0], [args[1]]), "acquire", 8
    )


@intrinsic
def atomic_store(typingctx, p, i, value):
    """Store `value` to p[i] with release order, after everything that this thread has written before."""
    if p != _WORDS or not isinstance(i, types.Integer) or not isinstance(value, types.Integer):
        return None

    def codegen(context, builder, sig, args):
        amount = context.cast(builder, args[2], sig.args[2], types.int64)
        builder.store_atomic(amount, builder.gep(args[0], [args[1]]), "release", 8)
        return context.get_dummy_value()

    return types.void(p, i, value), codegen


@intrinsic
def relax(typingctx):
    """Tell the core that this is a spin loop, and pause for some ten nanoseconds.

    Most Arm cores ignore `yield`, so Arm code uses `isb`, which empties the pipeline.
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
    """Let another thread run on this core, if the system has a call for that."""

    def codegen(context, builder, sig, args):
        if TARGET.system != "windows":
            call(builder, "sched_yield", ir.IntType(32), [])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def current_cpu(typingctx):
    """Return the number of the core that this thread runs on, -1 if the system does not tell."""

    def codegen(context, builder, sig, args):
        if not _LINUX:
            return ir.Constant(_INT64, -1)
        return builder.sext(call(builder, "sched_getcpu", ir.IntType(32), []), _INT64)

    return types.int64(), codegen


@intrinsic
def allow_cpus(typingctx, thread, mask):
    """Let a thread run on the cores of a mask of `CPU_WORDS` words. Linux only; elsewhere it returns -1.

    thread: the system's number for it.
    """
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

"""The mode of the floating-point unit: rounding, denormals, exceptions.

A run has a mode of its own, whole, so that its bits do not depend on what the caller, or a library in its process, has
set: rounding to nearest, no exception raised, denormals flushed to zero, since a decaying state sinks into them and
they cost a hundred times as much.
"""

from typing import Final

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.extending import intrinsic

from fastgru.simd.target import IS_X86
from fastgru.simd.vector import call

__all__ = ["PLAIN", "RUNNING", "exchange_mode"]

# MXCSR with every exception masked (bits 7 to 12), with FTZ and DAZ (15 and 6) for a run; FPCR with FZ (24) for one.
PLAIN: Final = 0x1F80 if IS_X86 else 0
RUNNING: Final = PLAIN | (1 << 15 | 1 << 6 if IS_X86 else 1 << 24)


@intrinsic
def exchange_mode(typingctx, mode):
    """Set the mode of this thread; returns the one before."""
    if not isinstance(mode, types.Integer):
        return None

    def codegen(context, builder, sig, args):
        wide = ir.IntType(64)
        new = context.cast(builder, args[0], sig.args[0], types.int64)
        if IS_X86:
            word = cgutils.alloca_once(builder, ir.IntType(32))
            where = builder.bitcast(word, ir.IntType(8).as_pointer())
            call(builder, "llvm.x86.sse.stmxcsr", ir.VoidType(), [where])
            before = builder.load(word)
            builder.store(builder.trunc(new, ir.IntType(32)), word)
            call(builder, "llvm.x86.sse.ldmxcsr", ir.VoidType(), [where])
            return builder.zext(before, wide)
        before = call(builder, "llvm.aarch64.get.fpcr", wide, [])
        call(builder, "llvm.aarch64.set.fpcr", ir.VoidType(), [new])
        return before

    return types.int64(mode), codegen

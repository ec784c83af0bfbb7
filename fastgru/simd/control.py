"""The mode of the floating-point unit: rounding, denormals, exceptions.

A run sets the whole mode, so its bits do not depend on the mode of the caller or of a library in the process. It rounds
to nearest, masks all exceptions, and flushes denormals to zero, because a decaying state reaches them and they make
operations a hundred times slower.
"""

from typing import Final

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.extending import intrinsic

from fastgru.simd.target import IS_X86
from fastgru.simd.vector import call

__all__ = ["PLAIN", "RUNNING", "exchange_mode"]

# MXCSR with every exception masked (bits 7 to 12), and FTZ and DAZ (15 and 6) in a run. On Arm FPCR, FZ (24) in a run.
PLAIN: Final = 0x1F80 if IS_X86 else 0
RUNNING: Final = PLAIN | (1 << 15 | 1 << 6 if IS_X86 else 1 << 24)


@intrinsic
def exchange_mode(typingctx, mode):
    """Set the mode of this thread, and return the one before."""
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

"""The mode of the floating-point unit. A decaying state sinks into denormals, which cost a hundred times as much."""

from __future__ import annotations

import platform
from typing import Final

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.extending import intrinsic

from fastgru.simd.vector import call

__all__ = ["flush_denormals", "restore_denormals"]

_MACHINE: Final = platform.machine().lower()
_X86: Final = _MACHINE in ("x86_64", "amd64")
_ARM64: Final = _MACHINE in ("aarch64", "arm64")

_MXCSR_FLUSH: Final = (1 << 15) | (1 << 6)  # FTZ: results; DAZ: operands
_FPCR_FLUSH: Final = 1 << 24  # FZ: both


@intrinsic
def flush_denormals(typingctx):
    """Results and operands too small for a normal number become zero; returns the mode before. This thread only."""

    def codegen(context, builder, sig, args):
        wide = ir.IntType(64)
        if _X86:
            word = cgutils.alloca_once(builder, ir.IntType(32))
            call(builder, "llvm.x86.sse.stmxcsr", ir.VoidType(), [builder.bitcast(word, ir.IntType(8).as_pointer())])
            mode = builder.load(word)
            builder.store(builder.or_(mode, ir.Constant(mode.type, _MXCSR_FLUSH)), word)
            call(builder, "llvm.x86.sse.ldmxcsr", ir.VoidType(), [builder.bitcast(word, ir.IntType(8).as_pointer())])
            return builder.zext(mode, wide)
        if _ARM64:
            mode = call(builder, "llvm.aarch64.get.fpcr", wide, [])
            flushing = builder.or_(mode, ir.Constant(wide, _FPCR_FLUSH))
            call(builder, "llvm.aarch64.set.fpcr", ir.VoidType(), [flushing])
            return mode
        return ir.Constant(wide, 0)

    return types.int64(), codegen


@intrinsic
def restore_denormals(typingctx, mode):
    """Back to the mode that `flush_denormals` returned."""
    if mode != types.int64:
        return None

    def codegen(context, builder, sig, args):
        if _X86:
            word = cgutils.alloca_once(builder, ir.IntType(32))
            builder.store(builder.trunc(args[0], ir.IntType(32)), word)
            call(builder, "llvm.x86.sse.ldmxcsr", ir.VoidType(), [builder.bitcast(word, ir.IntType(8).as_pointer())])
        elif _ARM64:
            call(builder, "llvm.aarch64.set.fpcr", ir.VoidType(), [args[0]])
        return context.get_dummy_value()

    return types.void(mode), codegen

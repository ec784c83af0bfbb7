"""Calls of native code to Python's C interface and to the clock: see `kernels.entries`.

A thread state is the address of Python's record of a thread, which `PyEval_SaveThread` returns.
"""

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.extending import intrinsic

from fastgru.simd.target import TARGET
from fastgru.simd.vector import call

__all__ = [
    "acquire_gil", "acquire_lock", "check_signals", "nanoseconds", "release_gil", "release_lock", "thread_number",
]  # fmt: skip

_INT32, _INT64, _BYTES = ir.IntType(32), ir.IntType(64), ir.IntType(8).as_pointer()
_LONG = _INT32 if TARGET.system == "windows" else _INT64  # of C
_MONOTONIC = 6 if TARGET.system == "macos" else 1  # CLOCK_MONOTONIC


@intrinsic
def release_gil(typingctx):
    """Release the GIL, and return this thread's state."""
    return types.int64(), lambda context, builder, sig, args: builder.ptrtoint(
        call(builder, "PyEval_SaveThread", _BYTES, []), _INT64
    )


@intrinsic
def acquire_gil(typingctx, state):
    """Wait for the GIL. state: the state of this thread."""
    if state != types.int64:
        return None

    def codegen(context, builder, sig, args):
        call(builder, "PyEval_RestoreThread", ir.VoidType(), [builder.inttoptr(args[0], _BYTES)])
        return context.get_dummy_value()

    return types.void(state), codegen


@intrinsic
def check_signals(typingctx):
    """Run Python's handlers of pending signals; the GIL must be held. Returns 0 unless one has raised an exception."""
    return types.int64(), lambda context, builder, sig, args: builder.sext(
        call(builder, "PyErr_CheckSignals", _INT32, []), _INT64
    )


@intrinsic
def thread_number(typingctx):
    """Return the number of this thread that `threading.get_ident` returns."""
    return types.int64(), lambda context, builder, sig, args: builder.zext(
        call(builder, "PyThread_get_thread_ident", _LONG, []), _INT64
    )


@intrinsic
def acquire_lock(typingctx, lock):
    """Sleep until a lock of `PyThread_allocate_lock` is free, and take it. The GIL need not be held."""
    if lock != types.int64:
        return None
    return types.int64(lock), lambda context, builder, sig, args: builder.sext(
        call(builder, "PyThread_acquire_lock", _INT32, [builder.inttoptr(args[0], _BYTES), ir.Constant(_INT32, 1)]),
        _INT64,
    )


@intrinsic
def release_lock(typingctx, lock):
    """Release a lock, which wakes a thread that sleeps in `acquire_lock`. The GIL need not be held."""
    if lock != types.int64:
        return None

    def codegen(context, builder, sig, args):
        call(builder, "PyThread_release_lock", ir.VoidType(), [builder.inttoptr(args[0], _BYTES)])
        return context.get_dummy_value()

    return types.void(lock), codegen


@intrinsic
def nanoseconds(typingctx):
    """Return the nanoseconds of a monotonic clock."""

    def codegen(context, builder, sig, args):
        if TARGET.system == "windows":
            return builder.mul(call(builder, "GetTickCount64", _INT64, []), ir.Constant(_INT64, 1_000_000))
        moment = cgutils.alloca_once(builder, ir.ArrayType(_INT64, 2))
        call(builder, "clock_gettime", _INT32, [ir.Constant(_INT32, _MONOTONIC), builder.bitcast(moment, _BYTES)])
        seconds, rest = (builder.load(cgutils.gep_inbounds(builder, moment, 0, i)) for i in range(2))
        return builder.add(builder.mul(seconds, ir.Constant(_INT64, 1_000_000_000)), rest)

    return types.int64(), codegen

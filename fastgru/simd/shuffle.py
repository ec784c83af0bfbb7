"""Lanes of two vectors told apart."""

from __future__ import annotations

from llvmlite import ir
from numba.core.extending import intrinsic

from fastgru.simd.vector import is_float_vec

__all__ = ["evens", "odds"]


def _every_second(first: int, doc: str):
    def op(typingctx, a, b):
        if not is_float_vec(a, b) or a != b:
            return None

        def codegen(context, builder, sig, args):
            order = list(range(first, 2 * a.lanes, 2))
            return builder.shuffle_vector(*args, ir.Constant(ir.VectorType(ir.IntType(32), a.lanes), order))

        return a(a, b), codegen

    op.__doc__ = doc
    return intrinsic(op)


evens = _every_second(0, "Elements 0, 2, 4... of a and b, one after the other.")
odds = _every_second(1, "Elements 1, 3, 5... of a and b, one after the other.")

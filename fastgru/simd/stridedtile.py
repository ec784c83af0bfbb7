"""Register tiles over matrices with any strides: M rows by U vectors of sums, which LLVM holds in registers.

They do without packing what `simd.tile` does for packed weights. The rows may be columns of a matrix, so the gradient
of weights, a GEMM over all steps, reads activations and gradients where they lie. Every sum takes one operation for
each k, in ascending order, whatever M and U are.
"""

from functools import partial
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.extending import intrinsic

from fastgru.simd.tile import add_products, largest, load_vector
from fastgru.simd.vector import Vec, llvm_vec, multiply_add, splat_value, vec_of

__all__ = ["make_strided_tiles"]

_INT64 = ir.IntType(64)


def _places(builder: ir.IRBuilder, p: ir.Value, stride: ir.Value, count: int) -> list[ir.Value]:
    places = [p]
    for _ in range(1, count):
        places.append(builder.gep(places[-1], [stride]))
    return places


def _splat_at(builder: ir.IRBuilder, vec: Vec, places: list[ir.Value], m: int) -> ir.Value:
    return splat_value(builder, builder.load(places[m]), vec.lanes)


def _sums(
    builder: ir.IRBuilder,
    vec: Vec,
    vectors: int,
    rows: list[ir.Value],
    a_k: ir.Value,
    b: ir.Value,
    b_k: ir.Value,
    K: Any,
) -> list[ir.Value]:
    """Return the sums of one tile over K products, row by row."""
    nothing = ir.Constant(llvm_vec(vec), None)
    acc, state = [nothing] * (len(rows) * vectors), [ir.Constant(_INT64, 0), b, *rows]
    for steps in (4, 1):
        before = builder.block
        head, body, behind = (builder.append_basic_block(name) for name in ("head", "body", "behind"))
        builder.branch(head)
        builder.position_at_end(head)
        phis = [builder.phi(value.type) for value in (*state, *acc)]
        k, b_at, *row_at = phis[: len(state)]
        sums = phis[len(state) :]
        further = builder.add(k, ir.Constant(_INT64, steps))
        builder.cbranch(builder.icmp_signed("<=", further, K), body, behind)
        builder.position_at_end(body)
        after = [*sums]
        for _ in range(steps):
            value, weight = partial(_splat_at, builder, vec, row_at), partial(load_vector, builder, vec, b_at)
            add_products(after, len(row_at), vectors, value, weight, partial(multiply_add, builder, vec))
            b_at, row_at = builder.gep(b_at, [b_k]), [builder.gep(p, [a_k]) for p in row_at]
        made = (further, b_at, *row_at, *after)
        for phi, first, later in zip(phis, (*state, *acc), made, strict=True):
            phi.add_incoming(first, before)
            phi.add_incoming(later, body)
        builder.branch(head)
        builder.position_at_end(behind)
        state, acc = phis[: len(state)], sums
    return acc


def make_strided_tiles(rows: tuple[int, ...], vectors: int) -> Any:
    """Return multiply(count, a, a_row, a_k, b, b_k, K, start, start_row, out, out_row), which returns the rows done.

    out[m, u] = start[m, u] + the sum over k < K of a[m, k] b[k, u], for the first rows m. It does the rows of the
    largest tile that has at most `count` rows; `count` is at least 1. rows: the rows of each tile, ascending from 1.
    u: numbers of `vectors` vectors, which are contiguous in b, start and out. The other strides count elements; a
    start_row of 0 adds the same row to all.
    """

    @intrinsic
    def multiply(typingctx, count, a, a_row, a_k, b, b_k, K, start, start_row, out, out_row):
        if not (isinstance(a, types.CPointer) and a == b == start == out and isinstance(a.dtype, types.Float)):
            return None
        vec = vec_of(a.dtype)

        def codegen(context, builder, sig, args):
            most, a_at, a_step, a_next, b_at, b_next, end, start_at, start_step, out_at, out_step = args

            def emit(some):
                acc = _sums(builder, vec, vectors, _places(builder, a_at, a_step, some), a_next, b_at, b_next, end)
                starts = _places(builder, start_at, start_step, some)
                for m, where in enumerate(_places(builder, out_at, out_step, some)):
                    for u in range(vectors):
                        total = builder.fadd(load_vector(builder, vec, starts[m], u), acc[m * vectors + u])
                        at = builder.gep(where, [ir.Constant(_INT64, u * vec.lanes)])
                        made = builder.store(total, builder.bitcast(at, llvm_vec(vec).as_pointer()))
                        made.align = vec.dtype.bitwidth // 8

            return largest(builder, rows, most, emit)

        i = types.int64
        return i(i, a, i, i, b, i, i, start, i, out, i), codegen

    return multiply

"""Register tiles of a convolution of small images: R pixels by U vectors of output channels.

Pixels may lie anywhere: a table holds the offsets at which each one reads and writes. A list holds the inputs that a
tile reads, each with the place of its weights. Every sum takes one fma for each input, in the order of the list,
whatever R and U are.
"""

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.extending import intrinsic

from fastgru.simd.tile import load_vector
from fastgru.simd.vector import Vec, llvm_vec, multiply_add, splat_value, vec_of

__all__ = ["make_pixel_tiles"]

_INT64 = ir.IntType(64)
_WORDS = types.CPointer(types.int64)


def _word(builder: ir.IRBuilder, p: ir.Value, i: int) -> ir.Value:
    return builder.load(builder.gep(p, [ir.Constant(_INT64, i)]))


def _advanced(
    builder: ir.IRBuilder, vec: Vec, acc: list[ir.Value], x: list[ir.Value], w: ir.Value, entry: ir.Value, vectors: int,
    width: int,
) -> list[ir.Value]:  # fmt: skip
    """Return the sums after the input that an entry of a list names."""
    tap = _word(builder, entry, 0)
    at = builder.gep(w, [builder.mul(_word(builder, entry, 1), ir.Constant(_INT64, width * vec.lanes))])
    weights = [load_vector(builder, vec, at, u) for u in range(vectors)]
    made = []
    for r, pixel in enumerate(x):
        value = splat_value(builder, builder.load(builder.gep(pixel, [tap])), vec.lanes)
        made += [multiply_add(builder, vec, value, weight, acc[r * vectors + u]) for u, weight in enumerate(weights)]
    return made


def _loop(
    builder: ir.IRBuilder, vec: Vec, acc: list[ir.Value], x: list[ir.Value], w: ir.Value, entries: ir.Value,
    end: ir.Value, vectors: int, width: int, steps: int,
) -> tuple[list[ir.Value], ir.Value]:  # fmt: skip
    """Emit a loop that takes `steps` entries at a time while all lie before `end`; return (sums, next entry)."""
    before = builder.block
    head, body, behind = (builder.append_basic_block(name) for name in ("head", "body", "behind"))
    builder.branch(head)
    builder.position_at_end(head)
    phis = [builder.phi(value.type) for value in (entries, *acc)]
    further = builder.gep(phis[0], [ir.Constant(_INT64, 2 * steps)])
    builder.cbranch(builder.icmp_unsigned("<=", further, end), body, behind)
    builder.position_at_end(body)
    after = phis[1:]
    for i in range(steps):
        entry = builder.gep(phis[0], [ir.Constant(_INT64, 2 * i)])
        after = _advanced(builder, vec, after, x, w, entry, vectors, width)
    for phi, first, later in zip(phis, (entries, *acc), (further, *after), strict=True):
        phi.add_incoming(first, before)
        phi.add_incoming(later, body)
    builder.branch(head)
    builder.position_at_end(behind)
    return phis[1:], phis[0]


def make_pixel_tiles(most: int, vectors: int, width: int, steps: int = 4) -> Any:
    """Return multiply(count, pixels, x, entries, units, w, start, resume, out), for `count` pixels from 1 to `most`.

    pixels: (offset of its reads in x, offset of its writes in out) for each. entries: `units` pairs (tap, k); each adds
    x[pixel + tap] times `vectors` of the `width` vectors that w has for k. out = start + sum, or out + sum if `resume`
    is not 0.
    """

    @intrinsic
    def multiply(typingctx, count, pixels, x, entries, units, w, start, resume, out):
        if not (isinstance(x, types.CPointer) and x == w == start == out and pixels == entries == _WORDS):
            return None
        vec = vec_of(x.dtype)

        def codegen(context, builder, sig, args):
            some, pixels_at, x_at, entries_at, number, w_at, start_at, again, out_at = args
            end = builder.gep(entries_at, [builder.mul(number, ir.Constant(_INT64, 2))])
            fresh = builder.icmp_signed("==", again, ir.Constant(_INT64, 0))
            behind = builder.append_basic_block("done")
            for rows in range(most, 0, -1):
                with builder.if_then(builder.icmp_signed("==", some, ir.Constant(_INT64, rows))):
                    x_each = [builder.gep(x_at, [_word(builder, pixels_at, 2 * r)]) for r in range(rows)]
                    acc, at = [ir.Constant(llvm_vec(vec), None)] * (rows * vectors), entries_at
                    for each in dict.fromkeys((max(steps // rows, 1), 1)):
                        acc, at = _loop(builder, vec, acc, x_each, w_at, at, end, vectors, width, each)
                    for r in range(rows):
                        target = builder.gep(out_at, [_word(builder, pixels_at, 2 * r + 1)])
                        before = builder.select(fresh, start_at, target)
                        for u in range(vectors):
                            total = builder.fadd(load_vector(builder, vec, before, u), acc[r * vectors + u])
                            where = builder.gep(target, [ir.Constant(_INT64, u * vec.lanes)])
                            made = builder.store(total, builder.bitcast(where, llvm_vec(vec).as_pointer()))
                            made.align = vec.dtype.bitwidth // 8
                    builder.branch(behind)
            builder.branch(behind)
            builder.position_at_end(behind)
            return context.get_dummy_value()

        i = types.int64
        return types.void(i, pixels, x, entries, i, w, start, i, out), codegen

    return multiply

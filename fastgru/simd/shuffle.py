"""Permutations of lanes: elements of even and odd number separated, small matrices transposed."""

from llvmlite import ir
from numba.core import types
from numba.core.extending import intrinsic

from fastgru.simd.vector import is_float_vec

__all__ = ["evens", "odds", "transpose_tile"]


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


@intrinsic
def transpose_tile(typingctx, source, apart, target, beyond, width):
    """target[j * beyond + i] = source[i * apart + j] for i and j below `width`, a literal power of two.

    source and target must not overlap. There are log2(width) stages; each exchanges elements of pairs of rows.
    """
    if not (isinstance(source, types.CPointer) and source == target and isinstance(source.dtype, types.Float)):
        return None
    if not isinstance(width, types.IntegerLiteral):
        return None
    count, align = width.literal_value, source.dtype.bitwidth // 8

    def codegen(context, builder, sig, args):
        row = ir.VectorType(context.get_value_type(source.dtype), count)

        def place(start, step, i):
            at = builder.mul(step, ir.Constant(step.type, i))
            return builder.bitcast(builder.gep(start, [at]), row.as_pointer())

        def shuffled(a, b, order):
            return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), count), order))

        rows = []
        for i in range(count):
            rows.append(builder.load(place(args[0], args[1], i)))
            rows[i].align = align
        step = 1
        while step < count:
            for i in (i for i in range(count) if not i & step):
                a, b = rows[i], rows[i + step]
                rows[i] = shuffled(a, b, [count + j - step if j & step else j for j in range(count)])
                rows[i + step] = shuffled(a, b, [count + j if j & step else j + step for j in range(count)])
            step *= 2
        for j in range(count):
            builder.store(rows[j], place(args[2], args[3], j)).align = align
        return context.get_dummy_value()

    return types.void(source, types.int64, target, types.int64, width), codegen

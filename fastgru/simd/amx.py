"""AMX: blocks of up to 32 rows by a panel, in tiles of up to 16 rows of 64 bytes; and the same operations in vectors.

A tile of rows (A) holds 64 bytes of each row, a tile of weights (B) 16 units of one vector of outputs, just as a panel
has them, a tile of sums (C) one vector of outputs of each row. One operation adds A times B to C, which is the
arithmetic of `simd.dot` over these 16 units: rows and outputs apart, so that the bits of a row do not depend on others.

Where the target's AMX is emulated, tiles lie in memory and vectors carry out the same operations
(`simd.amx_operations`).

Tiles are state of a thread that neither Python nor any handler of signals should meet: who calls `configure` calls
`release` before it returns, and nothing else in between.
"""

from typing import Any, Final

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.extending import intrinsic

from fastgru.simd.amx_operations import (
    LINE,
    TILE_DOTS,
    TILE_ROWS,
    UNITS,
    Machine,
    Tiles,
    behind,
    configuration_of,
    line_at,
    number,
    store_vector,
)
from fastgru.simd.target import AMX
from fastgru.simd.tile import load_vector
from fastgru.simd.vector import call, vec_of

__all__ = ["configure", "make_block", "release"]

_I8, _NOTHING = ir.IntType(8), ir.VoidType()

# Of a block of one tile of rows, and of two: the tiles of A, those of B, and how many vectors of outputs are made at
# once. Their sums are the first tiles, of the first tile of rows before those of the second.
_A: Final = {1: (4,), 2: (4, 5)}
_B: Final = {1: (5, 6, 7), 2: (6, 7)}
_VECTORS: Final = {1: 4, 2: 2}


@intrinsic
def configure(typingctx, rows):
    """Make the tiles ready for blocks of so many rows, 1 to `BLOCK_ROWS`."""
    if rows != types.int64:
        return None

    def codegen(context, builder, sig, args):
        if AMX == "tiles":
            call(builder, "llvm.x86.ldtilecfg", _NOTHING, [configuration_of(builder, args[0])])
        return context.get_dummy_value()

    return types.void(rows), codegen


@intrinsic
def release(typingctx):
    """Give the tiles up."""

    def codegen(context, builder, sig, args):
        if AMX == "tiles":
            call(builder, "llvm.x86.tilerelease", _NOTHING, [])
        return context.get_dummy_value()

    return types.void(), codegen


class _Block:
    """Writes the code of a block of `tiles` tiles of rows by a panel of `vectors` vectors."""

    def __init__(self, machine: Tiles, tiles: int, vectors: int, x: Any, w: ir.Value) -> None:
        self.machine, self.builder, self.form = machine, machine.builder, machine.dot.form
        self.tiles, self.vectors, self.x, self.w = tiles, vectors, x, w

    def multiply(self, first: int, steps: ir.Value, start: Any, out: Any) -> None:
        """The outputs of as many vectors as fit the tiles, from the `first` on. x, start, out: (where, bytes apart)."""
        builder, machine, form = self.builder, self.machine, self.form
        count = min(_VECTORS[self.tiles], self.vectors - first)
        line, before = number(LINE * self.vectors), form.w_head * self.vectors * machine.sums.lanes
        a_tiles, b_tiles = _A[self.tiles], _B[self.tiles]
        sums = [(r * _VECTORS[self.tiles] + v, r, LINE * (first + v)) for r in range(self.tiles) for v in range(count)]
        for c, r, column in sums:
            machine.load(c, behind(builder, self._row_tile(start, r), column), start[1])
        with cgutils.for_range(builder, steps) as step:
            x = behind(builder, self.x[0], builder.mul(step.index, number(LINE)))
            for r, a in enumerate(a_tiles):
                machine.load(a, behind(builder, self._row_tile((x, self.x[1]), r), form.x_head), self.x[1])
            w = behind(builder, self.w, builder.mul(step.index, number(UNITS * LINE * self.vectors)))
            for v in range(count):
                b = b_tiles[v % len(b_tiles)]
                machine.load(b, behind(builder, w, before + LINE * (first + v)), line)
                for r, a in enumerate(a_tiles):
                    machine.multiply(r * _VECTORS[self.tiles] + v, a, b)
        for c, r, column in sums:
            machine.store(c, behind(builder, self._row_tile(out, r), column), out[1])

    def _row_tile(self, place: Any, r: int) -> ir.Value:
        where, stride = place
        return behind(self.builder, where, self.builder.mul(stride, number(r * TILE_ROWS))) if r else where

    def scale(self, start: Any, out: Any) -> None:
        """out = start + float(out) * scales, row by row."""
        builder, form, sums, floats = self.builder, self.form, self.machine.sums, vec_of(types.float32)
        scales = [form.scale(builder, self.w, self.vectors, v) for v in range(self.vectors)]
        with cgutils.for_range(builder, self.machine.rows) as row:
            x, begins, at = (line_at(builder, p, row.index, stride) for p, stride in (self.x, start, out))
            own = form.row_scale(builder, x)
            for v, scale in enumerate(scales):
                where = behind(builder, at, LINE * v)
                made = form.scaled(builder, load_vector(builder, sums, where, 0), own, scale)
                before = load_vector(builder, floats, behind(builder, begins, LINE * v), 0)
                store_vector(builder, builder.fadd(before, made), where)


def make_block(precision: str, tiles: int, vectors: int) -> Any:
    """multiply(rows, x, x_stride, w, steps, start, start_stride, out, out_stride): out = start + x w.

    For as many rows as the tiles are configured for, which are one tile of rows or two, and a panel of `vectors`
    vectors. steps: of 16 units of k. The strides count elements; a start stride of 0 adds one row to all. start and out
    are not the same memory.
    """
    dot = TILE_DOTS[precision]

    @intrinsic
    def multiply(typingctx, rows, x, x_stride, w, steps, start, start_stride, out, out_stride):
        floats = types.CPointer(types.float32)
        if not (isinstance(x, types.CPointer) and x == w and start == out == floats) or dot.form.sums(x) is None:
            return None

        def codegen(context, builder, sig, args):
            some, x_at, x_step, w_at, count, start_at, start_step, out_at, out_step = args
            sums = dot.form.sums(x)
            start_from, to = (
                (builder.bitcast(p, _I8.as_pointer()), builder.mul(step, number(4)))
                for p, step in ((start_at, start_step), (out_at, out_step))
            )
            machine = Machine(builder, dot, sums, some)
            block = _Block(machine, tiles, vectors, (x_at, x_step), w_at)
            for first in range(0, vectors, _VECTORS[tiles]):
                block.multiply(first, count, (w_at, number(0)) if dot.in_head else start_from, to)
            if dot.in_head:
                block.scale(start_from, to)
            return context.get_dummy_value()

        i = types.int64
        return types.void(i, x, i, w, i, start, i, out, i), codegen

    return multiply

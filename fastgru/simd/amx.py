"""AMX: blocks of up to 32 rows times a panel, in tiles of up to 16 rows of 64 bytes.

A tile of rows (A) holds 64 bytes of each row. A tile of weights (B) holds 16 units of one vector of outputs, in the
layout of a panel. A tile of sums (C) holds one vector of outputs of each row. One operation adds A times B to C, by the
arithmetic of `simd.dot` over these 16 units. Rows and outputs are computed separately, so the bits of a row do not
depend on other rows.

For a target that emulates AMX, tiles lie in memory, and vectors do the same operations (`simd.amx_operations`).

Tiles are state of a thread, and neither Python nor a signal handler may run while they are configured. A function that
calls `configure` must call `release` before it returns, and may call only blocks in between.
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

# By the tiles of rows of a block, 1 or 2: the numbers of the tiles of A and of B, and the vectors of outputs that are
# computed at once. The sums take the first tiles: those of the first tile of rows, then those of the second.
_A: Final = {1: (4,), 2: (4, 5)}
_B: Final = {1: (5, 6, 7), 2: (6, 7)}
_VECTORS: Final = {1: 4, 2: 2}


@intrinsic
def configure(typingctx, rows):
    """Configure the tiles for blocks of `rows` rows, 1 to `BLOCK_ROWS`."""
    if rows != types.int64:
        return None

    def codegen(context, builder, sig, args):
        if AMX == "tiles":
            call(builder, "llvm.x86.ldtilecfg", _NOTHING, [configuration_of(builder, args[0])])
        return context.get_dummy_value()

    return types.void(rows), codegen


@intrinsic
def release(typingctx):
    """Release the tiles."""

    def codegen(context, builder, sig, args):
        if AMX == "tiles":
            call(builder, "llvm.x86.tilerelease", _NOTHING, [])
        return context.get_dummy_value()

    return types.void(), codegen


class _Block:
    """Writes the code that multiplies a block of `tiles` tiles of rows by a panel of `vectors` vectors."""

    def __init__(self, machine: Tiles, tiles: int, vectors: int, x: Any, w: ir.Value) -> None:
        self.machine, self.builder, self.form = machine, machine.builder, machine.dot.form
        self.tiles, self.vectors, self.x, self.w = tiles, vectors, x, w

    def multiply(self, first: int, steps: ir.Value, start: Any, out: Any) -> None:
        """Compute the outputs of as many vectors as fit the tiles, from vector `first` on.

        x, start, out: (address, bytes from row to row).
        """
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
        """Compute out = start + float(out) * scales, row by row."""
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
    """Return multiply(rows, x, x_stride, w, steps, start, start_stride, out, out_stride): out = start + x w.

    rows: the rows that the tiles are configured for, which take `tiles` tiles, 1 or 2. w: a panel of `vectors` vectors.
    steps: k in steps of 16 units. Strides count elements; a start stride of 0 adds the same row to all. start and out
    must not be the same memory.
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

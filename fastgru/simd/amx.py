"""AMX: blocks of up to 32 rows by a panel, in tiles of up to 16 rows of 64 bytes; and the same operations in vectors.

A tile of rows (A) holds 64 bytes of each row, a tile of weights (B) 16 units of one vector of outputs, just as a panel
has them, a tile of sums (C) one vector of outputs of each row. One operation adds A times B to C, which is the
arithmetic of `simd.dot` over these 16 units: rows and outputs apart, so that the bits of a row do not depend on others.

Where the target's AMX is emulated, tiles lie in memory and vectors carry out the same operations. Either way the rows
of a tile are those of `CONFIGURATIONS`.

Tiles are state of a thread that neither Python nor any handler of signals should meet: who calls `configure` calls
`release` before it returns, and nothing else in between.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.extending import intrinsic

from fastgru.simd.dot import BFLOAT16, INT8
from fastgru.simd.target import AMX
from fastgru.simd.tile import TileFormat, load_vector
from fastgru.simd.vector import Vec, call, vec_of

__all__ = ["BLOCK_ROWS", "CONFIGURATIONS", "TILE_ROWS", "configure", "make_block", "release"]

TILE_ROWS: Final = 16
BLOCK_ROWS: Final = 2 * TILE_ROWS
_UNITS: Final = 16  # of k, in one operation
_LINE: Final = 64  # bytes of a row of a tile

_I8, _I64, _NOTHING = ir.IntType(8), ir.IntType(64), ir.VoidType()

# Of a block of one tile of rows, and of two: the tiles of A, those of B, and how many vectors of outputs are made at
# once. Their sums are the first tiles, of the first tile of rows before those of the second.
_A: Final = {1: (4,), 2: (4, 5)}
_B: Final = {1: (5, 6, 7), 2: (6, 7)}
_VECTORS: Final = {1: 4, 2: 2}


def _configuration(rows: int) -> bytes:
    """What LDTILECFG reads for a block of so many rows: palette 1, and the bytes of a row and the rows of each tile."""
    most, second = TILE_ROWS, rows - TILE_ROWS
    counts = [rows] * 5 + [most] * 3 if second <= 0 else [most, most, second, second, most, second, most, most]
    lines = b"".join(_LINE.to_bytes(2, "little") for _ in counts)
    return bytes([1]) + bytes(15) + lines + bytes(16) + bytes(counts) + bytes(8)


# Of blocks of 1 to `BLOCK_ROWS` rows, one after the other.
CONFIGURATIONS: Final = b"".join(_configuration(rows) for rows in range(1, BLOCK_ROWS + 1))


def _number(value: int) -> ir.Constant:
    return ir.Constant(_I64, value)


def _at(builder: ir.IRBuilder, p: ir.Value, nbytes: ir.Value | int) -> ir.Value:
    return builder.gep(p, [nbytes if isinstance(nbytes, ir.Value) else _number(nbytes)])


def _configuration_of(builder: ir.IRBuilder, rows: ir.Value) -> ir.Value:
    """Where the configuration of a block of so many rows lies."""
    table = cgutils.global_constant(builder.module, "tile_configurations", cgutils.make_bytearray(CONFIGURATIONS))
    table.align = _LINE
    first = builder.bitcast(table, _I8.as_pointer())
    return _at(builder, first, builder.mul(builder.sub(rows, _number(1)), _number(_LINE)))


class TileDot(NamedTuple):
    """What an operation does: the format, how LLVM calls the instruction, and with what the sums begin.

    in_head: with the starts in the head of a panel, which its units are added to one by one, and the whole is scaled;
    if not, with the rows that are added, which take the sum of each 16 units.
    """

    form: TileFormat
    instruction: str
    in_head: bool

    def begin(self, builder: ir.IRBuilder, sums: Vec, before: ir.Value) -> ir.Value:
        """What the units are accumulated on."""
        return before if self.in_head else self.form.begin(builder, sums, before, 0)

    def end(self, builder: ir.IRBuilder, before: ir.Value, acc: ir.Value) -> ir.Value:
        """The sums behind them."""
        return acc if self.in_head else builder.fadd(before, self.form.scaled(builder, acc, None, None))


TILE_DOTS: Final = {
    "bfloat16": TileDot(BFLOAT16, "tdpbf16ps", in_head=False),
    "int8": TileDot(INT8, "tdpbusd", in_head=True),
}


class _Tiles:
    """AMX's operations, for a block of `rows` rows."""

    def __init__(self, builder: ir.IRBuilder, dot: TileDot, sums: Vec, rows: ir.Value) -> None:
        self.builder, self.dot, self.sums, self.rows = builder, dot, sums, rows

    def _call(self, name: str, *values: ir.Value | int) -> None:
        args = [v if isinstance(v, ir.Value) else ir.Constant(_I8, v) for v in values]
        call(self.builder, f"llvm.x86.{name}", _NOTHING, args)

    def load(self, tile: int, p: ir.Value, stride: ir.Value) -> None:
        """A tile from rows that lie `stride` bytes apart."""
        self._call("tileloadd64", tile, p, stride)

    def store(self, tile: int, p: ir.Value, stride: ir.Value) -> None:
        """Rows that lie `stride` bytes apart from a tile."""
        self._call("tilestored64", tile, p, stride)

    def multiply(self, c: int, a: int, b: int) -> None:
        """C + A B in the place of C."""
        self._call(self.dot.instruction, c, a, b)


class _Emulated(_Tiles):
    """The same by vectors, on tiles in memory; each operation is a function, as LLVM takes long over large ones."""

    def __init__(self, builder: ir.IRBuilder, dot: TileDot, sums: Vec, rows: ir.Value) -> None:
        super().__init__(builder, dot, sums, rows)
        with builder.goto_entry_block():
            self._memory = builder.alloca(_I8, 8 * TILE_ROWS * _LINE)
        self._configured = _configuration_of(builder, rows)

    def load(self, tile: int, p: ir.Value, stride: ir.Value) -> None:
        self._call_own("copy", self._copy, p, stride, self._tile(tile), _number(_LINE), self._rows(tile))

    def store(self, tile: int, p: ir.Value, stride: ir.Value) -> None:
        self._call_own("copy", self._copy, self._tile(tile), _number(_LINE), p, stride, self._rows(tile))

    def multiply(self, c: int, a: int, b: int) -> None:
        tiles = (self._tile(tile) for tile in (c, a, b))
        self._call_own(self.dot.instruction, self._multiply, *tiles, self._rows(c))

    def _tile(self, tile: int) -> ir.Value:
        return _at(self.builder, self._memory, tile * TILE_ROWS * _LINE)

    def _rows(self, tile: int) -> ir.Value:
        return self.builder.zext(self.builder.load(_at(self.builder, self._configured, 48 + tile)), _I64)

    def _call_own(self, name: str, write: Callable[..., None], *args: ir.Value) -> None:
        """Call a function of this module that `write`, called with a builder and the arguments, gives its code."""
        name = f"emulated_{name}"
        function = self.builder.module.globals.get(name)
        if function is None:
            function = ir.Function(self.builder.module, ir.FunctionType(_NOTHING, [a.type for a in args]), name)
            function.linkage = "linkonce_odr"
            function.attributes.add("noinline")
            inside = ir.IRBuilder(function.append_basic_block())
            write(inside, *function.args)
            inside.ret_void()
        self.builder.call(function, args)

    def _copy(self, builder: ir.IRBuilder, *args: ir.Value) -> None:
        source, source_stride, target, target_stride, rows = args
        with cgutils.for_range(builder, rows) as row:
            value = load_vector(builder, self.sums, _line(builder, source, row.index, source_stride), 0)
            _store(builder, value, _line(builder, target, row.index, target_stride))

    def _multiply(self, builder: ir.IRBuilder, c: ir.Value, a: ir.Value, b: ir.Value, rows: ir.Value) -> None:
        form, sums, line = self.dot.form, self.sums, _number(_LINE)
        with cgutils.for_range(builder, rows) as row:
            where, x = _line(builder, c, row.index, line), _line(builder, a, row.index, line)
            before = load_vector(builder, sums, where, 0)
            first = self.dot.begin(builder, sums, before)
            acc = cgutils.alloca_once(builder, first.type)
            builder.store(first, acc)
            with cgutils.for_range(builder, _number(_UNITS)) as unit:
                value = form.value(builder, sums, _line(builder, x, unit.index, _number(_LINE // _UNITS)), 0)
                weight = form.weight(builder, sums, _line(builder, b, unit.index, line), 0)
                builder.store(form.accumulate(builder, sums, value, weight, builder.load(acc)), acc)
            _store(builder, self.dot.end(builder, before, builder.load(acc)), where)


def _line(builder: ir.IRBuilder, p: ir.Value, i: ir.Value, stride: ir.Value) -> ir.Value:
    return _at(builder, p, builder.mul(i, stride))


def _store(builder: ir.IRBuilder, value: ir.Value, p: ir.Value) -> None:
    builder.store(value, builder.bitcast(p, value.type.as_pointer())).align = 4


_MACHINE: Final = _Emulated if AMX == "emulated" else _Tiles


@intrinsic
def configure(typingctx, rows):
    """Make the tiles ready for blocks of so many rows, 1 to `BLOCK_ROWS`."""
    if rows != types.int64:
        return None

    def codegen(context, builder, sig, args):
        if AMX == "tiles":
            call(builder, "llvm.x86.ldtilecfg", _NOTHING, [_configuration_of(builder, args[0])])
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

    def __init__(self, machine: _Tiles, tiles: int, vectors: int, x: Any, w: ir.Value) -> None:
        self.machine, self.builder, self.form = machine, machine.builder, machine.dot.form
        self.tiles, self.vectors, self.x, self.w = tiles, vectors, x, w

    def multiply(self, first: int, steps: ir.Value, start: Any, out: Any) -> None:
        """The outputs of as many vectors as fit the tiles, from the `first` on. x, start, out: (where, bytes apart)."""
        builder, machine, form = self.builder, self.machine, self.form
        count = min(_VECTORS[self.tiles], self.vectors - first)
        line, before = _number(_LINE * self.vectors), form.w_head * self.vectors * machine.sums.lanes
        a_tiles, b_tiles = _A[self.tiles], _B[self.tiles]
        sums = [(r * _VECTORS[self.tiles] + v, r, _LINE * (first + v)) for r in range(self.tiles) for v in range(count)]
        for c, r, column in sums:
            machine.load(c, _at(builder, self._row_tile(start, r), column), start[1])
        with cgutils.for_range(builder, steps) as step:
            x = _at(builder, self.x[0], builder.mul(step.index, _number(_LINE)))
            for r, a in enumerate(a_tiles):
                machine.load(a, _at(builder, self._row_tile((x, self.x[1]), r), form.x_head), self.x[1])
            w = _at(builder, self.w, builder.mul(step.index, _number(_UNITS * _LINE * self.vectors)))
            for v in range(count):
                b = b_tiles[v % len(b_tiles)]
                machine.load(b, _at(builder, w, before + _LINE * (first + v)), line)
                for r, a in enumerate(a_tiles):
                    machine.multiply(r * _VECTORS[self.tiles] + v, a, b)
        for c, r, column in sums:
            machine.store(c, _at(builder, self._row_tile(out, r), column), out[1])

    def _row_tile(self, place: Any, r: int) -> ir.Value:
        where, stride = place
        return _at(self.builder, where, self.builder.mul(stride, _number(r * TILE_ROWS))) if r else where

    def scale(self, start: Any, out: Any) -> None:
        """out = start + float(out) * scales, row by row."""
        builder, form, sums, floats = self.builder, self.form, self.machine.sums, vec_of(types.float32)
        scales = [form.scale(builder, self.w, self.vectors, v) for v in range(self.vectors)]
        with cgutils.for_range(builder, self.machine.rows) as row:
            x, begins, at = (_line(builder, p, row.index, stride) for p, stride in (self.x, start, out))
            own = form.row_scale(builder, x)
            for v, scale in enumerate(scales):
                where = _at(builder, at, _LINE * v)
                made = form.scaled(builder, load_vector(builder, sums, where, 0), own, scale)
                before = load_vector(builder, floats, _at(builder, begins, _LINE * v), 0)
                _store(builder, builder.fadd(before, made), where)


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
                (builder.bitcast(p, _I8.as_pointer()), builder.mul(step, _number(4)))
                for p, step in ((start_at, start_step), (out_at, out_step))
            )
            machine = _MACHINE(builder, dot, sums, some)
            block = _Block(machine, tiles, vectors, (x_at, x_step), w_at)
            for first in range(0, vectors, _VECTORS[tiles]):
                block.multiply(first, count, (w_at, _number(0)) if dot.in_head else start_from, to)
            if dot.in_head:
                block.scale(start_from, to)
            return context.get_dummy_value()

        i = types.int64
        return types.void(i, x, i, w, i, start, i, out, i), codegen

    return multiply

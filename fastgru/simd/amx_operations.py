"""AMX's operations on tiles, and their emulation by vectors on tiles in memory.

Both take the numbers of rows of each tile from `CONFIGURATIONS`.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from llvmlite import ir
from numba.core import cgutils

from fastgru.simd.dot import BFLOAT16, INT8
from fastgru.simd.target import AMX
from fastgru.simd.tile import TileFormat, load_vector
from fastgru.simd.vector import Vec, call

__all__ = [
    "BLOCK_ROWS",
    "CONFIGURATIONS",
    "LINE",
    "TILE_DOTS",
    "TILE_ROWS",
    "UNITS",
    "Machine",
    "Tiles",
    "behind",
    "configuration_of",
    "line_at",
    "number",
    "store_vector",
]  # fmt: skip

TILE_ROWS: Final = 16
BLOCK_ROWS: Final = 2 * TILE_ROWS
UNITS: Final = 16  # of k, in one operation
LINE: Final = 64  # bytes of a row of a tile

_I8, _I64, _NOTHING = ir.IntType(8), ir.IntType(64), ir.VoidType()


def _configuration(rows: int) -> bytes:
    """Return the bytes that LDTILECFG reads for a block of `rows` rows.

    They are palette 1, the bytes of a row of each tile, and the rows of each tile.
    """
    most, second = TILE_ROWS, rows - TILE_ROWS
    counts = [rows] * 5 + [most] * 3 if second <= 0 else [most, most, second, second, most, second, most, most]
    lines = b"".join(LINE.to_bytes(2, "little") for _ in counts)
    return bytes([1]) + bytes(15) + lines + bytes(16) + bytes(counts) + bytes(8)


# The configurations of blocks of 1 to `BLOCK_ROWS` rows, one after the other.
CONFIGURATIONS: Final = b"".join(_configuration(rows) for rows in range(1, BLOCK_ROWS + 1))


def number(value: int) -> ir.Constant:
    """Return a constant of 64 bits."""
    return ir.Constant(_I64, value)


def behind(builder: ir.IRBuilder, p: ir.Value, nbytes: ir.Value | int) -> ir.Value:
    """Return the address `nbytes` bytes after p."""
    return builder.gep(p, [nbytes if isinstance(nbytes, ir.Value) else number(nbytes)])


def configuration_of(builder: ir.IRBuilder, rows: ir.Value) -> ir.Value:
    """Return the address of the configuration of a block of `rows` rows."""
    table = cgutils.global_constant(builder.module, "tile_configurations", cgutils.make_bytearray(CONFIGURATIONS))
    table.align = LINE
    first = builder.bitcast(table, _I8.as_pointer())
    return behind(builder, first, builder.mul(builder.sub(rows, number(1)), number(LINE)))


class TileDot(NamedTuple):
    """A multiplying operation.

    form: the format of its numbers. instruction: LLVM's name of it. in_head: True if the sums begin with the starts in
    the head of a panel, take the units one by one, and are scaled at the end. False if they begin with the rows of
    `start` and take the sum of each 16 units.
    """

    form: TileFormat
    instruction: str
    in_head: bool

    def begin(self, builder: ir.IRBuilder, sums: Vec, before: ir.Value) -> ir.Value:
        """Return the value on which the units are accumulated."""
        return before if self.in_head else self.form.begin(builder, sums, before, 0)

    def end(self, builder: ir.IRBuilder, before: ir.Value, acc: ir.Value) -> ir.Value:
        """Return the sums after the units."""
        return acc if self.in_head else builder.fadd(before, self.form.scaled(builder, acc, None, None))


TILE_DOTS: Final = {
    "bfloat16": TileDot(BFLOAT16, "tdpbf16ps", in_head=False),
    "int8": TileDot(INT8, "tdpbusd", in_head=True),
}


class Tiles:
    """AMX's operations, for a block of `rows` rows."""

    def __init__(self, builder: ir.IRBuilder, dot: TileDot, sums: Vec, rows: ir.Value) -> None:
        self.builder, self.dot, self.sums, self.rows = builder, dot, sums, rows

    def _call(self, name: str, *values: ir.Value | int) -> None:
        args = [v if isinstance(v, ir.Value) else ir.Constant(_I8, v) for v in values]
        call(self.builder, f"llvm.x86.{name}", _NOTHING, args)

    def load(self, tile: int, p: ir.Value, stride: ir.Value) -> None:
        """Load a tile from rows that lie `stride` bytes apart."""
        self._call("tileloadd64", tile, p, stride)

    def store(self, tile: int, p: ir.Value, stride: ir.Value) -> None:
        """Store a tile to rows that lie `stride` bytes apart."""
        self._call("tilestored64", tile, p, stride)

    def multiply(self, c: int, a: int, b: int) -> None:
        """Replace tile C by C + A B."""
        self._call(self.dot.instruction, c, a, b)


class _Emulated(Tiles):
    """The operations by vectors, on tiles in memory. Each is a function, because large functions compile slowly."""

    def __init__(self, builder: ir.IRBuilder, dot: TileDot, sums: Vec, rows: ir.Value) -> None:
        super().__init__(builder, dot, sums, rows)
        with builder.goto_entry_block():
            self._memory = builder.alloca(_I8, 8 * TILE_ROWS * LINE)
        self._configured = configuration_of(builder, rows)

    def load(self, tile: int, p: ir.Value, stride: ir.Value) -> None:
        self._call_own("copy", self._copy, p, stride, self._tile(tile), number(LINE), self._rows(tile))

    def store(self, tile: int, p: ir.Value, stride: ir.Value) -> None:
        self._call_own("copy", self._copy, self._tile(tile), number(LINE), p, stride, self._rows(tile))

    def multiply(self, c: int, a: int, b: int) -> None:
        tiles = (self._tile(tile) for tile in (c, a, b))
        self._call_own(self.dot.instruction, self._multiply, *tiles, self._rows(c))

    def _tile(self, tile: int) -> ir.Value:
        return behind(self.builder, self._memory, tile * TILE_ROWS * LINE)

    def _rows(self, tile: int) -> ir.Value:
        return self.builder.zext(self.builder.load(behind(self.builder, self._configured, 48 + tile)), _I64)

    def _call_own(self, name: str, write: Callable[..., None], *args: ir.Value) -> None:
        """Call a function of this module. On its first use, `write` writes its code, given a builder and arguments."""
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
            value = load_vector(builder, self.sums, line_at(builder, source, row.index, source_stride), 0)
            store_vector(builder, value, line_at(builder, target, row.index, target_stride))

    def _multiply(self, builder: ir.IRBuilder, c: ir.Value, a: ir.Value, b: ir.Value, rows: ir.Value) -> None:
        form, sums, line = self.dot.form, self.sums, number(LINE)
        with cgutils.for_range(builder, rows) as row:
            where, x = line_at(builder, c, row.index, line), line_at(builder, a, row.index, line)
            before = load_vector(builder, sums, where, 0)
            first = self.dot.begin(builder, sums, before)
            acc = cgutils.alloca_once(builder, first.type)
            builder.store(first, acc)
            with cgutils.for_range(builder, number(UNITS)) as unit:
                value = form.value(builder, sums, line_at(builder, x, unit.index, number(LINE // UNITS)), 0)
                weight = form.weight(builder, sums, line_at(builder, b, unit.index, line), 0)
                builder.store(form.accumulate(builder, sums, value, weight, builder.load(acc)), acc)
            store_vector(builder, self.dot.end(builder, before, builder.load(acc)), where)


def line_at(builder: ir.IRBuilder, p: ir.Value, i: ir.Value, stride: ir.Value) -> ir.Value:
    """Return the address of row i of rows that begin at p and lie `stride` bytes apart."""
    return behind(builder, p, builder.mul(i, stride))


def store_vector(builder: ir.IRBuilder, value: ir.Value, p: ir.Value) -> None:
    """Store a vector to p, an address that is a multiple of 4."""
    builder.store(value, builder.bitcast(p, value.type.as_pointer())).align = 4


Machine: Final = _Emulated if AMX == "emulated" else Tiles

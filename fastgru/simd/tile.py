"""Register tiles: M rows by U vectors of sums, which LLVM holds in registers.

A tile takes one k at a time, with one operation for every sum. Each output is therefore summed over k in ascending
order, whatever M and U are, and results do not depend on which tile computed them.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple, Protocol

from llvmlite import ir
from numba.core import types
from numba.core.extending import intrinsic

from fastgru.simd.target import IS_X86, REGISTERS
from fastgru.simd.vector import Vec, llvm_vec, multiply_add, splat_lane, splat_value, vec_of

__all__ = ["FLOATS", "Floats", "TileFormat", "add_products", "largest", "load_vector", "make_tiles"]

_INT64 = ir.IntType(64)

# An instruction of Arm can multiply by one lane of a vector, so one load brings several units. x86 broadcasts a number
# to every lane in the load, or within the multiplication.
_BY_ELEMENT: Final = not IS_X86

# 16 registers hold the 12 sums of 3 rows by 4 vectors and, beside them, 3 values and one weight, but not 4 weights and
# one value: LLVM would keep a sum in memory, and every k would wait for its store.
_FEW_REGISTERS: Final = REGISTERS < 32


class TileFormat(Protocol):
    """The format of a tile's numbers: how a unit of a row and of the weights is read, and how sums begin and end.

    A unit is one k: one number, or as many as one instruction multiplies and adds.

    x_unit, w_unit: elements of a unit in a row, and in the weights of an output. x_head, w_head: elements before the
        first unit.
    """

    x_unit: int
    w_unit: int
    x_head: int
    w_head: int

    def sums(self, p: types.CPointer) -> Vec | None:
        """Return the type of sums of products of the elements that p points to; None if p is not of this format."""

    def begin(self, builder: ir.IRBuilder, sums: Vec, head: ir.Value, index: int) -> ir.Value:
        """Return the initial value of vector `index` of sums. head: the address of a panel of weights."""

    def weight(self, builder: ir.IRBuilder, sums: Vec, p: ir.Value, index: int) -> ir.Value:
        """Return vector `index` of weights from p on."""

    def value(self, builder: ir.IRBuilder, sums: Vec, p: ir.Value, k: int) -> Any:
        """Return unit k of the row at p, in every lane."""

    def units(self, builder: ir.IRBuilder, sums: Vec, p: ir.Value, k: int) -> Any:
        """Return units of the row at p, from unit k on, one in each lane of a vector of sums."""

    def lane(self, builder: ir.IRBuilder, sums: Vec, units: Any, lane: int) -> Any:
        """Return one of the units that `units` returned, in the form that `value` returns."""

    def accumulate(self, builder: ir.IRBuilder, sums: Vec, x: Any, w: ir.Value, acc: ir.Value) -> ir.Value:
        """Return acc + x * w."""

    def scale(self, builder: ir.IRBuilder, head: ir.Value, vectors: int, index: int) -> ir.Value | None:
        """Return the scales of vector `index` of `vectors` vectors of outputs; None if the format has no scales."""

    def row_scale(self, builder: ir.IRBuilder, x: ir.Value) -> ir.Value | None:
        """Return the scale of the row whose head x points to, in every lane; None if the format has no scales."""

    def scaled(self, builder: ir.IRBuilder, acc: ir.Value, row: Any, scale: Any) -> ir.Value:
        """Return a sum as a float."""


class Floats:
    """Floats times floats: a unit is one number."""

    x_unit, w_unit, x_head, w_head = 1, 1, 0, 0

    def sums(self, p: types.CPointer) -> Vec | None:
        return vec_of(p.dtype) if isinstance(p.dtype, types.Float) else None

    def begin(self, builder: ir.IRBuilder, sums: Vec, head: ir.Value, index: int) -> ir.Value:
        return ir.Constant(llvm_vec(sums), None)

    def weight(self, builder: ir.IRBuilder, sums: Vec, p: ir.Value, index: int) -> ir.Value:
        return load_vector(builder, sums, p, index)

    def value(self, builder: ir.IRBuilder, sums: Vec, p: ir.Value, k: int) -> ir.Value:
        element = builder.gep(p, [ir.Constant(_INT64, k)]) if k else p
        return splat_value(builder, builder.load(element), sums.lanes)

    def units(self, builder: ir.IRBuilder, sums: Vec, p: ir.Value, k: int) -> Any:
        return load_vector(builder, sums, builder.gep(p, [ir.Constant(_INT64, k)]) if k else p, 0)

    def lane(self, builder: ir.IRBuilder, sums: Vec, units: Any, lane: int) -> Any:
        return splat_lane(builder, units, lane, sums.lanes)

    def accumulate(self, builder: ir.IRBuilder, sums: Vec, x: ir.Value, w: ir.Value, acc: ir.Value) -> ir.Value:
        return multiply_add(builder, sums, x, w, acc)

    def scale(self, builder: ir.IRBuilder, head: ir.Value, vectors: int, index: int) -> None:
        return None

    def row_scale(self, builder: ir.IRBuilder, x: ir.Value) -> None:
        return None

    def scaled(self, builder: ir.IRBuilder, acc: ir.Value, row: Any, scale: Any) -> ir.Value:
        return acc


FLOATS: Final = Floats()


def load_vector(builder: ir.IRBuilder, vec: Vec, p: ir.Value, index: int) -> ir.Value:
    """Load vector `index` from p on."""
    where = builder.gep(p, [ir.Constant(_INT64, index * vec.lanes)]) if index else p
    value = builder.load(builder.bitcast(where, llvm_vec(vec).as_pointer()))
    value.align = vec.dtype.bitwidth // 8
    return value


def _strided(builder: ir.IRBuilder, p: ir.Value, stride: ir.Value, count: int) -> list[ir.Value]:
    places = [p]
    for _ in range(1, count):
        places.append(builder.gep(places[-1], [stride]))
    return places


def _unit(builder: ir.IRBuilder, p: ir.Value, k: ir.Value, each: int, head: int) -> ir.Value:
    """Return the address of unit k. each: the elements of a unit. head: the elements before the first."""
    return builder.gep(p, [builder.add(builder.mul(k, ir.Constant(_INT64, each)), ir.Constant(_INT64, head))])


def add_products(
    acc: list[ir.Value],
    rows: int,
    columns: int,
    value: Callable[[int], Any],
    weight: Callable[[int], ir.Value],
    add: Callable[[Any, ir.Value, ir.Value], ir.Value],
) -> None:
    """Replace each acc[m * columns + j] by add(value(m), weight(j), itself), in an order that needs few registers."""
    if _FEW_REGISTERS and rows < columns:
        values = [value(m) for m in range(rows)]
        for j in range(columns):
            one = weight(j)
            for m, each in enumerate(values):
                acc[m * columns + j] = add(each, one, acc[m * columns + j])
        return
    weights = [weight(j) for j in range(columns)]
    for m in range(rows):
        each = value(m)
        for j, one in enumerate(weights, m * columns):
            acc[j] = add(each, one, acc[j])


class _Tile(NamedTuple):
    """Writes the code of a tile of `len(x)` rows times `len(w)` matrices of `vectors` vectors.

    x, w: the addresses of the rows and of the matrices. out: the type of a vector of outputs.
    """

    builder: ir.IRBuilder
    form: TileFormat
    sums: Vec
    out: Vec
    vectors: int
    x: list[ir.Value]
    w: list[ir.Value]

    def begin(self) -> list[ir.Value]:
        """Return the initial sums: row by row, matrix by matrix, vector by vector."""
        each = [self.form.begin(self.builder, self.sums, p, u) for p in self.w for u in range(self.vectors)]
        return each * len(self.x)

    def advance(self, acc: list[ir.Value], k: ir.Value, steps: int) -> list[ir.Value]:
        """Return the sums after units k to k + steps."""
        builder, form, width, acc = self.builder, self.form, self.vectors * self.sums.lanes, [*acc]
        rows = [_unit(builder, p, k, form.x_unit, form.x_head) for p in self.x]
        units = [None] * len(rows)
        matrices = [_unit(builder, p, k, width * form.w_unit, width * form.w_head) for p in self.w]
        for i in range(steps):
            vectors = range(i * self.vectors, (i + 1) * self.vectors)
            places = [(p, u) for p in matrices for u in vectors]
            value, weight = partial(self._value, rows, units, steps, i), partial(self._weight, places)
            add_products(acc, len(rows), len(places), value, weight, partial(form.accumulate, builder, self.sums))
        return acc

    def _weight(self, places: list[tuple[ir.Value, int]], j: int) -> ir.Value:
        return self.form.weight(self.builder, self.sums, *places[j])

    def _value(self, rows: list[ir.Value], units: list[Any], steps: int, i: int, m: int) -> Any:
        """Return unit i of `steps` of row m. If a vector holds several units, `units` keeps the last of each row."""
        builder, form, sums, lanes = self.builder, self.form, self.sums, self.sums.lanes
        if not (_BY_ELEMENT and steps % lanes == 0):
            return form.value(builder, sums, rows[m], i)
        if i % lanes == 0:
            units[m] = form.units(builder, sums, rows[m], i)
        return form.lane(builder, sums, units[m], i % lanes)

    def loop(self, acc: list[ir.Value], k: ir.Value, units: ir.Value, steps: int) -> tuple[list[ir.Value], ir.Value]:
        """Emit a loop that takes `steps` units at a time while all of them lie before `units`; return (sums, k)."""
        builder, before = self.builder, self.builder.block
        head, body, behind = (builder.append_basic_block(name) for name in ("head", "body", "behind"))
        builder.branch(head)
        builder.position_at_end(head)
        phis = [builder.phi(value.type) for value in (k, *acc)]
        further = builder.add(phis[0], ir.Constant(_INT64, steps))
        builder.cbranch(builder.icmp_signed("<=", further, units), body, behind)
        builder.position_at_end(body)
        after = self.advance(phis[1:], phis[0], steps)
        for phi, first, later in zip(phis, (k, *acc), (further, *after), strict=True):
            phi.add_incoming(first, before)
            phi.add_incoming(later, body)
        builder.branch(head)
        builder.position_at_end(behind)
        return phis[1:], phis[0]

    def finish(self, acc: list[ir.Value], starts: list[ir.Value], start_last: ir.Value, outs: list[ir.Value]) -> None:
        """Store out = start + sum; for the last of several matrices, start_last + sum."""
        builder, form, lanes = self.builder, self.form, self.out.lanes
        scales = [form.scale(builder, p, self.vectors, u) for p in self.w for u in range(self.vectors)]
        last = len(scales) - self.vectors if len(self.w) > 1 else len(scales)
        for m, x in enumerate(self.x):
            row = form.row_scale(builder, x)
            for i, scale in enumerate(scales):
                start = load_vector(builder, self.out, *((starts[m], i) if i < last else (start_last, i - last)))
                total = builder.fadd(start, form.scaled(builder, acc[m * len(scales) + i], row, scale))
                where = builder.gep(outs[m], [ir.Constant(_INT64, i * lanes)])
                made = builder.store(total, builder.bitcast(where, llvm_vec(self.out).as_pointer()))
                made.align = self.out.dtype.bitwidth // 8


def largest(builder: Any, rows: tuple[int, ...], most: Any, emit: Callable[[int], None]) -> Any:
    """Emit code for each number of rows; the one for the largest number up to `most` runs. Return that number.

    rows: the numbers, ascending from 1. emit: writes the code for one of them.
    """
    done, behind = [], builder.append_basic_block("behind")
    for some in reversed(rows):
        number = ir.Constant(_INT64, some)
        with builder.if_then(builder.icmp_signed(">=", most, number)):
            emit(some)
            done.append((number, builder.block))
            builder.branch(behind)
    builder.unreachable()
    builder.position_at_end(behind)
    result = builder.phi(_INT64)
    for incoming in done:
        result.add_incoming(*incoming)
    return result


def make_tiles(form: TileFormat, rows: tuple[int, ...], groups: int, vectors: int, steps: int = 4) -> Any:
    """Return multiply(count, x, x_stride, w, apart, units, start, start_stride, start_last, out, out_stride).

    It computes out = start + x w for the first rows of x, those of the largest tile with at most `count` rows, and
    returns their number; `count` is at least 1. rows: the rows of each tile, ascending from 1. A tile has `groups`
    matrices of `vectors` vectors, `apart` elements from each other, and takes `units` units of k, unrolled `steps`
    times. A start stride of 0 adds the same row to all. The last of several groups adds `start_last` instead of start.
    """

    @intrinsic
    def multiply(typingctx, count, x, x_stride, w, apart, units, start, start_stride, start_last, out, out_stride):
        if not (isinstance(x, types.CPointer) and x == w and start == start_last == out):
            return None
        if not isinstance(out, types.CPointer) or (sums := form.sums(x)) is None:
            return None

        def codegen(context, builder, sig, args):
            most, x_at, x_step, w_at, w_step, end, start_at, start_step, last_at, out_at, out_step = args

            def emit(some):
                here = _strided(builder, x_at, x_step, some), _strided(builder, w_at, w_step, groups)
                tile = _Tile(builder, form, sums, vec_of(out.dtype), vectors, *here)
                acc, k = tile.begin(), ir.Constant(_INT64, 0)
                for each in dict.fromkeys((steps, 1)):
                    acc, k = tile.loop(acc, k, end, each)
                starts, outs = _strided(builder, start_at, start_step, some), _strided(builder, out_at, out_step, some)
                tile.finish(acc, starts, last_at, outs)

            return largest(builder, rows, most, emit)

        i = types.int64
        return i(i, x, i, w, i, i, start, i, start, out, i), codegen

    return multiply

"""GEMM: rows times packed panels, which Linear, MatMul and both GEMMs of a GRU use.

    out[m, :] = start[m, :] + x[m, :] W^T           W packed by `fastgru.packing.panels`

A panel is 4, 2 or 1 vectors of outputs wide; its weights lie k by k. Each output is a sum over k in ascending order,
in blocks of `BLOCK` that are summed from zero and then added. The bits are therefore the same for any number of rows
and every tile shape, and the rounding error grows with the block, not with k.

`gemm_panel`, `gemm_gates` and `gemm_pair` are microkernels: handlers call them by address. Rows are divided evenly into
tiles that fill the registers, so the weights are read as few times as possible.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numba.core import types

from fastgru.kernels.operands.gemm import PANEL_VECTORS
from fastgru.kernels.registry import kernel, microkernel
from fastgru.simd.memory import lanes_of, offset
from fastgru.simd.target import IS_X86, REGISTERS
from fastgru.simd.tile import FLOATS, TileFormat, make_tiles

__all__ = [
    "BLOCK", "TILES", "GEMMFormat", "by_parity", "gates_signature", "make_gates", "make_panel", "panel_count",
    "panel_first", "panel_signature", "panel_width", "tiles_of",
]  # fmt: skip


def tiles_of(most: int) -> dict[int, tuple[int, ...]]:
    """Return the rows of the tiles of a panel, by the panel's width; tiles of the widest have up to `most` rows."""
    return {4: tuple(range(1, most + 1)), 2: (1, 2, 4, 6), 1: (1, 2, 4, 6)}


# Tiles of the widest panel leave registers for four weights and a broadcast, or on Arm for a vector of each row.
TILES: Final = tiles_of(3 if REGISTERS < 32 else 6 if IS_X86 else 5)
BLOCK: Final = 256


@kernel
def panel_count(vectors):
    """Return the number of panels that `vectors` vectors of outputs take: fours, then a two, then a one."""
    rest = vectors % 4
    return vectors // 4 + (2 if rest == 3 else 1 if rest else 0)


@kernel
def panel_first(vectors, p):
    """Return the first vector of panel p; for p = panel_count, the number of vectors."""
    fours = vectors // 4
    if p <= fours:
        return 4 * p
    if p == fours + 1 and vectors % 4 == 3:
        return 4 * fours + 2
    return vectors


@kernel
def panel_width(left):
    """Return the vectors of the next panel if `left` are left."""
    if left >= 4:
        return 4
    if left >= 2:
        return 2
    return 1


@kernel
def by_parity(p, first, last, parity):
    """Return the p-th panel of a step: panels ascend on even steps and descend on odd ones."""
    return first + last - 1 - p if parity % 2 == 1 else p


class GEMMFormat(NamedTuple):
    """The layout of rows and panels in memory: k in units of `unit` numbers that are multiplied at once.

    whole: k is padded to a multiple of this. block: units that are summed from zero before they are added.
    types(dtype of the outputs): Numba's types of a pointer to rows and weights, and of one to outputs. steps: units in
    one iteration of the unrolled loop.
    """

    tile: TileFormat
    unit: int
    whole: int
    block: int
    types: Callable[[str], tuple[Any, Any]]
    steps: int = 4

    @property
    def units(self) -> Any:
        """A function units(K), the number of units of a row."""
        each, unit = self.whole, self.unit
        return kernel(lambda K: (K + each - 1) // each * (each // unit))


def _float_types(dtype: str) -> tuple[Any, Any]:
    p = types.CPointer(getattr(types, dtype))
    return p, p


_FLOATS: Final = GEMMFormat(FLOATS, 1, 1, BLOCK, _float_types)


def make_panel(form: GEMMFormat, tiles: Mapping[int, tuple[int, ...]] = TILES) -> Any:
    """Return panel(...), which computes out = start + x W^T for one panel of `width` vectors and all rows.

    K = 0 copies start. tiles: as `TILES`.
    """
    wide, pair, single = (make_tiles(form.tile, tiles[vectors], 1, vectors, form.steps) for vectors in PANEL_VECTORS)
    most, units_of, block = tiles[4][-1], form.units, form.block
    x_block, w_block = block * form.tile.x_unit, block * form.tile.w_unit

    def panel(x, x_stride, rows, w, K, width, start, start_stride, out, out_stride):
        units, none = units_of(K), np.int64(0)
        w_step = w_block * width * lanes_of(out)
        done = 0
        while done == 0 or done < units:
            some = min(units - done, block)
            tiles, m = (rows + most - 1) // most, 0
            while m < rows:
                left = rows - m
                xs, ss, os = offset(x, m * x_stride), offset(start, m * start_stride), offset(out, m * out_stride)
                if width == 4:  # rows are divided evenly
                    m += wide(left // tiles, xs, x_stride, w, none, some, ss, start_stride, ss, os, out_stride)
                    tiles -= 1
                    continue
                left = 4 if left == 8 else left
                if width == 2:
                    m += pair(left, xs, x_stride, w, none, some, ss, start_stride, ss, os, out_stride)
                else:
                    m += single(left, xs, x_stride, w, none, some, ss, start_stride, ss, os, out_stride)
            x, w, start, start_stride = offset(x, x_block), offset(w, w_step), out, out_stride
            done += block

    return panel


def make_gates(form: GEMMFormat, groups: int, depth_of: Any) -> Any:
    """Return gates(...), which multiplies one row by one panel of `groups` matrices at once.

    The many sums keep the arithmetic units busy even with a single row. All groups but the last start from `start`, the
    last from `start_last`. The bits are those of `make_panel`. depth_of(K): elements of an output in the weights.
    """
    wide, pair, single = (make_tiles(form.tile, (1,), groups, vectors, form.steps) for vectors in PANEL_VECTORS)
    units_of, block = form.units, form.block
    x_block, w_block = block * form.tile.x_unit, block * form.tile.w_unit

    def gates(x, w, K, width, start, start_last, out):
        units, one, none, size = units_of(K), np.int64(1), np.int64(0), width * lanes_of(out)
        apart, last = size * depth_of(K), offset(out, (groups - 1) * size)
        done = 0
        while done == 0 or done < units:
            some = min(units - done, block)
            if width == 4:
                wide(one, x, none, w, apart, some, start, none, start_last, out, none)
            elif width == 2:
                pair(one, x, none, w, apart, some, start, none, start_last, out, none)
            else:
                single(one, x, none, w, apart, some, start, none, start_last, out, none)
            x, w, start, start_last = offset(x, x_block), offset(w, w_block * size), out, last
            done += block

    return gates


def panel_signature(form: GEMMFormat) -> Callable[[str], Any]:
    """Return a function of the outputs' dtype that gives Numba's signature of `make_panel`'s function."""

    def signature(dtype: str) -> Any:
        (p, q), i = form.types(dtype), types.int64
        return (p, i, i, p, i, i, q, i, q, i), types.void

    return signature


def gates_signature(form: GEMMFormat) -> Callable[[str], Any]:
    """Return a function of the outputs' dtype that gives Numba's signature of `make_gates`'s function."""

    def signature(dtype: str) -> Any:
        (p, q), i = form.types(dtype), types.int64
        return (p, p, i, i, q, q, q), types.void

    return signature


@kernel
def _depth(K):
    return K


@microkernel("gemm_panel", "float32", "float64", signature=panel_signature(_FLOATS))
def gemm_panel(dtype: str) -> Any:
    """All rows times one panel."""
    return make_panel(_FLOATS)


@microkernel("gemm_gates", "float32", "float64", signature=gates_signature(_FLOATS))
def gemm_gates(dtype: str) -> Any:
    """One row times a panel of three matrices."""
    return make_gates(_FLOATS, 3, _depth)


@microkernel("gemm_pair", "float32", "float64", signature=gates_signature(_FLOATS))
def gemm_pair(dtype: str) -> Any:
    """One row times two adjacent panels."""
    return make_gates(_FLOATS, 2, _depth)

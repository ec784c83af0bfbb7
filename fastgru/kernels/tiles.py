"""GEMM with AMX: blocks of up to 32 rows times panels of low precision, for `kernels.lowp`.

    out[m, :] = start[m, :] + x[m, :] W^T           for quantised rows, W as `fastgru.packing.lowp` packs it

A block of up to 16 rows reads a panel once, four vectors of outputs at a time. A larger block reads two vectors at a
time, and uses each weight for both tiles of rows. A single row is multiplied by vectors, which give the same bits
(`simd.dot`), so the bits do not depend on the number of rows.

Configuring the tiles costs some 200 cycles, as much as 12 operations on full tiles. It is done once a call, and once
more for the rows that are left over. Therefore one call multiplies by the panels of all gates. A step of 8 rows and 256
units has four panels, whose weights take some 8,000 cycles to come from the L2; it spends 800 cycles on configuring
instead of 2,400. A step of 32 rows spends some 800 of 25,000 cycles.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numba.core import types

from fastgru.kernels.gemm import GEMMFormat, make_panel
from fastgru.kernels.operands.gemm import PANEL_VECTORS
from fastgru.kernels.registry import kernel
from fastgru.simd.amx import configure, make_block, release
from fastgru.simd.amx_operations import BLOCK_ROWS, TILE_ROWS
from fastgru.simd.memory import address, lanes_of, offset

__all__ = ["make_panels", "one_panel", "panels_signature"]

_ONE_ROW: Final = dict.fromkeys(PANEL_VECTORS, (1,))


def make_panels(form: GEMMFormat, precision: str, whole: int, depth_of: Any) -> Any:
    """Return panels(x, x_stride, rows, groups, w, K, width, start, start_stride, last, out, out_stride).

    It multiplies by one panel of `width` vectors of each of `groups` matrices, one after the other in w, start and out.
    The sums of the last matrix begin with the row `last` for all rows, unless `last` is the same address as `start`.
    whole: the k of a tile. depth_of(K): elements of an output in the weights.
    """
    wide, pair, single = (make_block(precision, 1, vectors) for vectors in PANEL_VECTORS)
    wide_2, pair_2, single_2 = (make_block(precision, 2, vectors) for vectors in PANEL_VECTORS)
    one_row = kernel(make_panel(form, _ONE_ROW))

    @kernel
    def block(rows, x, x_stride, w, steps, width, start, start_stride, out, out_stride):
        if rows > TILE_ROWS:
            if width == 4:
                wide_2(rows, x, x_stride, w, steps, start, start_stride, out, out_stride)
            elif width == 2:
                pair_2(rows, x, x_stride, w, steps, start, start_stride, out, out_stride)
            else:
                single_2(rows, x, x_stride, w, steps, start, start_stride, out, out_stride)
        elif width == 4:
            wide(rows, x, x_stride, w, steps, start, start_stride, out, out_stride)
        elif width == 2:
            pair(rows, x, x_stride, w, steps, start, start_stride, out, out_stride)
        else:
            single(rows, x, x_stride, w, steps, start, start_stride, out, out_stride)

    def panels(x, x_stride, rows, groups, w, K, width, start, start_stride, last, out, out_stride):
        size, steps = width * lanes_of(out), (K + whole - 1) // whole
        apart, own, configured, m = size * depth_of(K), address(last) != address(start), np.int64(0), 0
        tiles = rows > 1 and K > 0
        while m < rows:
            some = min(rows - m, BLOCK_ROWS) if tiles else rows
            if tiles and some != configured:
                configure(some)
                configured = some
            for g in range(groups):
                begin, step = offset(start, m * start_stride + g * size), start_stride
                if own and g == groups - 1:
                    begin, step = last, np.int64(0)
                xs, ws, to = offset(x, m * x_stride), offset(w, g * apart), offset(out, m * out_stride + g * size)
                if tiles:
                    block(some, xs, x_stride, ws, steps, width, begin, step, to, out_stride)
                else:
                    one_row(xs, x_stride, some, ws, K, width, begin, step, to, out_stride)
            m += some
        if tiles:
            release()

    return panels


def one_panel(panels: Any) -> Any:
    """Return the function of `make_panels` for one matrix, with the arguments of `kernels.gemm.make_panel`'s."""
    of_all = kernel(panels)

    def panel(x, x_stride, rows, w, K, width, start, start_stride, out, out_stride):
        of_all(x, x_stride, rows, 1, w, K, width, start, start_stride, start, out, out_stride)

    return panel


def panels_signature(form: GEMMFormat) -> Callable[[str], Any]:
    """Return a function of the outputs' dtype that gives Numba's signature of `make_panels`'s function."""

    def signature(dtype: str) -> Any:
        (p, q), i = form.types(dtype), types.int64
        return (p, i, i, i, p, i, i, q, i, q, q, i), types.void

    return signature

"""Rows times packed panels: the one matrix product under Linear, MatMul and both products of a GRU.

    out[m, :] = start[m, :] + x[m, :] W^T           W packed by `fastgru.packing.panels`

A panel is 4, 2 or 1 vectors of outputs wide; its weights lie k by k. Each output is a sum over k in ascending order,
in blocks of `BLOCK` summed from zero and then added: the same bits for any number of rows, and a rounding error that
grows with the block, not with k. Every tile shape gives the same bits.
"""

from __future__ import annotations

from typing import Any, Final

from fastgru.kernels.registry import kernel
from fastgru.simd.memory import lanes_of, offset
from fastgru.simd.tile import make_tile

__all__ = ["BLOCK", "PANEL_VECTORS", "panel_width", "product_panel", "product_rows"]

BLOCK: Final = 256
PANEL_VECTORS: Final = (4, 2, 1)  # widest first: what `packing.panels` lays out


def _make_product(rows: int, vectors: int) -> Any:
    tile = make_tile(rows, vectors)
    zero, advance, advance_one, finish, steps = tile.zero, tile.advance, tile.advance_one, tile.finish, tile.steps

    @kernel
    def product(x, x_stride, w, K, start, start_stride, out, out_stride):
        width = vectors * lanes_of(w)
        acc = zero(w)
        k = 0
        while k + steps <= K:
            acc = advance(acc, offset(x, k), x_stride, offset(w, k * width))
            k += steps
        while k < K:
            acc = advance_one(acc, offset(x, k), x_stride, offset(w, k * width))
            k += 1
        finish(acc, start, start_stride, out, out_stride)

    return product


_p14, _p12, _p11 = _make_product(1, 4), _make_product(1, 2), _make_product(1, 1)
_p24, _p22, _p21 = _make_product(2, 4), _make_product(2, 2), _make_product(2, 1)
_p44, _p42, _p41 = _make_product(4, 4), _make_product(4, 2), _make_product(4, 1)
_p64, _p62, _p61 = _make_product(6, 4), _make_product(6, 2), _make_product(6, 1)


@kernel
def panel_width(left):
    """Vectors in the next panel where `left` are left."""
    if left >= 4:
        return 4
    if left >= 2:
        return 2
    return 1


@kernel
def _block(x, x_stride, rows, w, K, width, start, start_stride, out, out_stride):
    m = 0
    while m < rows:
        left = rows - m
        xs, ss, os = offset(x, m * x_stride), offset(start, m * start_stride), offset(out, m * out_stride)
        if left >= 6 and left != 8:
            if width == 4:
                _p64(xs, x_stride, w, K, ss, start_stride, os, out_stride)
            elif width == 2:
                _p62(xs, x_stride, w, K, ss, start_stride, os, out_stride)
            else:
                _p61(xs, x_stride, w, K, ss, start_stride, os, out_stride)
            m += 6
        elif left >= 4:
            if width == 4:
                _p44(xs, x_stride, w, K, ss, start_stride, os, out_stride)
            elif width == 2:
                _p42(xs, x_stride, w, K, ss, start_stride, os, out_stride)
            else:
                _p41(xs, x_stride, w, K, ss, start_stride, os, out_stride)
            m += 4
        elif left >= 2:
            if width == 4:
                _p24(xs, x_stride, w, K, ss, start_stride, os, out_stride)
            elif width == 2:
                _p22(xs, x_stride, w, K, ss, start_stride, os, out_stride)
            else:
                _p21(xs, x_stride, w, K, ss, start_stride, os, out_stride)
            m += 2
        else:
            if width == 4:
                _p14(xs, x_stride, w, K, ss, start_stride, os, out_stride)
            elif width == 2:
                _p12(xs, x_stride, w, K, ss, start_stride, os, out_stride)
            else:
                _p11(xs, x_stride, w, K, ss, start_stride, os, out_stride)
            m += 1


@kernel
def product_panel(x, x_stride, rows, w, K, width, start, start_stride, out, out_stride):
    """One panel of `width` vectors, all rows: out = start + x W^T. K = 0 copies start."""
    lanes = lanes_of(w)
    _block(x, x_stride, rows, w, min(K, BLOCK), width, start, start_stride, out, out_stride)
    k = BLOCK
    while k < K:
        size = min(K - k, BLOCK)
        _block(
            offset(x, k), x_stride, rows, offset(w, k * width * lanes), size, width, out, out_stride, out, out_stride
        )
        k += BLOCK


@kernel
def product_rows(x, x_stride, rows, w, K, vectors, groups, start, start_stride, out, out_stride):
    """Every panel of a matrix of `vectors` vectors of outputs, `groups` matrices interleaved panel by panel.

    A row of `start` and `out` holds, panel after panel, `groups` runs of the panel's width.
    """
    lanes = lanes_of(w)
    v = 0
    while v < vectors:
        width = panel_width(vectors - v)
        for g in range(groups):
            at = (groups * v + g * width) * lanes
            product_panel(
                x,
                x_stride,
                rows,
                offset(w, at * K),
                K,
                width,
                offset(start, at),
                start_stride,
                offset(out, at),
                out_stride,
            )
        v += width

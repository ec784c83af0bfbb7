"""Rows times packed panels: the one matrix product under Linear, MatMul and both products of a GRU.

    out[m, :] = start[m, :] + x[m, :] W^T           W packed by `fastgru.packing.panels`

A panel is 4, 2 or 1 vectors of outputs wide; its weights lie k by k. Each output is a sum over k in ascending order,
in blocks of `BLOCK` summed from zero and then added: the same bits for any number of rows, and a rounding error that
grows with the block, not with k. Every tile shape gives the same bits.

`gemm_panel`, `gemm_gates` and `gemm_pair` are parts of the dispatch table: handlers call them by address.
Rows are dealt evenly to tiles of as many as the registers hold, so that the weights pass by as few times as can be.
"""

from __future__ import annotations

from typing import Any, Final

from numba.core import types

from fastgru.kernels.registry import kernel, microkernel
from fastgru.simd.cpu import REGISTERS
from fastgru.simd.memory import call_native, lanes_of, offset
from fastgru.simd.tile import make_gates, make_tile

__all__ = [
    "BLOCK", "by_parity", "panel_count", "panel_first", "panel_width", "product_panels",
]  # fmt: skip

# Rows of the widest tile: four accumulators each, and room for four weights and a broadcast.
_MOST_ROWS: Final = 6 if REGISTERS >= 32 else 3
BLOCK: Final = 256


@kernel
def panel_count(vectors):
    """Panels that `vectors` vectors of outputs take: fours, then a two, then a one."""
    rest = vectors % 4
    return vectors // 4 + (2 if rest == 3 else 1 if rest else 0)


@kernel
def panel_first(vectors, p):
    """The first vector of panel p; of p = panel_count, all of them."""
    fours = vectors // 4
    if p <= fours:
        return 4 * p
    if p == fours + 1 and vectors % 4 == 3:
        return 4 * fours + 2
    return vectors


@kernel
def panel_width(left):
    """Vectors in the next panel where `left` are left."""
    if left >= 4:
        return 4
    if left >= 2:
        return 2
    return 1


@kernel
def by_parity(p, first, last, parity):
    """The p-th panel of a step: ascending on even steps, descending on odd."""
    return first + last - 1 - p if parity % 2 == 1 else p


def _make_product(rows: int, vectors: int) -> Any:
    steps, zero, advance, advance_one, finish = make_tile(rows, vectors)

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
_p34, _p54 = _make_product(3, 4), _make_product(5, 4)
_p44, _p42, _p41 = _make_product(4, 4), _make_product(4, 2), _make_product(4, 1)
_p64, _p62, _p61 = _make_product(6, 4), _make_product(6, 2), _make_product(6, 1)


@kernel
def _wide(x, x_stride, rows, w, K, start, start_stride, out, out_stride):
    tiles = (rows + _MOST_ROWS - 1) // _MOST_ROWS
    m = 0
    for i in range(tiles):
        count = (rows - m) // (tiles - i)
        xs, ss, os = offset(x, m * x_stride), offset(start, m * start_stride), offset(out, m * out_stride)
        if count == 6:
            _p64(xs, x_stride, w, K, ss, start_stride, os, out_stride)
        elif count == 5:
            _p54(xs, x_stride, w, K, ss, start_stride, os, out_stride)
        elif count == 4:
            _p44(xs, x_stride, w, K, ss, start_stride, os, out_stride)
        elif count == 3:
            _p34(xs, x_stride, w, K, ss, start_stride, os, out_stride)
        elif count == 2:
            _p24(xs, x_stride, w, K, ss, start_stride, os, out_stride)
        else:
            _p14(xs, x_stride, w, K, ss, start_stride, os, out_stride)
        m += count


@kernel
def _narrow(x, x_stride, rows, w, K, width, start, start_stride, out, out_stride):
    m = 0
    while m < rows:
        left = rows - m
        xs, ss, os = offset(x, m * x_stride), offset(start, m * start_stride), offset(out, m * out_stride)
        if left >= 6 and left != 8:
            if width == 2:
                _p62(xs, x_stride, w, K, ss, start_stride, os, out_stride)
            else:
                _p61(xs, x_stride, w, K, ss, start_stride, os, out_stride)
            m += 6
        elif left >= 4:
            if width == 2:
                _p42(xs, x_stride, w, K, ss, start_stride, os, out_stride)
            else:
                _p41(xs, x_stride, w, K, ss, start_stride, os, out_stride)
            m += 4
        elif left >= 2:
            if width == 2:
                _p22(xs, x_stride, w, K, ss, start_stride, os, out_stride)
            else:
                _p21(xs, x_stride, w, K, ss, start_stride, os, out_stride)
            m += 2
        else:
            if width == 2:
                _p12(xs, x_stride, w, K, ss, start_stride, os, out_stride)
            else:
                _p11(xs, x_stride, w, K, ss, start_stride, os, out_stride)
            m += 1


def _panel_signature(dtype: str) -> Any:
    p, i = types.CPointer(getattr(types, dtype)), types.int64
    return (p, i, i, p, i, i, p, i, p, i), types.void


@microkernel("gemm_panel", "float32", "float64", signature=_panel_signature)
def product_panel_part(dtype: str) -> Any:
    """One panel of `width` vectors, all rows: out = start + x W^T. K = 0 copies start."""

    def gemm_panel(x, x_stride, rows, w, K, width, start, start_stride, out, out_stride):
        lanes = lanes_of(w)
        k = 0
        while k == 0 or k < K:
            size = min(K - k, BLOCK)
            if width == 4:
                _wide(x, x_stride, rows, w, size, start, start_stride, out, out_stride)
            else:
                _narrow(x, x_stride, rows, w, size, width, start, start_stride, out, out_stride)
            x, w = offset(x, size), offset(w, size * width * lanes)
            start, start_stride = out, out_stride
            k += BLOCK

    return gemm_panel


@kernel
def product_panels(
    panel, x, x_stride, rows, w, K, depth, vectors, groups, first, last, start, start_stride, out, out_stride
):
    """Panels `first` to `last` of a matrix of `vectors` vectors of outputs, `groups` matrices interleaved.

    `panel` is the address of the part "gemm_panel", or of one of its like; `depth` the elements of w that an output
    takes, K here. A row of `start` and `out` holds, panel after panel, `groups`
    runs of the panel's width.
    """
    lanes = lanes_of(out)
    for p in range(first, last):
        v = panel_first(vectors, p)
        width = panel_width(vectors - v)
        for g in range(groups):
            at = (groups * v + g * width) * lanes
            call_native(
                panel, x, x_stride, rows, offset(w, at * depth), K, width,
                offset(start, at), start_stride, offset(out, at), out_stride,
            )  # fmt: skip


def _make_gates(groups: int, vectors: int) -> Any:
    steps, zero, advance, advance_one, finish = make_gates(groups, vectors)

    @kernel
    def product(x, w, K, start, start_last, out):
        width = vectors * lanes_of(w)
        apart = K * width
        done = 0
        while done == 0 or done < K:
            stop = min(K, done + BLOCK)
            acc = zero(w)
            k = done
            while k + steps <= stop:
                acc = advance(acc, offset(x, k), apart, offset(w, k * width))
                k += steps
            while k < stop:
                acc = advance_one(acc, offset(x, k), apart, offset(w, k * width))
                k += 1
            finish(acc, start, start_last, out)
            start, start_last = out, offset(out, (groups - 1) * width)
            done += BLOCK

    return product


_g34, _g32, _g31 = _make_gates(3, 4), _make_gates(3, 2), _make_gates(3, 1)


def _gates_signature(dtype: str) -> Any:
    p, i = types.CPointer(getattr(types, dtype)), types.int64
    return (p, p, i, i, p, p, p), types.void


@microkernel("gemm_gates", "float32", "float64", signature=_gates_signature)
def product_gates_part(dtype: str) -> Any:
    """One row times one panel of three matrices at once: many chains, so that a single row keeps the units busy.

    The first two groups start from `start`, the third from `start_last`; the bits are those of `gemm_panel`.
    """

    def gemm_gates(x, w, K, width, start, start_last, out):
        if width == 4:
            _g34(x, w, K, start, start_last, out)
        elif width == 2:
            _g32(x, w, K, start, start_last, out)
        else:
            _g31(x, w, K, start, start_last, out)

    return gemm_gates


_g24, _g22, _g21 = _make_gates(2, 4), _make_gates(2, 2), _make_gates(2, 1)


@microkernel("gemm_pair", "float32", "float64", signature=_gates_signature)
def product_pair_part(dtype: str) -> Any:
    """One row times two panels that lie one after the other: `gemm_gates` with two groups."""

    def gemm_pair(x, w, K, width, start, start_last, out):
        if width == 4:
            _g24(x, w, K, start, start_last, out)
        elif width == 2:
            _g22(x, w, K, start, start_last, out)
        else:
            _g21(x, w, K, start, start_last, out)

    return gemm_pair

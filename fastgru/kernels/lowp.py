"""Products with weights of 16 and 8 bits: rows of floats made ready, then tiles as in `kernels.gemm`.

    rows    (x, x_stride, rows, K, out, out_stride): each row rounded to bfloat16, or quantised by its own scale
    panel   out[m, :] = start[m, :] + x[m, :] W^T for one panel and rows that are ready
    gates   one row times one panel of three matrices at once

The parts of a precision have one signature each, with rows and weights as bytes; `WEIGHTS` says what a handler has to
know of them: where the panels lie, how long a row is. Within one instruction set a row gets the same bits from every
tile; with int8 from every instruction set. A row of int8 that holds NaN or an infinity has the scale NaN and no values:
its outputs are NaN, and it does not touch those of others.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numba.core import types

from fastgru.kernels.gemm import BLOCK
from fastgru.kernels.operands.lowp import INT8_GROUP, INT8_HEAD, INT8_SCALE, INT8_UNIT, LEAST_PEAK, LOWP
from fastgru.kernels.registry import kernel, microkernel
from fastgru.simd.cpu import REGISTERS
from fastgru.simd.dot import (
    BFLOAT16,
    largest,
    make_int8_tile,
    no_bits,
    peak_bits,
    store_bfloat16,
    store_int8,
)
from fastgru.simd.memory import address, lanes_of, load, load_tail, offset, pointer
from fastgru.simd.tile import make_gates, make_tile
from fastgru.simd.vector import exact, splat

__all__ = ["WEIGHTS", "LowpWeights"]

_MOST_ROWS: Final = 6 if REGISTERS >= 32 else 3


class LowpWeights(NamedTuple):
    """A `Layout` whose functions are compiled, and value(v): a sum, as the gates take it."""

    depth: Any
    row: Any
    value: Any
    parts: tuple[str, str, str]


@kernel
def _as_it_is(v):
    return v


@kernel
def _exact(v):
    return exact(v)


def _compiled(precision: str, value: Any) -> LowpWeights:
    layout = LOWP[precision]
    return LowpWeights(kernel(layout.depth), kernel(layout.row), value, layout.parts)


WEIGHTS: Final = {"bfloat16": _compiled("bfloat16", _as_it_is), "int8": _compiled("int8", _exact)}
_bfloat16_depth, _int8_depth = WEIGHTS["bfloat16"].depth, WEIGHTS["int8"].depth

_BYTES, _FLOATS, _INT = types.CPointer(types.uint8), types.CPointer(types.float32), types.int64
_ROWS = (_FLOATS, _INT, _INT, _INT, _BYTES, _INT), types.void
_PANEL = (_BYTES, _INT, _INT, _BYTES, _INT, _INT, _FLOATS, _INT, _FLOATS, _INT), types.void
_GATES = (_BYTES, _BYTES, _INT, _INT, _FLOATS, _FLOATS, _FLOATS), types.void


@microkernel("bfloat16_quantise", "float32", signature=lambda dtype: _ROWS)
def bfloat16_quantise_part(dtype: str) -> Any:
    """Rows rounded to bfloat16."""

    def bfloat16_quantise(x, x_stride, rows, K, out, out_stride):
        lanes = lanes_of(x)
        whole = K // lanes * lanes
        for m in range(rows):
            source, target = offset(x, m * x_stride), offset(out, m * out_stride)
            for i in range(0, whole, lanes):
                store_bfloat16(target, i, load(source, i))
            if whole < K:
                store_bfloat16(target, whole, load_tail(source, whole, K - whole))

    return bfloat16_quantise


@microkernel("int8_quantise", "float32", signature=lambda dtype: _ROWS)
def int8_quantise_part(dtype: str) -> Any:
    """Rows quantised, each by the scale max|x| / 127, which stands in front of it."""
    nan, zero, steps, least, most = (np.float32(c) for c in (np.nan, 0, 127, LEAST_PEAK, np.finfo(np.float32).max))

    def int8_quantise(x, x_stride, rows, K, out, out_stride):
        lanes = lanes_of(x)
        whole = K // lanes * lanes
        for m in range(rows):
            source, target = offset(x, m * x_stride), offset(out, m * out_stride)
            peaks = no_bits()
            for i in range(0, whole, lanes):
                peaks = peak_bits(peaks, load(source, i))
            if whole < K:
                peaks = peak_bits(peaks, load_tail(source, whole, K - whole))
            peak = largest(peaks)
            scale, factor = nan, zero
            if peak < least:
                scale = zero
            elif peak <= most:
                scale, factor = peak / steps, steps / peak
            pointer(address(target), "float32")[0] = scale
            values, by = offset(target, INT8_SCALE), splat(factor)
            for i in range(0, whole, lanes):
                store_int8(values, i, load(source, i) * by)
            if whole < K:
                store_int8(values, whole, load_tail(source, whole, K - whole) * by)

    return int8_quantise


def _make_bfloat16_panel(rows: int, vectors: int) -> Any:
    steps, zero, advance, advance_one, finish = make_tile(rows, vectors, form=BFLOAT16)

    @kernel
    def product(x, x_stride, w, K, start, start_stride, out, out_stride):
        """Blocks as in `kernels.gemm`."""
        each = vectors * lanes_of(out) * 4
        units, block = (K + 1) // 2, BLOCK // 2
        done = 0
        while done == 0 or done < units:
            stop = min(units, done + block)
            acc = zero(w)
            k = done
            while k + steps <= stop:
                acc = advance(acc, offset(x, 4 * k), x_stride, offset(w, k * each))
                k += steps
            while k < stop:
                acc = advance_one(acc, offset(x, 4 * k), x_stride, offset(w, k * each))
                k += 1
            finish(acc, start, start_stride, out, out_stride)
            start, start_stride = out, out_stride
            done += block

    return product


def _make_int8_panel(rows: int, vectors: int) -> Any:
    steps, begin, advance, advance_one, finish = make_int8_tile(rows, 1, vectors)

    @kernel
    def product(x, x_stride, w, K, start, start_stride, out, out_stride):
        width = vectors * lanes_of(out)
        each, units = width * INT8_GROUP, (K + INT8_GROUP - 1) // INT8_GROUP
        none = np.int64(0)
        acc = begin(w, none)
        values, weights = offset(x, INT8_SCALE), offset(w, width * INT8_HEAD)
        k = 0
        while k + steps <= units:
            acc = advance(acc, offset(values, INT8_UNIT * k), x_stride, offset(weights, k * each))
            k += steps
        while k < units:
            acc = advance_one(acc, offset(values, INT8_UNIT * k), x_stride, offset(weights, k * each))
            k += 1
        finish(acc, w, none, x, x_stride, start, start_stride, start, out, out_stride)

    return product


def _make_panel(make: Any) -> Any:
    """All rows by one panel: rows dealt evenly to tiles of as many as the registers hold."""
    p14, p24, p34 = make(1, 4), make(2, 4), make(3, 4)
    p44, p54, p64 = (make(r, 4) for r in (4, 5, 6)) if _MOST_ROWS == 6 else (p14, p14, p14)
    p12, p42, p11, p41 = make(1, 2), make(4, 2), make(1, 1), make(4, 1)

    def panel(x, x_stride, rows, w, K, width, start, start_stride, out, out_stride):
        most = _MOST_ROWS if width == 4 else 4
        tiles = (rows + most - 1) // most
        m = 0
        while m < rows:
            count = (rows - m) // tiles if width == 4 else 4 if rows - m >= 4 else 1
            xs, ss, os = offset(x, m * x_stride), offset(start, m * start_stride), offset(out, m * out_stride)
            if width == 4:
                if _MOST_ROWS == 6 and count == 6:
                    p64(xs, x_stride, w, K, ss, start_stride, os, out_stride)
                elif _MOST_ROWS == 6 and count == 5:
                    p54(xs, x_stride, w, K, ss, start_stride, os, out_stride)
                elif _MOST_ROWS == 6 and count == 4:
                    p44(xs, x_stride, w, K, ss, start_stride, os, out_stride)
                elif count == 3:
                    p34(xs, x_stride, w, K, ss, start_stride, os, out_stride)
                elif count == 2:
                    p24(xs, x_stride, w, K, ss, start_stride, os, out_stride)
                else:
                    p14(xs, x_stride, w, K, ss, start_stride, os, out_stride)
                tiles -= 1
            elif width == 2:
                if count == 4:
                    p42(xs, x_stride, w, K, ss, start_stride, os, out_stride)
                else:
                    p12(xs, x_stride, w, K, ss, start_stride, os, out_stride)
            elif count == 4:
                p41(xs, x_stride, w, K, ss, start_stride, os, out_stride)
            else:
                p11(xs, x_stride, w, K, ss, start_stride, os, out_stride)
            m += count

    return panel


@microkernel("bfloat16_panel", "float32", signature=lambda dtype: _PANEL)
def bfloat16_panel_part(dtype: str) -> Any:
    """One panel of `width` vectors, all rows, in bfloat16."""
    return _make_panel(_make_bfloat16_panel)


@microkernel("int8_panel", "float32", signature=lambda dtype: _PANEL)
def int8_panel_part(dtype: str) -> Any:
    """One panel of `width` vectors, all rows, in int8."""
    return _make_panel(_make_int8_panel)


def _make_bfloat16_gates(vectors: int) -> Any:
    steps, zero, advance, advance_one, finish = make_gates(3, vectors, form=BFLOAT16)

    @kernel
    def product(x, w, K, start, start_last, out):
        width = vectors * lanes_of(out)
        each, apart = 4 * width, width * _bfloat16_depth(K)
        units, block = (K + 1) // 2, BLOCK // 2
        done = 0
        while done == 0 or done < units:
            stop = min(units, done + block)
            acc = zero(w)
            k = done
            while k + steps <= stop:
                acc = advance(acc, offset(x, 4 * k), apart, offset(w, k * each))
                k += steps
            while k < stop:
                acc = advance_one(acc, offset(x, 4 * k), apart, offset(w, k * each))
                k += 1
            finish(acc, start, start_last, out)
            start, start_last = out, offset(out, 2 * width)
            done += block

    return product


def _make_int8_gates(vectors: int) -> Any:
    steps, begin, advance, advance_one, finish = make_int8_tile(1, 3, vectors)

    @kernel
    def product(x, w, K, start, start_last, out):
        width = vectors * lanes_of(out)
        each, units = width * INT8_GROUP, (K + INT8_GROUP - 1) // INT8_GROUP
        apart = width * _int8_depth(K)
        none = np.int64(0)
        acc = begin(w, apart)
        values, weights = offset(x, INT8_SCALE), offset(w, width * INT8_HEAD)
        k = 0
        while k + steps <= units:
            acc = advance(acc, offset(values, INT8_UNIT * k), apart, offset(weights, k * each))
            k += steps
        while k < units:
            acc = advance_one(acc, offset(values, INT8_UNIT * k), apart, offset(weights, k * each))
            k += 1
        finish(acc, w, apart, x, none, start, none, start_last, out, none)

    return product


def _make_gates_part(make: Any) -> Any:
    g4, g2, g1 = make(4), make(2), make(1)

    def gates(x, w, K, width, start, start_last, out):
        if width == 4:
            g4(x, w, K, start, start_last, out)
        elif width == 2:
            g2(x, w, K, start, start_last, out)
        else:
            g1(x, w, K, start, start_last, out)

    return gates


@microkernel("bfloat16_gates", "float32", signature=lambda dtype: _GATES)
def bfloat16_gates_part(dtype: str) -> Any:
    """One row times one panel of three matrices, in bfloat16."""
    return _make_gates_part(_make_bfloat16_gates)


@microkernel("int8_gates", "float32", signature=lambda dtype: _GATES)
def int8_gates_part(dtype: str) -> Any:
    """One row times one panel of three matrices, in int8."""
    return _make_gates_part(_make_int8_gates)

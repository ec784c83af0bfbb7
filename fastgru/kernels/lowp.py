"""GEMM with weights of 16 and 8 bits: rows of floats are quantised, then multiplied in tiles as in `kernels.gemm`.

    quantise    (x, x_stride, rows, K, out, out_stride): each row rounded to bfloat16, or quantised by its own scale
    panel       out[m, :] = start[m, :] + x[m, :] W^T for one panel and quantised rows
    gates       one row times one panel of three matrices at once
    panels      with AMX (`kernels.tiles`): any rows times one panel of several matrices, one after the other

Microkernels of the same kind have the same signature for both precisions, with rows and weights as bytes. `WEIGHTS` has
what a handler must know: the sizes of panels and rows. Within one target a row has the same bits in every tile, with
int8 on every target. A row of int8 that holds NaN or an infinity gets the scale NaN and zero values: its outputs are
NaN, and those of other rows are not affected.
"""

from typing import Any, Final, NamedTuple

import numpy as np
from numba.core import types

from fastgru.kernels.gemm import (
    BLOCK,
    TILES,
    GEMMFormat,
    gates_signature,
    make_gates,
    make_panel,
    panel_signature,
    tiles_of,
)
from fastgru.kernels.operands.lowp import (
    BFLOAT16_GROUP,
    BFLOAT16_WHOLE,
    INT8_GROUP,
    INT8_LIMIT,
    INT8_SCALE,
    INT8_WHOLE,
    LEAST_PEAK,
    LOWP,
)
from fastgru.kernels.registry import kernel, microkernel
from fastgru.kernels.tiles import make_panels, one_panel, panels_signature
from fastgru.simd.dot import BFLOAT16, INT8
from fastgru.simd.memory import address, lanes_of, load, load_tail, offset, pointer
from fastgru.simd.quantise import largest, no_bits, peak_bits, store_bfloat16, store_int8
from fastgru.simd.target import AMX, DOT_BFLOAT16, DOT_INT8, IS_X86, REGISTERS
from fastgru.simd.vector import exact, splat

__all__ = ["WEIGHTS", "LowpWeights"]


class LowpWeights(NamedTuple):
    """A `LowpLayout` whose functions are compiled. value(v): converts a sum for the gates."""

    depth: Any
    row: Any
    value: Any
    microkernels: tuple[str, str, str]
    uses: tuple[str, ...]


@kernel
def _as_it_is(v):
    return v


@kernel
def _exact(v):
    return exact(v)


def _compiled(precision: str, value: Any) -> LowpWeights:
    layout = LOWP[precision]
    return LowpWeights(kernel(layout.depth), kernel(layout.row), value, *layout[2:])


WEIGHTS: Final = {"bfloat16": _compiled("bfloat16", _as_it_is), "int8": _compiled("int8", _exact)}

_BFLOAT16_USES, _INT8_USES = ("bf16", *LOWP["bfloat16"].uses), LOWP["int8"].uses

_BYTES, _FLOATS, _INT = types.CPointer(types.uint8), types.CPointer(types.float32), types.int64
_ROWS = (_FLOATS, _INT, _INT, _INT, _BYTES, _INT), types.void


@microkernel("bfloat16_quantise", "float32", signature=lambda dtype: _ROWS, uses=LOWP["bfloat16"].uses)
def bfloat16_quantise(dtype: str) -> Any:
    """Round rows to bfloat16, and with AMX pad them with zeros."""
    row_of, zero, padded = WEIGHTS["bfloat16"].row, np.float32(0), bool(AMX)

    def quantise(x, x_stride, rows, K, out, out_stride):
        lanes = lanes_of(x)
        whole = K // lanes * lanes
        for m in range(rows):
            source, target = offset(x, m * x_stride), offset(out, m * out_stride)
            for i in range(0, whole, lanes):
                store_bfloat16(target, i, load(source, i))
            if whole < K:
                store_bfloat16(target, whole, load_tail(source, whole, K - whole))
            if padded:
                for i in range((K + lanes - 1) // lanes * lanes, row_of(K) // 2, lanes):
                    store_bfloat16(target, i, splat(zero))

    return quantise


@microkernel("int8_quantise", "float32", signature=lambda dtype: _ROWS, uses=_INT8_USES)
def int8_quantise(dtype: str) -> Any:
    """Quantise rows, each by the scale max|x| / 127, which precedes its values."""
    nan, zero, steps, least, most = (np.float32(c) for c in (np.nan, 0, 127, LEAST_PEAK, np.finfo(np.float32).max))

    def quantise(x, x_stride, rows, K, out, out_stride):
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

    return quantise


_WHOLES: Final = {"bfloat16": BFLOAT16_WHOLE, "int8": INT8_WHOLE}


def _types(dtype: str) -> tuple[Any, Any]:
    return _BYTES, _FLOATS


# With AMX's order of additions, a block is a tile, and two sums for each output fill the registers: unrolling would
# spill them.
_BLOCK, _STEPS = (BFLOAT16_WHOLE, 1) if AMX else (BLOCK, 4)
_BFLOAT16: Final = GEMMFormat(BFLOAT16, BFLOAT16_GROUP, BFLOAT16_WHOLE, _BLOCK // BFLOAT16_GROUP, _types, _STEPS)
_INT8: Final = GEMMFormat(INT8, INT8_GROUP, INT8_GROUP, INT8_LIMIT, _types)
# Tiles that widen numbers have fewer rows if widening needs registers of the sums.
_WIDENING_INT8: Final = tiles_of(4) if not IS_X86 else TILES if REGISTERS >= 32 else tiles_of(2)
_TILES: Final = {
    "bfloat16": TILES if IS_X86 or DOT_BFLOAT16 else tiles_of(3),
    "int8": TILES if DOT_INT8 else _WIDENING_INT8,
}


def _panels(form: GEMMFormat, precision: str) -> Any:
    return make_panels(form, precision, _WHOLES[precision], WEIGHTS[precision].depth)


def _panel(form: GEMMFormat, precision: str) -> Any:
    return one_panel(_panels(form, precision)) if AMX else make_panel(form, _TILES[precision])


@microkernel("bfloat16_panel", "float32", signature=panel_signature(_BFLOAT16), uses=_BFLOAT16_USES)
def bfloat16_panel(dtype: str) -> Any:
    """All rows times one panel, in bfloat16."""
    return _panel(_BFLOAT16, "bfloat16")


@microkernel("int8_panel", "float32", signature=panel_signature(_INT8), uses=_INT8_USES)
def int8_panel(dtype: str) -> Any:
    """All rows times one panel, in int8. Sums are exact, so all of k is one block."""
    return _panel(_INT8, "int8")


if AMX:

    @microkernel("bfloat16_panels", "float32", signature=panels_signature(_BFLOAT16), uses=_BFLOAT16_USES)
    def bfloat16_panels(dtype: str) -> Any:
        """All rows times one panel of several matrices, in bfloat16."""
        return _panels(_BFLOAT16, "bfloat16")

    @microkernel("int8_panels", "float32", signature=panels_signature(_INT8), uses=_INT8_USES)
    def int8_panels(dtype: str) -> Any:
        """All rows times one panel of several matrices, in int8."""
        return _panels(_INT8, "int8")


@microkernel("bfloat16_gates", "float32", signature=gates_signature(_BFLOAT16), uses=_BFLOAT16_USES)
def bfloat16_gates(dtype: str) -> Any:
    """One row times one panel of three matrices, in bfloat16."""
    return make_gates(_BFLOAT16, 3, WEIGHTS["bfloat16"].depth)


@microkernel("int8_gates", "float32", signature=gates_signature(_INT8), uses=_INT8_USES)
def int8_gates(dtype: str) -> Any:
    """One row times one panel of three matrices, in int8."""
    return make_gates(_INT8, 3, WEIGHTS["int8"].depth)

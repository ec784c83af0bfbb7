"""Convolutions of small images: vectors hold output channels, and a few pixels are computed at a time.

    y[o, i] = bias[o] + sum over k of w[o, k] * x[pixel(i) + tap[k]]

The pixels of a tile may lie anywhere, so rows that are shorter than a vector, phases of a transposed convolution and
several images fill tiles as well. Taps at which all pixels of a tile would read the padding are left out.

Each output is the same sum as in `kernels.conv`, with the same bits. The sums of each pixel are clamped, multiplied by
a slope if negative, and transposed at the end.
"""

from typing import Any, Final

import numpy as np

from fastgru.kernels.gemm import panel_width
from fastgru.kernels.movement import transpose_plane
from fastgru.kernels.operands.conv import BLOCK, CONV_PANEL, MOST_PIXELS, PANEL_PHASE, TILE
from fastgru.kernels.operands.gemm import PANEL_VECTORS
from fastgru.kernels.operands.team import LOOK_WORK
from fastgru.kernels.registry import handler, kernel, tensor
from fastgru.kernels.rows import copy_row
from fastgru.kernels.team import spend
from fastgru.kernels.windows import pad_zeros
from fastgru.simd.memory import address, broadcast, lanes_of, load, offset, pointer, store
from fastgru.simd.pixeltile import make_pixel_tiles
from fastgru.simd.target import REGISTERS
from fastgru.simd.vector import maximum, minimum, select, splat

__all__ = ["conv_panel"]

AT, OF = CONV_PANEL.at, PANEL_PHASE.at

# Vectors of the widest panel whose sums fit the registers, for all pixels of a tile.
_WIDEST: Final = 4 if REGISTERS >= 32 else 2
_fours, _twos, _ones = (make_pixel_tiles(MOST_PIXELS, min(width, _WIDEST), width) for width in PANEL_VECTORS)


@kernel
def _panel(x, w, K, width, table, first, tiles, start, stage):
    """Compute one panel of outputs for all tiles of a phase. first: the index of the first tile in `table`."""
    blocks = max((K + BLOCK - 1) // BLOCK, 1)
    for t in range(tiles):
        tile = offset(table, first + t * TILE.words)
        count, pixels, ends = tile[TILE.count], offset(tile, TILE.pixels), offset(table, tile[TILE.inputs])
        entries = offset(ends, blocks + 1)
        for b in range(blocks):
            some, units = offset(entries, 2 * ends[b]), ends[b + 1] - ends[b]
            if width == 4:
                for u in range(0, 4 * lanes_of(x), _WIDEST * lanes_of(x)):
                    _fours(count, pixels, x, some, units, offset(w, u), offset(start, u), b, offset(stage, u))
            elif width == 2:
                _twos(count, pixels, x, some, units, w, start, b, stage)
            else:
                _ones(count, pixels, x, some, units, w, start, b, stage)


@kernel
def _finish(stage, pixels, row, limits, slope, zero):
    """Clamp the sums, and multiply those that are negative by the slope."""
    lanes = lanes_of(stage)
    for p in range(pixels):
        for i in range(0, row, lanes):
            value = load(stage, p * row + i)
            if address(limits) != 0:
                value = minimum(maximum(value, broadcast(limits, 0)), broadcast(limits, 1))
            if address(slope) != 0:
                value = select(value < splat(zero), value * load(slope, i), value)
            store(stage, p * row + i, value)


@kernel
def _by_channel(stage, row, pixels, O, y, y_channel):
    """y (O, pixels) = the transposed stage (pixels, O)."""
    if pixels == 1 and y_channel == 1:
        copy_row(stage, y, O)
    elif pixels >= 4 and O >= 4:
        transpose_plane(stage, y, O, pixels, row, y_channel)
    else:
        for o in range(O):
            for p in range(pixels):
                y[o * y_channel + p] = stage[p * row + o]


@handler("conv_panel", "float32", "float64")
def conv_panel(dtype: str) -> Any:
    """y = x * w + bias, then clamped to the limits, then multiplied by the slope where it is negative."""
    zero = np.dtype(dtype).type(0)

    def handle(operands, bases, team):
        x, w = pointer(tensor(bases, operands, AT.x), dtype), pointer(tensor(bases, operands, AT.w), dtype)
        start, slope = (
            pointer(tensor(bases, operands, AT.start), dtype),
            pointer(tensor(bases, operands, AT.slope), dtype),
        )
        limits, y = pointer(tensor(bases, operands, AT.limits), dtype), pointer(tensor(bases, operands, AT.y), dtype)
        scratch = pointer(tensor(bases, operands, AT.scratch), dtype)
        stage = pointer(tensor(bases, operands, AT.stage), dtype)
        table = pointer(tensor(bases, operands, AT.table), "int64")
        together, groups, O = operands[AT.together], operands[AT.groups], operands[AT.O]
        padded_O, plane = operands[AT.padded_O], operands[AT.plane]
        x_image, y_image, y_channel = operands[AT.x_image], operands[AT.y_image], operands[AT.y_channel]
        lanes, row, left = lanes_of(x), groups * padded_O, np.int64(LOOK_WORK)
        for n in range(0, operands[AT.images], together):
            source, target = offset(x, n * x_image), offset(y, n * y_image)
            if operands[AT.padded] != 0:
                for i in range(together):
                    pad_zeros(
                        offset(source, i * x_image), offset(operands, AT.pad), zero,
                        offset(scratch, i * operands[AT.apart]),
                    )  # fmt: skip
                source = scratch
            for p in range(operands[AT.phases]):
                phase = offset(operands, AT.each + p * OF.words)
                K, tiles, first = phase[OF.K], phase[OF.tiles], phase[OF.table]
                for g in range(groups):
                    v = 0
                    while v < padded_O // lanes:
                        width = panel_width(padded_O // lanes - v)
                        at = g * padded_O + v * lanes
                        _panel(
                            offset(source, g * operands[AT.x_group]), offset(w, phase[OF.weights] + at * K), K, width,
                            table, first, tiles, offset(start, at), offset(stage, at),
                        )  # fmt: skip
                        v += width
                    left = spend(left, K * padded_O * tiles * MOST_PIXELS, team, bases)
                    if left < 0:
                        return
            if address(limits) != 0 or address(slope) != 0:
                _finish(stage, together * plane, row, limits, slope, zero)
            for i in range(together):
                for g in range(groups):
                    _by_channel(
                        offset(stage, i * plane * row + g * padded_O), row, plane, O,
                        offset(target, i * y_image + g * O * y_channel), y_channel,
                    )  # fmt: skip

    return handle

"""Convolutions, plain and transposed: vectors hold pixels of a row, and a few output channels are computed at a time.

    y[o, i] = bias[o] + sum over k of w[o, k] * x[row(i) + tap[k]]

A table holds the offsets of the K = channels * taps inputs of an output, relative to the output's own place. So one
kernel serves one or two axes, any dilation, and each phase of a transposed convolution. It reads the image in memory if
every window lies inside and neighbouring outputs read neighbouring pixels, and a padded copy otherwise.

Each output is a sum over k in ascending order, in blocks of `BLOCK` that are summed from zero and then added, which
gives the same bits in every tile. `fastgru.packing.conv` packs the weights.
"""

from typing import Any, Final

import numpy as np

from fastgru.kernels.operands.conv import BLOCK, CHANNEL_TILES, CONV, PHASE
from fastgru.kernels.operands.team import LOOK_WORK
from fastgru.kernels.registry import handler, kernel, tensor
from fastgru.kernels.team import spend
from fastgru.kernels.windows import collect, pad_image
from fastgru.simd.memory import address, lanes_of, offset, pointer
from fastgru.simd.rowtile import make_row_tile

__all__ = ["conv"]

AT, OF = CONV.at, PHASE.at

_WIDEST: Final = CHANNEL_TILES[0]


def _make_tile(channels: int, vectors: int) -> Any:
    zero, advance, begin, resume, clamp, lean, put = make_row_tile(channels, vectors)

    @kernel
    def tile(x, w, taps, K, last, bias, slope, limits, y, y_stride):
        done = 0
        while done == 0 or done < K:
            stop = min(K, done + BLOCK)
            acc = zero(x)
            k = done
            while k < stop:
                acc = advance(acc, offset(w, k * channels), x, offset(taps, k), last)
                k += 1
            acc = begin(acc, bias) if done == 0 else resume(acc, y, y_stride, last)
            done += BLOCK
            if done >= K:
                if address(limits) != 0:
                    acc = clamp(acc, limits)
                if address(slope) != 0:
                    acc = lean(acc, slope)
            put(acc, y, y_stride, last)

    return tile


_t83, _t81 = _make_tile(8, 3), _make_tile(8, 1)
_t43, _t41 = _make_tile(4, 3), _make_tile(4, 1)
_t13, _t11 = _make_tile(1, 3), _make_tile(1, 1)


@kernel
def _channels(left):
    """Return the output channels of the next tile if `left` are left."""
    if _WIDEST == 8 and left >= 8:
        return 8
    if left >= 4:
        return 4
    return 1


@kernel
def _group(x, w, taps, K, O, vectors, last, bias, slope, limits, y, y_stride):
    """Compute a few vectors of pixels of all O outputs of one group."""
    o = 0
    while o < O:
        some = _channels(O - o)
        ws, b, out = offset(w, o * K), offset(bias, o), offset(y, o * y_stride)
        s = slope if address(slope) == 0 else offset(slope, o)
        if some == 8:
            if vectors == 3:
                _t83(x, ws, taps, K, last, b, s, limits, out, y_stride)
            else:
                _t81(x, ws, taps, K, last, b, s, limits, out, y_stride)
        elif some == 4:
            if vectors == 3:
                _t43(x, ws, taps, K, last, b, s, limits, out, y_stride)
            else:
                _t41(x, ws, taps, K, last, b, s, limits, out, y_stride)
        elif vectors == 3:
            _t13(x, ws, taps, K, last, b, s, limits, out, y_stride)
        else:
            _t11(x, ws, taps, K, last, b, s, limits, out, y_stride)
        o += some


@handler("conv", "float32", "float64")
def conv(dtype: str) -> Any:
    """y = x * w + bias, then clamped to the limits, then multiplied by the slope where it is negative."""
    zero = np.dtype(dtype).type(0)

    def handle(operands, bases, team):
        x, w = pointer(tensor(bases, operands, AT.x), dtype), pointer(tensor(bases, operands, AT.w), dtype)
        bias, slope = (
            pointer(tensor(bases, operands, AT.bias), dtype),
            pointer(tensor(bases, operands, AT.slope), dtype),
        )
        limits, y = pointer(tensor(bases, operands, AT.limits), dtype), pointer(tensor(bases, operands, AT.y), dtype)
        scratch = pointer(tensor(bases, operands, AT.scratch), dtype)
        stage = pointer(tensor(bases, operands, AT.stage), dtype)
        table = pointer(tensor(bases, operands, AT.taps), "int64")
        groups, O, staged = operands[AT.groups], operands[AT.O], operands[AT.staged] != 0
        x_group, y_channel, y_image = operands[AT.x_group], operands[AT.y_channel], operands[AT.y_image]
        lanes, left = lanes_of(x), np.int64(LOOK_WORK)
        for n in range(operands[AT.images]):
            source, target = offset(x, n * operands[AT.x_image]), offset(y, n * y_image)
            if operands[AT.padded] != 0:
                pad_image(source, offset(operands, AT.pad), zero, scratch)
                source = scratch
            if staged:
                target = stage
            for p in range(operands[AT.phases]):
                phase = offset(operands, AT.each + p * OF.words)
                K, pixels = phase[OF.K], phase[OF.pixels]
                weights, taps = offset(w, phase[OF.weights]), offset(table, phase[OF.taps])
                vectors = (pixels + lanes - 1) // lanes
                for r in range(phase[OF.rows]):
                    xr, yr = offset(source, r * phase[OF.x_row]), offset(target, phase[OF.start] + r * phase[OF.y_row])
                    v = 0
                    while v < vectors:
                        some = 3 if vectors - v >= 3 else 1
                        first = v * lanes
                        last = (some - 1) * lanes
                        if v + some == vectors and pixels >= lanes:
                            last = pixels - lanes - first
                        for g in range(groups):
                            o = g * O
                            s = slope if address(slope) == 0 else offset(slope, o)
                            _group(
                                offset(xr, first + g * x_group), offset(weights, o * K), taps, K, O, some, last,
                                offset(bias, o), s, limits, offset(yr, first + o * y_channel), y_channel,
                            )  # fmt: skip
                        v += some
                    left = spend(left, K * O * groups * pixels, team, bases)
                    if left < 0:
                        return
            if staged:
                collect(stage, offset(operands, AT.collect), offset(y, n * y_image))

    return handle

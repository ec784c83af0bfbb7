"""Pools: the greatest or the sum of what each window sees, rows of pixels on vectors.

Each output goes through its taps in one order, whatever its place. Padding holds what changes nothing.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from fastgru.kernels.operands.pool import POOL_CODES
from fastgru.kernels.operands.windows import PAD_WORDS
from fastgru.kernels.registry import handler, kernel, tensor
from fastgru.kernels.windows import collect, pad_plane
from fastgru.simd.masks import maximum_nan
from fastgru.simd.memory import lanes_of, load, offset, pointer, store

__all__ = ["pool"]

_GREATEST: Final = POOL_CODES["max"]


@kernel
def _window(x, taps, K, greatest):
    best = load(x, taps[0])
    if greatest:
        for k in range(1, K):
            best = maximum_nan(best, load(x, taps[k]))
    else:
        for k in range(1, K):
            best = best + load(x, taps[k])
    return best


@handler("pool", "float32", "float64")
def pool(dtype: str) -> Any:
    """y = the greatest or the sum of what each window sees.

    Operands: x, y, scratch, stage, taps (int64); images, channels, strides of an image and a channel in x, of a
    channel in what is written, of an image in y, whether x is padded, whether y is staged, code, K, rows, pixels of a
    row, strides of a row in what is read and in what is written; the words of `pad_plane` and of `collect`.
    """
    zero, least = np.dtype(dtype).type(0), np.dtype(dtype).type(-np.inf)

    def handle(operands, bases, team):
        x, y = pointer(tensor(bases, operands, 0), dtype), pointer(tensor(bases, operands, 2), dtype)
        scratch, stage = pointer(tensor(bases, operands, 4), dtype), pointer(tensor(bases, operands, 6), dtype)
        taps = pointer(tensor(bases, operands, 8), "int64")
        words = offset(operands, 10)
        channels, greatest = words[1], words[8] == _GREATEST
        K, rows, pixels = words[9], words[10], words[11]
        pad_words = offset(words, 14)
        lanes = lanes_of(x)
        vectors = (pixels + lanes - 1) // lanes
        for n in range(words[0]):
            source, target = offset(x, n * words[2]), offset(y, n * words[5])
            if words[7] != 0:
                target = stage
            for c in range(channels):
                plane = offset(source, c * words[3])
                if words[6] != 0:
                    pad_plane(plane, pad_words, least if greatest else zero, scratch)
                    plane = scratch
                for r in range(rows):
                    xr, yr = offset(plane, r * words[12]), offset(target, c * words[4] + r * words[13])
                    for v in range(vectors):
                        i = v * lanes
                        if v == vectors - 1 and pixels >= lanes:
                            i = pixels - lanes
                        store(yr, i, _window(offset(xr, i), taps, K, greatest))
            if words[7] != 0:
                collect(stage, offset(pad_words, PAD_WORDS), offset(y, n * words[5]))

    return handle

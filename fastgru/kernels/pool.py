"""Pools: the greatest element or the sum of each window, with vectors of pixels of a row.

Each output takes its taps in the same order, whatever its place. The padding holds the neutral element.
"""

from typing import Any

import numpy as np

from fastgru.kernels.operands.pool import POOL, POOLS
from fastgru.kernels.operands.team import LOOK_WORK
from fastgru.kernels.registry import handler, kernel, tensor
from fastgru.kernels.team import spend
from fastgru.kernels.windows import collect, pad_plane
from fastgru.simd.masks import maximum_nan
from fastgru.simd.memory import lanes_of, load, offset, pointer, store

__all__ = ["pool"]

AT = POOL.at


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
    """y = the greatest element or the sum of each window."""
    zero, least = np.dtype(dtype).type(0), np.dtype(dtype).type(-np.inf)

    def handle(operands, bases, team):
        x, y = pointer(tensor(bases, operands, AT.x), dtype), pointer(tensor(bases, operands, AT.y), dtype)
        scratch = pointer(tensor(bases, operands, AT.scratch), dtype)
        stage = pointer(tensor(bases, operands, AT.stage), dtype)
        taps = pointer(tensor(bases, operands, AT.taps), "int64")
        greatest, staged = operands[AT.code] == POOLS.max, operands[AT.staged] != 0
        channels, K, rows, pixels = operands[AT.channels], operands[AT.K], operands[AT.rows], operands[AT.pixels]
        x_image, y_image = operands[AT.x_image], operands[AT.y_image]
        x_channel, y_channel = operands[AT.x_channel], operands[AT.y_channel]
        x_row, y_row = operands[AT.x_row], operands[AT.y_row]
        lanes = lanes_of(x)
        vectors, left = (pixels + lanes - 1) // lanes, np.int64(LOOK_WORK)
        for n in range(operands[AT.images]):
            source, target = offset(x, n * x_image), offset(y, n * y_image)
            if staged:
                target = stage
            for c in range(channels):
                left = spend(left, 16 * rows * pixels * (K + 4), team, bases)
                if left < 0:
                    return
                plane = offset(source, c * x_channel)
                if operands[AT.padded] != 0:
                    pad_plane(plane, offset(operands, AT.pad), least if greatest else zero, scratch)
                    plane = scratch
                for r in range(rows):
                    xr, yr = offset(plane, r * x_row), offset(target, c * y_channel + r * y_row)
                    for v in range(vectors):
                        i = v * lanes
                        if v == vectors - 1 and pixels >= lanes:
                            i = pixels - lanes
                        store(yr, i, _window(offset(xr, i), taps, K, greatest))
            if staged:
                collect(stage, offset(operands, AT.collect), offset(y, n * y_image))

    return handle

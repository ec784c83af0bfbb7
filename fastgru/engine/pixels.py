"""The tiles of a convolution of small images: which inputs each tile reads, and where it writes.

`kernels.conv_panel` reads them as a table of words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fastgru.engine.buffers import View
from fastgru.engine.windows import POINT, Phase, SlidingAxis, WindowWords
from fastgru.kernels.operands.conv import BLOCK, MOST_PIXELS, TILE
from fastgru.kernels.operands.windows import PAD
from fastgru.packing.conv import tiles
from fastgru.packing.panels import padded, panels
from fastgru.records import dataclass
from fastgru.simd.target import LANES

__all__ = ["PixelWords", "less_by_channels", "pixel_words"]

_MOST_READS: Final = 1 << 20  # (pixel, tap) pairs of an instruction; planning looks at each
_GAIN: Final = 0.9
_LEAST_SUMS: Final = 8  # of a tile: with fewer sums, each addition waits for the one before
_ROW: Final = 15  # cycles, about, to copy a short row

_Words = NDArray[np.int64]


@dataclass(frozen=True)
class PixelWords:
    """Words of a convolution whose tiles are pixels by vectors of channels.

    pad: the words that `operands.windows.PAD` declares. scratch: elements of a padded image, 0 without padding.
    x_channel: stride of a channel in the image that is read. table, phases: see `operands.conv`. taps: the phases of H
    and of W whose taps each phase combines.
    """

    pad: Mapping[str, int]
    scratch: int
    x_channel: int
    table: _Words
    phases: tuple[Mapping[str, int], ...]
    taps: tuple[tuple[Phase, Phase], ...]


class _Along:
    """One axis of the image that is read: maps outputs and taps of a phase to offsets in elements."""

    def __init__(self, axis: SlidingAxis, stride: int, first: int, grid: int) -> None:
        self.axis, self.stride, self.first, self.grid = axis, stride, first, grid

    def pixels(self, phase: Phase) -> _Words:
        """Return the offset at which each output of a phase begins to read."""
        return np.arange(phase.count) * (self.axis.in_step // self.grid * self.stride)

    def taps(self, phase: Phase) -> _Words:
        """Return the offsets of the taps, relative to `pixels`."""
        return (np.array([at for _, at in phase.taps], np.int64) - self.first) // self.grid * self.stride


def _read(axis: SlidingAxis, phase: Phase) -> NDArray[np.bool_]:
    """Return, as (outputs, taps), whether an output of a phase reads the image at a tap, and not the padding."""
    at = np.add.outer(np.arange(phase.count) * axis.in_step, np.array([at for _, at in phase.taps], np.int64))
    return (at >= 0) & (at < axis.size)


class _Table:
    """Records of tiles and lists of inputs, in one array of words."""

    def __init__(self) -> None:
        self.words: list[_Words] = []
        self.size = 0

    def add(self, words: _Words) -> int:
        """Append words, and return the index of the first."""
        self.words.append(words.reshape(-1))
        self.size += words.size
        return self.size - words.size

    def inputs(self, taps: _Words, used: NDArray[np.bool_], channels: _Words) -> int:
        """Append the list of inputs for the taps that a tile uses, and return its index."""
        count = len(taps)
        k = np.add.outer(np.arange(len(channels)) * count, np.flatnonzero(used)).reshape(-1)
        where = np.add.outer(channels, taps[used]).reshape(-1)
        ends = np.searchsorted(k, np.arange(0, max(len(channels) * count, 1) + BLOCK, BLOCK))
        return self.add(np.concatenate([ends, np.stack([where, k], 1).reshape(-1)]))

    def tiles(
        self, reads: _Words, places: _Words, used: NDArray[np.bool_], taps: _Words, channels: _Words
    ) -> tuple[int, int]:
        """Divide pixels evenly into tiles, append their records, and return their number and the index of the first."""
        number = -(-len(reads) // MOST_PIXELS)
        first = np.arange(number + 1) * len(reads) // number
        kinds, kind = np.unique(np.logical_or.reduceat(used, first[:-1]), axis=0, return_inverse=True)
        lists = np.array([self.inputs(taps, each, channels) for each in kinds])
        records = np.zeros((number, TILE.words), np.int64)
        records[:, TILE.count], records[:, TILE.inputs] = np.diff(first), lists[kind.reshape(-1)]
        pixels = np.minimum(first[:-1, None] + np.arange(MOST_PIXELS), len(reads) - 1)
        records[:, TILE.pixels :] = np.stack([reads[pixels], places[pixels]], 2).reshape(number, -1)
        return number, self.add(records)


def pixel_words(
    x: View, axes: Sequence[SlidingAxis], images: int, read: int, row: int, lanes: int, *, skip: bool
) -> PixelWords:
    """Return the words to convolve `images` images of x (N, C, ...) at once; each output reads `read` channels.

    row: elements that are written for a pixel. skip: leave out taps at which all pixels of a tile read the padding.
    """
    h, w = axes if len(axes) == 2 else (POINT, axes[0])
    s_h, s_w = x.strides[-2:] if len(axes) == 2 else (0, x.strides[-1])
    C, s_c, image, pad, scratch = x.shape[1], x.strides[1], x.strides[0], PAD.zeros, 0
    first_h, first_w, grid = 0, 0, 1
    if not (h.inside and w.inside):
        rows, columns = (h.last - h.first) // h.grid + 1, w.last - w.first + 1
        pad = {
            "C": C, "rows": rows, "first": h.first, "step": h.grid, "H": h.size, "left": w.first, "columns": columns,
            "W": w.size, "phases": 1, "run": columns, "s_c": s_c, "s_h": s_h, "s_w": s_w,
        }  # fmt: skip
        first_h, first_w, grid = h.first, w.first, h.grid
        s_c, s_h, s_w = rows * columns, columns, 1
        scratch = image = C * s_c + lanes
    down, along, table = _Along(h, s_h, first_h, grid), _Along(w, s_w, first_w, 1), _Table()
    channels, plane = np.arange(read) * s_c, h.outputs * w.outputs
    phases, kept = [], [(v, u) for v in h.phases for u in w.phases]
    for v, u in kept:
        taps = np.add.outer(down.taps(v), along.taps(u)).reshape(-1)
        used = (_read(h, v)[:, None, :, None] & _read(w, u)[None, :, None, :]).reshape(v.count * u.count, len(taps))
        used = used if skip else np.ones_like(used)
        places = np.add.outer((v.start + np.arange(v.count) * h.out_step) * w.outputs,
                              u.start + np.arange(u.count) * w.out_step).reshape(-1)  # fmt: skip
        reads = np.add.outer(down.pixels(v), along.pixels(u)).reshape(-1)
        places = np.add.outer(np.arange(images) * plane, places).reshape(-1) * row
        reads, used = np.add.outer(np.arange(images) * image, reads).reshape(-1), np.tile(used, (images, 1))
        tiles, at = table.tiles(reads, places, used, taps, channels)
        phases.append({"K": read * len(taps), "tiles": tiles, "table": at})
    words = np.concatenate(table.words)
    return PixelWords(pad, scratch, s_c, words, tuple(phases), tuple(kept))


def less_by_channels(
    window: WindowWords, axes: Sequence[SlidingAxis], read: int, shape: tuple[int, ...], group: int, dtype: str
) -> bool:
    """Return whether vectors of channels take less time than vectors of pixels, by the instructions of their tiles.

    read: channels that each output reads. shape: the shape of the outputs.
    """
    lanes, O, plane = LANES[dtype], shape[1] // group, prod(shape[2:])
    taps = [len(h.taps) * len(w.taps) for h, w in window.phases]
    if shape[0] * plane * max(taps) > _MOST_READS:
        return False
    found = [_read(axes[0], phase) for phase in axes[0].phases]
    kept = sum(int(a.sum()) for a in found) / max(sum(a.size for a in found), 1)  # share of taps outside the padding
    rows = window.pad["C"] * window.pad["rows"]
    pad, collect = window.pad, window.collect
    by_pixels = window.padded * rows * _copied(pad["columns"], pad["s_w"])
    by_pixels += window.staged * shape[1] * collect["H"] * _copied(collect["W"], collect["s_w"])
    by_channels = _ROW // 3 * window.padded * rows + 2 * plane * padded(O, dtype) // lanes
    for words, each in zip(window.phase_words, taps, strict=True):
        K, some_K = read * each, int(read * each * kept)
        threes, ones = divmod(-(-words["pixels"] // lanes), 3)
        for _, some in tiles(O, 1):
            by_pixels += group * words["rows"] * (threes * _cycles(some, 3, K) + ones * _cycles(some, 1, K))
        whole, left = divmod(words["rows"] * words["pixels"], MOST_PIXELS)
        for _, width in panels(O, dtype):
            few = _cycles(left, width // lanes, some_K) if left else 0
            by_channels += group * (whole * _cycles(MOST_PIXELS, width // lanes, some_K) + few)
    return by_channels < _GAIN * by_pixels


def _copied(columns: int, step: int) -> int:
    """Estimate the cycles to copy a row whose elements lie `step` apart."""
    return _ROW + (0 if step == 1 else 2 * columns)


def _cycles(rows: int, vectors: int, K: int) -> int:
    """Estimate the cycles of a tile: a multiplication for each sum and input, and its start and end."""
    return K * (max(rows * vectors, _LEAST_SUMS) + 1) + 3 * rows * vectors + 20

"""The words with which row kernels slide windows over an image, with and without a padded copy.

`kernels.conv` and `kernels.pool` read them. An image is C planes of H rows and W columns; an image with one spatial
axis has planes of one row.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fastgru.engine.buffers import View
from fastgru.errors import UnsupportedModelError
from fastgru.kernels.operands.windows import COLLECT, PAD
from fastgru.process import once
from fastgru.records import dataclass
from fastgru.reference.windows import Windows

__all__ = ["POINT", "Phase", "SlidingAxis", "WindowWords", "sliding", "transposed", "window_words"]

_SHORT: Final = 2  # rows shorter than a vector by this factor are read down their columns instead


@dataclass(frozen=True)
class Phase:
    """Every `out_step`-th output of an axis from `start` on, `count` in all.

    taps: each tap, with the input position that output `start` reads through it.
    """

    start: int
    count: int
    taps: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class SlidingAxis:
    """One spatial axis.

    size: of the input. in_step, out_step: the distances of the inputs and of the outputs of neighbours in a phase.
    """

    size: int
    outputs: int
    in_step: int
    out_step: int
    phases: tuple[Phase, ...]

    @once
    def first(self) -> int:
        """The first position that is read: negative if in the padding, 0 if no output has a tap."""
        return min((at for phase in self.phases for _, at in phase.taps), default=0)

    @once
    def last(self) -> int:
        """The last position that is read."""
        return max((at + (phase.count - 1) * self.in_step for phase in self.phases for _, at in phase.taps), default=0)

    @property
    def inside(self) -> bool:
        """True if no window reaches into the padding."""
        return self.first >= 0 and self.last < self.size

    @property
    def plain(self) -> bool:
        """True if nothing slides along the axis."""
        return self.outputs == self.size and self.in_step == 1 and [p.taps for p in self.phases] == [((0, 0),)]

    @once
    def grid(self) -> int:
        """The largest step that, from `first` on, meets every position that is read."""
        moves = self.in_step if any(phase.count > 1 for phase in self.phases) else 0
        return math.gcd(moves, *(at - self.first for phase in self.phases for _, at in phase.taps)) or 1


_MOST_PHASES: Final = 1 << 14  # each phase takes words of the program
POINT: Final = SlidingAxis(1, 1, 1, 1, (Phase(0, 1, ((0, 0),)),))


def sliding(spatial: Sequence[int], windows: Windows) -> list[SlidingAxis]:
    """Return the axes of a convolution or a pool."""
    axes = []
    for i, size in enumerate(spatial):
        k, d, begin = windows.taps[i], windows.dilations[i], windows.begin[i]
        taps = tuple((t, t * d - begin) for t in range(k))
        axes.append(SlidingAxis(size, windows.sizes[i], windows.strides[i], 1, (Phase(0, windows.sizes[i], taps),)))
    return axes


def transposed(spatial: Sequence[int], windows: Windows) -> list[SlidingAxis]:
    """Return the axes of a transposed convolution.

    Outputs that lie `stride` apart read neighbouring inputs through the same taps, so they form a phase.
    """
    counts = [min(s, n) for s, n in zip(windows.strides, windows.sizes, strict=True)]
    if math.prod(counts) > _MOST_PHASES:
        raise UnsupportedModelError(
            f"a transposed convolution with strides {list(windows.strides)}, of {math.prod(counts)} kinds of outputs;"
            f" at most {_MOST_PHASES} are supported"
        )
    axes = []
    for i, (size, count) in enumerate(zip(spatial, counts, strict=True)):
        d, begin, s = windows.dilations[i], windows.begin[i], windows.strides[i]
        taps: list[list[tuple[int, int]]] = [[] for _ in range(count)]
        for t in range(windows.taps[i]):
            if (start := (t * d - begin) % s) < count:
                taps[start].append((t, (start + begin - t * d) // s))
        phases = [Phase(k, -(-(windows.sizes[i] - k) // s), tuple(one)) for k, one in enumerate(taps)]
        axes.append(SlidingAxis(size, windows.sizes[i], 1, s, tuple(phases)))
    return axes


@dataclass(frozen=True)
class WindowWords:
    """Words for a row kernel.

    pad, collect: the words that `operands.windows` declares, by name. tables: for each phase, the offsets of an
    output's inputs, channel by channel of a group, tap by tap. phases: in the same order, as (that of H, that of W).
    phase_words: some of the words that `operands.conv.PHASE` declares.
    """

    x_channel: int
    y_channel: int
    padded: bool
    staged: bool
    pad: Mapping[str, int]
    collect: Mapping[str, int]
    scratch: int
    stage: int
    tables: tuple[NDArray[np.int64], ...]
    phases: tuple[tuple[Phase, Phase], ...]
    phase_words: tuple[Mapping[str, int], ...]


def window_words(x: View, axes: Sequence[SlidingAxis], C: int, read: int, O: int, lanes: int) -> WindowWords:
    """Return the words to slide windows over x (N, C, ...), with contiguous outputs of O channels.

    read: channels that each output reads.
    """
    if len(axes) > 2:
        raise UnsupportedModelError(
            f"windows over {len(axes)} axes are not supported, expected one or two: slide over one axis at a time"
        )
    h, w = axes if len(axes) == 2 else (POINT, axes[0])
    s_h, s_w = x.strides[-2:] if len(axes) == 2 else (0, x.strides[-1])
    y_h, y_w = w.outputs, 1
    swapped = False
    if h is not POINT and w.plain and (s_h == w.size * s_w or h.size == 1) and h.in_step == h.out_step == 1:
        h, w, s_h, y_h, swapped = POINT, _merged(h, w.size), 0, h.outputs * w.outputs, True
    elif w.outputs * _SHORT <= lanes and h.outputs > w.outputs:
        h, w, s_h, s_w, y_h, y_w, swapped = w, h, s_w, s_h, y_w, y_h, True
    plane = h.outputs * w.outputs
    shortest = min(phase.count for phase in w.phases)
    padded = not (h.inside and w.inside and w.in_step == 1 and s_w == 1 and shortest >= lanes)
    if padded:
        rows = (h.last - h.first) // h.grid + 1
        runs = w.in_step if any(phase.count > 1 for phase in w.phases) else 1
        columns = w.last - w.first + 1
        longest = max(phase.count for phase in w.phases)
        run = -(-((columns - 1) // runs + 1 + max(lanes - longest, 0)) // lanes) * lanes
        row, channel = runs * run, rows * runs * run
        pad = {
            "C": C, "rows": rows, "first": h.first, "step": h.grid, "H": h.size, "left": w.first, "columns": columns,
            "W": w.size, "phases": runs, "run": run, "s_c": x.strides[1], "s_h": s_h, "s_w": s_w,
        }  # fmt: skip
        x_row = h.in_step // h.grid * row
    else:
        row, channel, pad, x_row = s_h, x.strides[1], PAD.zeros, h.in_step * s_h

    def at_row(position: int) -> int:
        return (position - h.first) // h.grid * row if padded else position * row

    def at_column(position: int) -> int:
        return (position - w.first) % runs * run + (position - w.first) // runs if padded else position

    staged = w.out_step != 1 or y_w != 1 or shortest < lanes
    out_run = -(-max(phase.count for phase in w.phases) // lanes) * lanes
    out_row = w.out_step * out_run if staged else y_h
    tables, phases, words = [], [], []
    for v in h.phases:
        for u in w.phases:
            taps = np.add.outer([at_row(at) for _, at in v.taps], [at_column(at) for _, at in u.taps])
            taps = (taps.T if swapped else taps).reshape(-1).astype(np.int64)
            tables.append(np.add.outer(np.arange(read) * channel, taps).reshape(-1).astype(np.int64))
            phases.append((u, v) if swapped else (v, u))
            start = v.start * out_row + u.start * (out_run if staged else 1)
            words.append({
                "rows": v.count, "pixels": u.count, "start": start, "x_row": x_row, "y_row": h.out_step * out_row,
            })  # fmt: skip
    collect = {
        "C": O, "H": h.outputs, "W": w.outputs, "phases": w.out_step, "run": out_run, "s_c": plane, "s_h": y_h,
        "s_w": y_w,
    }  # fmt: skip
    return WindowWords(
        channel,
        h.outputs * out_row if staged else plane,
        padded,
        staged,
        pad,
        collect if staged else COLLECT.zeros,
        C * channel + lanes if padded else 0,
        O * h.outputs * out_row if staged else 0,
        tuple(tables),
        tuple(phases),
        tuple(words),
    )


def _merged(h: SlidingAxis, columns: int) -> SlidingAxis:
    """Return the axis of one long row that consists of contiguous rows."""
    (phase,) = h.phases
    taps = tuple((t, at * columns) for t, at in phase.taps)
    return SlidingAxis(h.size * columns, h.outputs * columns, 1, 1, (Phase(0, phase.count * columns, taps),))

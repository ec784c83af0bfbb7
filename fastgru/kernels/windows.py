"""Padded copies of images for windows to read, and the collection of outputs that were computed phase by phase.

An image is padded into rows of `phases` runs: run p of a row holds every phases-th column from column p on, so that the
pixels which neighbouring outputs read are adjacent. Outputs that are computed phase by phase have the same layout.
"""

from fastgru.kernels.operands.windows import COLLECT, PAD
from fastgru.kernels.registry import kernel
from fastgru.kernels.rows import copy_row
from fastgru.simd.memory import lanes_of, load, load_tail, offset, store
from fastgru.simd.shuffle import evens, odds
from fastgru.simd.vector import splat

__all__ = ["collect", "pad_image", "pad_plane", "pad_zeros"]

FROM, TO = PAD.at, COLLECT.at


@kernel
def _phase_row(source, step, target, at, count, phases, run):
    """Copy elements that are `step` apart to columns `at`, at + 1, ... of a row in phases."""
    phase, q = at % phases, at // phases
    done = 0
    if phases == 2 and step == 1:
        lanes = lanes_of(target)
        first, second = offset(target, phase * run + q), offset(target, (1 - phase) * run + (at + 1) // 2)
        while done + 2 * lanes <= count:
            a, b = load(source, done), load(source, done + lanes)
            store(first, done // 2, evens(a, b))
            store(second, done // 2, odds(a, b))
            done += 2 * lanes
        q += done // 2
    for i in range(done, count):
        target[phase * run + q] = source[i * step]
        phase += 1
        if phase == phases:
            phase = 0
            q += 1


@kernel
def pad_plane(x, words, fill, out):
    """Pad one channel of an image, as `pad_image` pads all of them."""
    rows, first, step, H = words[FROM.rows], words[FROM.first], words[FROM.step], words[FROM.H]
    left, W, phases, run = words[FROM.left], words[FROM.W], words[FROM.phases], words[FROM.run]
    s_h, s_w = words[FROM.s_h], words[FROM.s_w]
    lanes = lanes_of(out)
    width = phases * run
    begin, end = max(left, 0), min(W, left + words[FROM.columns])
    count = max(end - begin, 0)
    at = begin - left
    blank = splat(fill)
    for r in range(rows):
        row = first + r * step
        target = offset(out, r * width)
        for i in range(0, width, lanes):
            store(target, i, blank)
        if row >= 0 and row < H and count > 0:
            source = offset(x, row * s_h + begin * s_w)
            if phases == 1 and s_w == 1:
                copy_row(source, offset(target, at), count)
            else:
                _phase_row(source, s_w, target, at, count, phases, run)


@kernel
def pad_image(x, words, fill, out):
    """Pad an image (C, H, W) with any strides into `out` (C, rows, phases, run), with `fill` where there is no pixel.

    words: `PAD`.
    """
    size = words[FROM.rows] * words[FROM.phases] * words[FROM.run]
    for c in range(words[FROM.C]):
        pad_plane(offset(x, c * words[FROM.s_c]), words, fill, offset(out, c * size))


@kernel
def pad_zeros(x, words, zero, out):
    """Pad as `pad_image` does, with zeros, for rows that are often shorter than a vector: whole vectors are written.

    The elements after a row are written as zeros. They belong to the padding, or to a row that is written later;
    after the last row there must be room for a vector.
    """
    rows, first, step, H = words[FROM.rows], words[FROM.first], words[FROM.step], words[FROM.H]
    left, run, s_h, s_w = words[FROM.left], words[FROM.run], words[FROM.s_h], words[FROM.s_w]
    begin, end = max(left, 0), min(words[FROM.W], left + words[FROM.columns])
    lanes, count = lanes_of(out), max(end - begin, 0)
    if words[FROM.phases] != 1 or s_w != 1:
        pad_image(x, words, zero, out)
        return
    top = max((step - 1 - first) // step, 0)
    bottom = max(min((H - 1 - first) // step + 1, rows), top)
    blank = splat(zero)
    for i in range(0, words[FROM.C] * rows * run, lanes):
        store(out, i, blank)
    for c in range(words[FROM.C]):
        source = offset(x, c * words[FROM.s_c] + begin * s_w)
        target = offset(out, c * rows * run + begin - left)
        for r in range(top, bottom):
            p, q, i = offset(source, (first + r * step) * s_h), offset(target, r * run), 0
            while i + lanes <= count:
                store(q, i, load(p, i))
                i += lanes
            if i < count:
                store(q, i, load_tail(p, i, count - i))


@kernel
def collect(stage, words, y):
    """Copy outputs that were computed phase by phase, (C, H, phases, run), to their places in y.

    words: `COLLECT`.
    """
    H, W, phases, run = words[TO.H], words[TO.W], words[TO.phases], words[TO.run]
    s_c, s_h, s_w = words[TO.s_c], words[TO.s_h], words[TO.s_w]
    for c in range(words[TO.C]):
        for h in range(H):
            source = offset(stage, (c * H + h) * phases * run)
            target = offset(y, c * s_c + h * s_h)
            if phases == 1 and s_w == 1:
                copy_row(source, target, W)
            else:
                phase, q = 0, 0
                for i in range(W):
                    target[i * s_w] = source[phase * run + q]
                    phase += 1
                    if phase == phases:
                        phase = 0
                        q += 1

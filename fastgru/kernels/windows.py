"""What a window reads and writes: padded copies of an image, and rows of outputs brought together.

An image is padded into rows of `parts` runs: run p of a row holds every parts-th column from column p on, so that the
pixels which neighbouring outputs read lie side by side. The same layout takes outputs that are made part by part.
"""

from __future__ import annotations

from fastgru.kernels.operands.windows import COLLECT_STRIDES
from fastgru.kernels.registry import kernel
from fastgru.simd.memory import lanes_of, load, load_tail, offset, store, store_tail
from fastgru.simd.shuffle import evens, odds
from fastgru.simd.vector import splat

__all__ = ["collect", "copy_row", "pad_image", "pad_plane"]


@kernel
def copy_row(source, target, count):
    """target[i] = source[i], i < count; memory beyond is not touched."""
    lanes = lanes_of(target)
    if count >= lanes:
        i = 0
        while i + lanes <= count:
            store(target, i, load(source, i))
            i += lanes
        if i < count:
            store(target, count - lanes, load(source, count - lanes))
    elif count > 0:
        store_tail(target, 0, load_tail(source, 0, count), count)


@kernel
def _part_row(source, step, target, at, count, parts, run):
    """Elements `step` apart to columns `at`, at + 1, ... of a row in parts."""
    part, q = at % parts, at // parts
    done = 0
    if parts == 2 and step == 1:
        lanes = lanes_of(target)
        first, second = offset(target, part * run + q), offset(target, (1 - part) * run + (at + 1) // 2)
        while done + 2 * lanes <= count:
            a, b = load(source, done), load(source, done + lanes)
            store(first, done // 2, evens(a, b))
            store(second, done // 2, odds(a, b))
            done += 2 * lanes
        q += done // 2
    for i in range(done, count):
        target[part * run + q] = source[i * step]
        part += 1
        if part == parts:
            part = 0
            q += 1


@kernel
def pad_plane(x, words, fill, out):
    """One channel of an image, as `pad_image` pads them all."""
    rows, first, step, H = words[1], words[2], words[3], words[4]
    left, columns, W, parts, run = words[5], words[6], words[7], words[8], words[9]
    down, right = words[11], words[12]
    lanes = lanes_of(out)
    width = parts * run
    begin, end = max(left, 0), min(W, left + columns)
    count = max(end - begin, 0)
    at = begin - left
    blank = splat(fill)
    for r in range(rows):
        row = first + r * step
        target = offset(out, r * width)
        for i in range(0, width, lanes):
            store(target, i, blank)
        if row >= 0 and row < H and count > 0:
            source = offset(x, row * down + begin * right)
            if parts == 1 and right == 1:
                copy_row(source, offset(target, at), count)
            else:
                _part_row(source, right, target, at, count, parts, run)


@kernel
def pad_image(x, words, fill, out):
    """One image (C, H, W) with any strides into `out` (C, rows, parts, run), `fill` where there is no pixel.

    Words: C, rows, first row, step of rows, H, first column, columns, W, parts, run, then the strides of C, H, W.
    """
    size = words[1] * words[8] * words[9]
    for c in range(words[0]):
        pad_plane(offset(x, c * words[10]), words, fill, offset(out, c * size))


@kernel
def collect(stage, words, y):
    """Outputs made part by part, (C, H, parts, run), to where they belong in y.

    Words: C, H, W, parts, run, then the strides of C, H, W in y.
    """
    C, H, W, parts, run = words[0], words[1], words[2], words[3], words[4]
    strides = offset(words, COLLECT_STRIDES)
    for c in range(C):
        for h in range(H):
            source = offset(stage, (c * H + h) * parts * run)
            target = offset(y, c * strides[0] + h * strides[1])
            if parts == 1 and strides[2] == 1:
                copy_row(source, target, W)
            else:
                part, q = 0, 0
                for i in range(W):
                    target[i * strides[2]] = source[part * run + q]
                    part += 1
                    if part == parts:
                        part = 0
                        q += 1

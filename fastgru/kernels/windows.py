"""What a window reads and writes: padded copies of an image, and rows of outputs brought together.

An image is padded into rows of `parts` runs: run p of a row holds every parts-th column from column p on, so that the
pixels which neighbouring outputs read lie side by side. The same layout takes outputs that are made part by part.
"""

from __future__ import annotations

from typing import Final

from fastgru.kernels.registry import kernel
from fastgru.simd.memory import lanes_of, load, load_tail, offset, store, store_tail
from fastgru.simd.vector import splat

__all__ = ["COLLECT_WORDS", "PAD_WORDS", "collect", "copy_row", "pad_image"]

PAD_WORDS: Final = 13
COLLECT_WORDS: Final = 8


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
    for i in range(count):
        target[part * run + q] = source[i * step]
        part += 1
        if part == parts:
            part = 0
            q += 1


@kernel
def pad_image(x, words, fill, out):
    """One image (C, H, W) with any strides into `out` (C, rows, parts, run), `fill` where there is no pixel.

    Words: C, rows, first row, step of rows, H, first column, columns, W, parts, run, then the strides of C, H, W.
    """
    C, rows, first, step, H = words[0], words[1], words[2], words[3], words[4]
    left, columns, W, parts, run = words[5], words[6], words[7], words[8], words[9]
    strides = offset(words, 10)
    lanes = lanes_of(out)
    width = parts * run
    begin, end = max(left, 0), min(W, left + columns)
    count = max(end - begin, 0)
    at = begin - left
    blank = splat(fill)
    for c in range(C):
        for r in range(rows):
            row = first + r * step
            target = offset(out, (c * rows + r) * width)
            for i in range(0, width, lanes):
                store(target, i, blank)
            if row >= 0 and row < H and count > 0:
                source = offset(x, c * strides[0] + row * strides[1] + begin * strides[2])
                if parts == 1 and strides[2] == 1:
                    copy_row(source, offset(target, at), count)
                else:
                    _part_row(source, strides[2], target, at, count, parts, run)


@kernel
def collect(stage, words, y):
    """Outputs made part by part, (C, H, parts, run), to where they belong in y.

    Words: C, H, W, parts, run, then the strides of C, H, W in y.
    """
    C, H, W, parts, run = words[0], words[1], words[2], words[3], words[4]
    strides = offset(words, 5)
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

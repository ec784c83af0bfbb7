"""Broadcast operands as the rows that an element-wise handler walks: see `fastgru.kernels.walk`."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from fastgru.engine.view import View
from fastgru.errors import ShapeError

if TYPE_CHECKING:
    from fastgru.engine.builder import Builder

__all__ = ["broadcast_shape", "broadcast_strides", "merged_axes", "rows_of", "walk_words"]

Axis = tuple[int, tuple[int, ...]]


def broadcast_shape(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """NumPy's rule; `ShapeError` that lists the shapes."""
    try:
        return tuple(int(n) for n in np.broadcast_shapes(*shapes))
    except ValueError:
        raise ShapeError(f"shapes {', '.join(map(str, shapes))} do not broadcast") from None


def broadcast_strides(view: View, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides under which a view is read as `shape`, to which it broadcasts."""
    lead = len(shape) - view.ndim
    sizes, steps = (1,) * lead + view.shape, (0,) * lead + view.strides
    return tuple(0 if n == 1 else s for n, s in zip(sizes, steps, strict=True))


def merged_axes(shape: Sequence[int], strides: Sequence[Sequence[int]]) -> list[Axis]:
    """The same walk over fewer axes: those of size 1 dropped, neighbours that run on in every operand joined.

    Each axis is its size and the stride of every operand; there is at least one.
    """
    axes: list[Axis] = []
    for i, size in enumerate(shape):
        steps = tuple(s[i] for s in strides)
        if size == 1:
            continue
        if axes and all(before == step * size for before, step in zip(axes[-1][1], steps, strict=True)):
            axes[-1] = (axes[-1][0] * size, steps)
        else:
            axes.append((size, steps))
    return axes or [(1, (1,) * len(strides))]


def walk_words(axes: Sequence[Axis]) -> list[int]:
    """The words of `kernels.walk`: the last axis is the row."""
    *outer, (inner, steps) = axes
    words = [prod(size for size, _ in outer), len(outer), inner, *(size for size, _ in outer)]
    for k, step in enumerate(steps):
        words += [step, *(s[k] for _, s in outer)]
    return words


def rows_of(builder: Builder, shape: tuple[int, ...], views: Sequence[View]) -> tuple[list[View], list[int]]:
    """The views and their walk over `shape`, with inner strides of 0 or 1: a view that has another is copied."""
    views = list(views)
    axes = merged_axes(shape, [broadcast_strides(v, shape) for v in views])
    if uneven := [k for k, step in enumerate(axes[-1][1]) if step not in (0, 1)]:
        for k in uneven:
            views[k] = builder.contiguous(views[k])
        axes = merged_axes(shape, [broadcast_strides(v, shape) for v in views])
    return views, walk_words(axes)

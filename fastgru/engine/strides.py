"""Strides of broadcast operands, and the words of an nd-iterator over them: see `kernels.operands.strides`."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Final

import numpy as np

from fastgru.engine.buffers import View
from fastgru.errors import ShapeError
from fastgru.kernels.operands.strides import NDITER_WORDS

__all__ = [
    "LEAST_TRANSPOSED",
    "broadcast_shape",
    "broadcast_strides",
    "merged_axes",
    "nditer_words",
    "transposing",
]

Axis = tuple[int, tuple[int, ...]]

LEAST_TRANSPOSED: Final = 256  # elements: below that, the order in which they lie does not matter
_TILE: Final = 4  # the least size of the two axes that are exchanged


def broadcast_shape(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """Return the common shape by NumPy's rules. Raises `ShapeError` that lists the shapes."""
    try:
        return tuple(int(n) for n in np.broadcast_shapes(*shapes))
    except ValueError:
        raise ShapeError(f"shapes {', '.join(map(str, shapes))} do not broadcast") from None


def broadcast_strides(view: View, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the strides that read a view as `shape`, to which it broadcasts."""
    lead = len(shape) - view.ndim
    sizes, steps = (1,) * lead + view.shape, (0,) * lead + view.strides
    return tuple(0 if n == 1 else s for n, s in zip(sizes, steps, strict=True))


def transposing(shape: Sequence[int], strides_in: Sequence[int], strides_out: Sequence[int]) -> list[int] | None:
    """Return the axes in the order that the handler `transpose` takes; None if no rows become columns."""
    near_in = [i for i, s in enumerate(strides_in) if s == 1 and shape[i] >= _TILE]
    near_out = [i for i, s in enumerate(strides_out) if s == 1 and shape[i] >= _TILE]
    if not near_in or not near_out or near_in[-1] == near_out[-1]:
        return None
    last = [near_in[-1], near_out[-1]]
    return [*(i for i in range(len(shape)) if i not in last), *last]


def merged_axes(shape: Sequence[int], strides: Sequence[Sequence[int]]) -> list[Axis]:
    """Return the same elements over fewer axes.

    Axes of size 1 are dropped, and neighbours that are contiguous in every operand are joined. Each axis is its size
    and the stride of every operand; there is at least one axis.
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


def nditer_words(axes: Sequence[Axis]) -> list[int]:
    """Return the words of an nd-iterator, whose rows run along the last axis."""
    *outer, (inner, steps) = axes
    sizes = [size for size, _ in outer]
    for k, step in enumerate(steps):
        sizes += [step, *(s[k] for _, s in outer)]
    rows = prod(size for size, _ in outer)
    return NDITER_WORDS.encode({"rows": rows, "axes": len(outer), "inner": inner, "sizes": sizes})

"""Pools: the maximum, the mean or the sum of the elements in each window, channel by channel."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np

from fastgru.errors import ShapeError
from fastgru.reference.attributes import Counts, OneOf
from fastgru.reference.dims import Dims, Facts, Operand
from fastgru.reference.operator import Array, is_floating, operator
from fastgru.reference.sizes import multiply
from fastgru.reference.windows import Pads, Windows, check_forms, overlaps, slid, slide

__all__ = ["POOLS", "pool", "seen_counts"]


POOLS = ("average", "max", "sum")


def seen_counts(spatial: Sequence[int], windows: Windows, *, include_padding: bool) -> list[Array]:
    """Return, for each axis, the count by which each window's sum is divided: elements of the input, or padding too.

    Positions beyond the padding, which the last window may reach (ceil_mode), never count. A count is at least 1, so
    that the mean of no elements is zero.
    """
    counts = []
    for i, n in enumerate(spatial):
        starts = np.arange(windows.sizes[i], dtype=np.int64) * windows.strides[i] - windows.begin[i]
        low, high = (-windows.begin[i], n + windows.end[i]) if include_padding else (0, n)
        first = np.maximum(-((starts - low) // windows.dilations[i]), 0)
        last = np.minimum((high - 1 - starts) // windows.dilations[i], windows.taps[i] - 1)
        counts.append(np.maximum(last - first + 1, 1))
    return counts


def _pooled(
    x: Operand, *, kernel: Counts, strides: Counts, pads: Pads, dilations: Counts, ceil_mode: bool = False, **_: Any
) -> Dims:
    return [*x.dims[:2], *slid(x.dims[2:], kernel, strides, dilations, pads, ceil_mode=ceil_mode)]


def _mixes(x: Operand, *, kernel: Counts, pads: Pads, ceil_mode: bool = False, **_: Any) -> Mapping[int, bool]:
    """Return the same as `conv_mixes`. With ceil_mode every window counts as looking ahead, as the last one may do."""
    behind = [True] * len(kernel) if isinstance(pads, str) or ceil_mode else [n != 0 for n in pads[len(kernel) :]]
    return {2 + i: behind[i] for i, taps in enumerate(kernel) if taps != 1}


@operator(
    "pool",
    Facts(
        _pooled,
        flops=lambda x, **attrs: multiply(*(d.size for d in _pooled(x, **attrs)), *attrs["kernel"]),
        mixes=_mixes,
    ),
    agree=check_forms,
)
def pool(
    x: Array,
    *,
    kind: Annotated[str, OneOf(POOLS)],
    kernel: Counts,
    strides: Counts,
    pads: Pads,
    dilations: Counts,
    ceil_mode: bool = False,
    count_include_pad: bool = False,
) -> Array:
    """x (N, C, D1, ...) -> (N, C, E1, ...). Padding is the least number for max, and 0 for sum and average."""
    if kind != "max" and not is_floating(x.dtype):
        raise ShapeError(f"{kind}: x has dtype {x.dtype}, expected a float")
    windows = slide(x.shape[2:], kernel, strides, dilations, pads, ceil_mode=ceil_mode)
    least: Any = 0
    if kind == "max":
        least = -np.inf if is_floating(x.dtype) else np.iinfo(x.dtype).min
    y = np.full((*x.shape[:2], *windows.sizes), least, x.dtype)
    for _, near, far in overlaps(windows, windows.sizes, x.shape[2:]):
        there: Any = (..., *near)
        where: Any = (..., *far)
        y[there] = np.maximum(y[there], x[where]) if kind == "max" else y[there] + x[where]
    if kind == "average":
        for i, count in enumerate(seen_counts(x.shape[2:], windows, include_padding=count_include_pad)):
            y = y / count.astype(y.dtype).reshape(-1, *[1] * (x.ndim - 3 - i))
    return y

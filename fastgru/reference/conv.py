"""Convolutions over any number of spatial axes, in groups, as neural networks define them: without a flip.

    conv            y[n, o, i] = bias[o] + sum over c, k of x[n, c, i * stride + k * dilation - begin] * w[o, c, k]
    conv_transpose  y[n, o, i * stride + k * dilation - begin] += x[n, c, i] * w[c, o, k], starting from bias[o]

Dumoulin, Visin 2016, "A guide to convolution arithmetic for deep learning". Both may end with a clamp and a slope for
negative values: y = min(max(y, low), high), then y if y >= 0 else slope * y.
"""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Annotated, Any

import numpy as np

from fastgru.errors import ShapeError
from fastgru.reference.attributes import Bound, Count, Counts, Length, Sizes
from fastgru.reference.dims import Dim, Dims, Facts, Operand
from fastgru.reference.operator import Array, operator, same_dtype
from fastgru.reference.sizes import Size, multiply
from fastgru.reference.windows import Pads, Windows, check_forms, overlaps, slid, slide, spread, spread_dims

__all__ = ["check_conv", "check_transposed", "conv", "conv_dims", "conv_flops", "conv_mixes", "conv_transpose"]

Shape = tuple[int, ...]
Clamp = Annotated[Sequence[Bound | None], Length(2)]  # low and high


def check_conv(x: Shape, weight: Shape, group: int, bias: Shape | None = None, slope: Shape | None = None) -> None:
    """Raise `ShapeError` unless x (N, C, ...), weight (O, C / group, ...), bias (O,) and slope (O,) fit."""
    _check_ranks(x, weight)
    if group < 1 or x[1] != weight[1] * group or weight[0] % group:
        raise ShapeError(
            f"x {x} has {x[1]} channels and weight {weight} reads {weight[1]} in each of {group} groups"
            f" for {weight[0]} outputs; expected group * {weight[1]} channels and a multiple of group outputs"
        )
    _check_vectors(weight[0], bias, slope)


def check_transposed(
    x: Shape, weight: Shape, group: int, bias: Shape | None = None, slope: Shape | None = None
) -> None:
    """Raise `ShapeError` unless x (N, C, ...), weight (C, O / group, ...), bias (O,) and slope (O,) fit."""
    _check_ranks(x, weight)
    if group < 1 or x[1] != weight[0] or weight[0] % group:
        raise ShapeError(
            f"x {x} has {x[1]} channels, weight {weight} reads {weight[0]} in {group} groups;"
            " expected the same number, and a multiple of group"
        )
    _check_vectors(weight[1] * group, bias, slope)


def _check_ranks(x: Shape, weight: Shape) -> None:
    if len(x) < 3 or len(x) != len(weight):
        raise ShapeError(f"x has shape {x} and weight {weight}, expected the same number of axes, (N, C, D1, ...)")


def _check_vectors(O: int, bias: Shape | None, slope: Shape | None) -> None:
    for name, shape in (("bias", bias), ("slope", slope)):
        if shape is not None and shape != (O,):
            raise ShapeError(f"{name} has shape {shape}, expected {(O,)}")


def conv_dims(
    x: Operand, weight: Operand, *_: Operand | None, strides: Counts, pads: Pads, dilations: Counts, **__: Any
) -> Dims:
    """Return the axes (N, O, E1, ...) for x (N, C, D1, ...) and weight (O, C / group, K1, ...)."""
    return [x.dims[0], weight.dims[0], *slid(x.dims[2:], weight.sizes[2:], strides, dilations, pads)]


def conv_mixes(x: Operand, weight: Operand, *_: Operand | None, pads: Pads, **__: Any) -> Mapping[int, bool]:
    """Return {axis: whether an output may read later elements} for the axes on which the window has several taps.

    Without padding after the axis, a window that keeps the size of its axis ends at the place of its output.
    """
    ahead = [True] * (x.rank - 2) if isinstance(pads, str) else [n != 0 for n in pads[x.rank - 2 :]]
    return {2 + i: ahead[i] for i, taps in enumerate(weight.sizes[2:]) if taps != 1}


def conv_flops(x: Operand, weight: Operand, *_: Operand | None, **attrs: Any) -> Size:
    """Return the flops: two for each weight that an output reads."""
    return multiply(2, *(dim.size for dim in conv_dims(x, weight, **attrs)), *weight.sizes[1:])


@operator(
    "conv", Facts(conv_dims, weights=dict.fromkeys((1, 2, 3)), flops=conv_flops, mixes=conv_mixes), agree=check_forms
)
def conv(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    slope: Array | None = None,
    *,
    strides: Counts,
    pads: Pads,
    dilations: Counts,
    group: Count,
    clamp: Clamp | None = None,
) -> Array:
    """x (N, C, D1, ...), weight (O, C / group, K1, ...), bias (O,), slope (O,) -> (N, O, E1, ...)."""
    same_dtype(x=x, weight=weight, bias=bias, slope=slope)
    check_conv(x.shape, weight.shape, group, *(None if a is None else a.shape for a in (bias, slope)))
    windows = slide(x.shape[2:], weight.shape[2:], strides, dilations, pads)
    N, O = x.shape[0], weight.shape[0]
    padded = np.pad(x, [(0, 0), (0, 0), *_room(x.shape[2:], windows)])
    padded = padded.reshape(N, group, weight.shape[1], *padded.shape[2:])
    kernels = weight.reshape(group, O // group, *weight.shape[1:])
    y = np.zeros((N, group, O // group, *windows.sizes), x.dtype)
    for tap in product(*map(range, windows.taps)):
        seen: list[Any] = [
            slice(t * d, t * d + (e - 1) * s + 1, s) if e else slice(0, 0)
            for t, d, e, s in zip(tap, windows.dilations, windows.sizes, windows.strides, strict=True)
        ]
        y += np.einsum("ngc...,goc->ngo...", _at(padded, seen), _at(kernels, tap))
    return _finished(y.reshape(N, O, *windows.sizes), bias, slope, clamp)


def _spread_dims(
    x: Operand, weight: Operand, *_: Operand | None,
    strides: Counts, pads: Pads, dilations: Counts, group: int, output_padding: Sizes,
    output_shape: Sizes | None = None, clamp: Clamp | None = None,
) -> Dims:  # fmt: skip
    spatial = spread_dims(x.dims[2:], weight.sizes[2:], strides, dilations, pads, output_padding, output_shape)
    return [x.dims[0], Dim(multiply(weight.sizes[1], group)), *spatial]


@operator(
    "conv_transpose",
    Facts(
        _spread_dims,
        weights=dict.fromkeys((1, 2, 3)),
        flops=lambda x, weight, *_, **__: multiply(2, *x.sizes, *weight.sizes[1:]),
    ),
    agree=check_forms,
)
def conv_transpose(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    slope: Array | None = None,
    *,
    strides: Counts,
    pads: Pads,
    dilations: Counts,
    group: Count,
    output_padding: Sizes,
    output_shape: Sizes | None = None,
    clamp: Clamp | None = None,
) -> Array:
    """x (N, C, D1, ...), weight (C, O / group, K1, ...), bias (O,), slope (O,) -> (N, O, E1, ...)."""
    same_dtype(x=x, weight=weight, bias=bias, slope=slope)
    check_transposed(x.shape, weight.shape, group, *(None if a is None else a.shape for a in (bias, slope)))
    windows = spread(x.shape[2:], weight.shape[2:], strides, dilations, pads, output_padding, output_shape)
    N, C = x.shape[:2]
    grouped = x.reshape(N, group, C // group, *x.shape[2:])
    kernels = weight.reshape(group, C // group, *weight.shape[1:])
    O = group * weight.shape[1]
    y = np.zeros((N, group, weight.shape[1], *windows.sizes), x.dtype)
    for tap, near, far in overlaps(windows, x.shape[2:], windows.sizes):
        there = _at(y, far)
        there += np.einsum("ngc...,gco->ngo...", _at(grouped, near), _at(kernels, tap))
    return _finished(y.reshape(N, O, *windows.sizes), bias, slope, clamp)


def _at(array: Array, places: Sequence[Any]) -> Array:
    """Return a view of `array` at `places` along its last axes."""
    there: Array = array[(..., *places)]
    return there


def _room(spatial: Sequence[int], windows: Windows) -> list[tuple[int, int]]:
    """Return the padding before and after each axis, without the part after the axis that no window reads."""
    room = []
    for i, n in enumerate(spatial):
        last = (windows.sizes[i] - 1) * windows.strides[i] + (windows.taps[i] - 1) * windows.dilations[i] + 1
        room.append((windows.begin[i], max(last - n - windows.begin[i], 0)))
    return room


def _finished(y: Array, bias: Array | None, slope: Array | None, clamp: Sequence[float | None] | None) -> Array:
    along = (-1, *[1] * (y.ndim - 2))
    if bias is not None:
        y = y + bias.reshape(along)
    if clamp is not None:
        low, high = clamp
        y = y if low is None else np.maximum(y, y.dtype.type(low))
        y = y if high is None else np.minimum(y, y.dtype.type(high))
    return y if slope is None else np.where(y < 0, slope.reshape(along) * y, y)

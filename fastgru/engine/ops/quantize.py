"""Integers that stand for reals: to them, from them, and products of them that are exact.

Sums of integers are made by the kernels for floats, in parts so small that every sum on the way is a whole number that
a float holds: what comes out is exact, whatever the order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fastgru.engine.builder import Builder, known
from fastgru.engine.chain import computed
from fastgru.engine.lowering import lowering
from fastgru.engine.ops.cast import as_dtype, saturated
from fastgru.engine.ops.conv import lower_conv
from fastgru.engine.ops.elementwise import apply_binary, selected
from fastgru.engine.ops.matmul import multiplied
from fastgru.engine.ops.product import product
from fastgru.engine.ops.reduce import reduced
from fastgru.engine.ops.shape import reshaped
from fastgru.engine.view import Known, Value, View
from fastgru.errors import ShapeError
from fastgru.graph import Node
from fastgru.reference.conv import check_conv
from fastgru.reference.quantize import (
    PRODUCT_DTYPES,
    STORED_DTYPES,
    TARGET_DTYPES,
    check_blocks,
    check_stored,
    vector_axis,
)

__all__ = ["lower_conv_integer", "lower_dequantize", "lower_dynamic_quantize", "lower_matmul_integer", "lower_quantize"]

Array = NDArray[Any]

_EXACT: Final = {"float32": 1 << 24, "float64": 1 << 53}


@lowering("quantize")
def lower_quantize(builder: Builder, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    """y = saturate(round(x / scale) + zero_point)."""
    x, scale, zero_point = [*inputs, None][:3]
    assert x is not None
    assert scale is not None
    to = node.attrs.get("to", "uint8")
    check_stored("to", to, TARGET_DTYPES)
    if builder.dtype(x) not in (builder.float_dtype, "int32"):
        raise ShapeError(f"x has dtype {builder.dtype(x)}, expected a float or int32")
    if zero_point is not None and zero_point.dtype != to:
        raise ShapeError(f"zero_point has dtype {zero_point.dtype}, expected {to}")
    by, start = _parameters(builder, node, x, scale, zero_point)
    return [_quantized(builder, as_dtype(builder, x, builder.float_dtype), by, start, to)]


def _quantized(builder: Builder, x: View, scale: Value, zero_point: Value | None, to: str) -> View:
    if not (isinstance(scale, Known) and np.all(scale.array == 1)):
        x = computed(builder, "div", x, builder.view(scale))
    y = computed(builder, "round", x)
    if zero_point is not None:
        y = computed(builder, "add", y, as_dtype(builder, zero_point, builder.float_dtype))
    return saturated(builder, y, to)


@lowering("dequantize")
def lower_dequantize(builder: Builder, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    """y = (x - zero_point) * scale."""
    x, scale, zero_point = [*inputs, None][:3]
    assert x is not None
    assert scale is not None
    check_stored("x", x.dtype, STORED_DTYPES)
    if zero_point is not None and zero_point.dtype != x.dtype:
        raise ShapeError(f"zero_point has dtype {zero_point.dtype}, expected {x.dtype} as x")
    by, start = _parameters(builder, node, x, scale, zero_point)
    return [computed(builder, "mul", _moved(builder, x, start), builder.view(by))]


def _moved(builder: Builder, x: Value, zero_point: Value | None) -> View:
    """x - zero_point, in floats."""
    real = as_dtype(builder, x, builder.float_dtype)
    if zero_point is None or (isinstance(zero_point, Known) and not zero_point.array.any()):
        return real
    return computed(builder, "sub", real, as_dtype(builder, zero_point, builder.float_dtype))


def _parameters(
    builder: Builder, node: Node, x: Value, scale: Value, zero_point: Value | None
) -> tuple[Value, Value | None]:
    """Scale and zero point of every element, to broadcast with x."""
    if builder.dtype(scale) != builder.float_dtype:
        raise ShapeError(f"scale has dtype {scale.dtype}, expected a float")
    if (
        zero_point is not None
        and zero_point.shape != scale.shape
        and not prod(zero_point.shape) == prod(scale.shape) == 1
    ):
        raise ShapeError(f"zero_point has shape {zero_point.shape}, expected {scale.shape} as scale")
    axis, block_size = int(node.attrs.get("axis", 1)), int(node.attrs.get("block_size", 0))
    by = _spread(builder, "scale", scale, x.shape, axis, block_size)
    if zero_point is None:
        return by, None
    return by, _spread(builder, "zero_point", zero_point, x.shape, axis, block_size)


def _spread(builder: Builder, name: str, value: Value, x: tuple[int, ...], axis: int, block_size: int) -> Value:
    if not block_size:
        along = vector_axis(name, value.shape, x, axis)
        shape = () if along is None else tuple(n if i == along else 1 for i, n in enumerate(x))
        if isinstance(value, Known):
            return Known(value.array.reshape(shape))
        return reshaped(builder, value, shape)
    at = check_blocks(name, value.shape, x, axis, block_size)
    each = min(block_size, x[at])
    if isinstance(value, Known):
        return Known(np.repeat(value.array, each, axis=at)[(slice(None),) * at + (slice(x[at]),)])
    view = builder.view(value)
    blocks = View(
        view.buffer, view.offset, (*view.shape[: at + 1], each, *view.shape[at + 1 :]),
        (*view.strides[: at + 1], 0, *view.strides[at + 1 :]), view.dtype,
    )  # fmt: skip
    whole = reshaped(builder, blocks, (*x[:at], view.shape[at] * each, *x[at + 1 :]))
    return View(whole.buffer, whole.offset, x, whole.strides, whole.dtype)


@lowering("dynamic_quantize")
def lower_dynamic_quantize(builder: Builder, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    """y (uint8), scale, zero_point of all of x."""
    (value,) = inputs
    assert value is not None
    if builder.dtype(value) != builder.float_dtype:
        raise ShapeError(f"x has dtype {value.dtype}, expected a float")
    x = builder.view(value)
    zero, steps, one = (_number(builder, n) for n in (0, 255, 1))
    if x.size == 0:
        return [builder.new(x.shape, "uint8"), Known(np.ones((), builder.float_dtype)), Known(np.zeros((), np.uint8))]
    axes = range(x.ndim)
    if x.ndim:
        low, high = (reduced(builder, x, kind, axes, keepdims=False) for kind in ("min", "max"))
    else:
        low = high = x
    low, high = computed(builder, "min", low, zero), computed(builder, "max", high, zero)
    scale = computed(builder, "div", computed(builder, "sub", high, low), steps)
    flat = builder.new((), "bool")
    builder.emit("compare", scale.dtype, [scale, zero, flat], [0, 1, 0, 1, 1, 1])
    scale = selected(builder, flat, one, scale)
    zero_point = _quantized(builder, computed(builder, "sub", zero, low), scale, None, "uint8")
    return [_quantized(builder, x, scale, zero_point, "uint8"), scale, zero_point]


def _number(builder: Builder, value: float) -> View:
    return builder.packed(("number", repr(value)), lambda: np.array(value, builder.float_dtype))


@lowering("matmul_integer")
def lower_matmul_integer(builder: Builder, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    """(a - a_zero_point) (b - b_zero_point) in int32."""
    a, b, a_zero, b_zero = [*inputs, None, None][:4]
    assert a is not None
    assert b is not None
    _check_product(a=(a, a_zero), b=(b, b_zero))
    if not a.ndim or not b.ndim or a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
        raise ShapeError(f"a {a.shape} and b {b.shape} do not fit together")
    a_zero, b_zero = _zero_point("a", a_zero, a, of_rows=True), _zero_point("b", b_zero, b, of_rows=False)
    left = _moved(builder, a, _placed(builder, a_zero))
    exact = _EXACT[builder.float_dtype]
    if isinstance(b, Known) and b.ndim == 2 and (b_zero is None or isinstance(b_zero, Known)):
        right = _difference(b, b_zero)
        names = (node.inputs[1], *node.inputs[3:4], "less its zero point")
        parts = []
        for first, last in _runs(right, _peak(a, a_zero), exact):
            weight = Known(right[first:last].T, _shared(b, b_zero))
            y = product(builder, _sliced(left, left.ndim - 1, first, last), weight, None, (*names, str(first)))
            parts.append(saturated(builder, y, "int32"))
        return [_total(builder, parts)]
    right_view = _moved(builder, b, _placed(builder, b_zero))
    each = exact // (_peak(a, a_zero) * _peak(b, b_zero))
    K = a.shape[-1]
    parts = []
    for first in range(0, max(K, 1), each):
        some = _sliced(left, left.ndim - 1, first, min(first + each, K))
        others = _sliced(right_view, max(right_view.ndim - 2, 0), first, min(first + each, K))
        parts.append(saturated(builder, multiplied(builder, some, others), "int32"))
    return [_total(builder, parts)]


@lowering("conv_integer")
def lower_conv_integer(builder: Builder, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    """The convolution of x - x_zero_point and weight - weight_zero_point in int32."""
    x, weight_value, x_zero, weight_zero = [*inputs, None, None][:4]
    assert x is not None
    assert weight_value is not None
    _check_product(x=(x, x_zero), weight=(weight_value, weight_zero))
    weight = known(weight_value, "the weight")
    start = None if weight_zero is None else known(weight_zero, "the zero point of the weight")
    group = int(node.attrs["group"])
    check_conv(x.shape, weight.shape, group)
    if x_zero is not None:
        if prod(x_zero.shape) != 1:
            raise ShapeError(f"the zero point of x has shape {x_zero.shape}, expected a number")
        x_zero = _zero_point("x", x_zero, x, of_rows=False)
    spread = start
    if start is not None and start.array.size != 1:
        vector_axis("the zero point of weight", start.shape, weight.shape, 0)
        spread = Known(start.array.reshape(-1, *[1] * (weight.ndim - 1)), start.name)
    elif start is not None:
        spread = Known(start.array.reshape(()), start.name)
    O, each, *sizes = weight.shape
    taps = max(prod(sizes), 1)
    kernels = _difference(weight, spread)
    flat = kernels.reshape(O, each * taps).T
    left = _moved(builder, x, _placed(builder, x_zero))
    parts = []
    for first, last in _runs(flat, _peak(x, x_zero), _EXACT[builder.float_dtype]):
        some = np.zeros_like(flat)
        some[first:last] = flat[first:last]
        channels = first // taps, max(-(-last // taps), first // taps + 1)
        of_part = some.T.reshape(kernels.shape)[:, channels[0] : channels[1]]
        key = "/".join((*node.inputs[1:2], *node.inputs[3:4], "less its zero point", str(first)))
        moved = _channels(builder, left, group, *channels) if channels != (0, each) else left
        inner = Known(of_part, key if _shared(weight, spread) else "")
        (y,) = lower_conv(builder, replace(node, inputs=("x", key)), [moved, inner])
        parts.append(saturated(builder, builder.view(y), "int32"))
    return [_total(builder, parts)]


def _check_product(**given: tuple[Value, Value | None]) -> None:
    for name, (x, zero_point) in given.items():
        check_stored(name, x.dtype, PRODUCT_DTYPES)
        if zero_point is not None and zero_point.dtype != x.dtype:
            raise ShapeError(f"the zero point of {name} has dtype {zero_point.dtype}, expected {x.dtype}")


def _zero_point(name: str, value: Value | None, x: Value, *, of_rows: bool) -> Value | None:
    """A zero point with the axes by which it broadcasts with x."""
    if value is None:
        return None
    shape = value.shape
    if prod(shape) == 1:
        shape = ()
    elif of_rows and len(shape) == 1:
        shape = (*shape, 1)
    if len(shape) > x.ndim or any(n not in (1, of) for n, of in zip(shape[::-1], x.shape[::-1], strict=False)):
        raise ShapeError(f"the zero point of {name} has shape {value.shape} for {x.shape}")
    if isinstance(value, Known):
        return Known(value.array.reshape(shape), value.name)
    return View(value.buffer, value.offset, shape, (*value.strides, 0)[: len(shape)], value.dtype)


def _placed(builder: Builder, zero_point: Value | None) -> Value | None:
    """Without the name that stands for a constant in its own shape."""
    return Known(zero_point.array) if isinstance(zero_point, Known) else zero_point


def _difference(x: Known, zero_point: Value | None) -> Array:
    return x.array.astype(np.float64) - (zero_point.array if isinstance(zero_point, Known) else 0)


def _shared(x: Known, zero_point: Value | None) -> str:
    """A name where both are the same in all plans."""
    return x.name if zero_point is None or (isinstance(zero_point, Known) and zero_point.name) else ""


def _peak(x: Value, zero_point: Value | None) -> int:
    """What x - zero_point is at most, without its sign."""
    limits = np.iinfo(x.dtype)
    low, high = limits.min, limits.max
    if zero_point is None:
        low = high = 0
    elif isinstance(zero_point, Known) and zero_point.array.size:
        low, high = int(zero_point.array.min()), int(zero_point.array.max())
    return max(limits.max - low, high - limits.min)


def _runs(weights: Array, peak: int, exact: int) -> Iterator[tuple[int, int]]:
    """Runs of k, at least one, in each of which no sum of products by numbers up to `peak` passes `exact`.

    weights: (K, O).
    """
    total = np.cumsum(np.abs(weights), axis=0) * peak
    first, K = 0, len(weights)
    while first < K or first == 0:
        reach = (total[first:] - (total[first - 1] if first else 0)).max(axis=1, initial=0)
        last = first + max(int(np.searchsorted(reach, exact, side="right")), 1)
        yield first, min(last, K)
        first = last


def _sliced(view: View, axis: int, first: int, last: int) -> View:
    shape = (*view.shape[:axis], last - first, *view.shape[axis + 1 :])
    return View(view.buffer, view.moved(first * view.strides[axis]), shape, view.strides, view.dtype)


def _channels(builder: Builder, x: View, group: int, first: int, last: int) -> View:
    """These channels of each group of x (N, C, D1, ...)."""
    N, C, *sizes = x.shape
    some = _sliced(reshaped(builder, x, (N, group, C // group, *sizes)), 2, first, last)
    return reshaped(builder, some, (N, group * (last - first), *sizes))


def _total(builder: Builder, parts: Sequence[View]) -> View:
    total = parts[0]
    for part in parts[1:]:
        total = apply_binary(builder, "add", total, part)
    return total

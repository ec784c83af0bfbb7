"""Quantization and dequantization: integers that stand for real numbers."""

import numpy as np

from fastgru.engine.fusion import computed
from fastgru.engine.lowering import Constant, Node, PlanBuilder, Value, View, lowering
from fastgru.engine.ops.cast import as_dtype, number, saturated
from fastgru.engine.ops.elementwise import broadcast, selected
from fastgru.engine.ops.reduce import reduced
from fastgru.engine.ops.shape import reshaped
from fastgru.errors import ShapeError
from fastgru.kernels.operands.binary import COMPARISONS
from fastgru.reference.quantize import (
    STORED_DTYPES,
    check_blocks,
    check_pair,
    check_stored,
    spread_parameter,
    vector_axis,
)

__all__ = ["lower_dequantize", "lower_dynamic_quantize", "lower_quantize", "moved"]


@lowering("quantize")
def lower_quantize(
    builder: PlanBuilder, node: Node, x: Value, scale: Value, zero_point: Value | None = None
) -> list[Value]:
    """y = saturate(round(x / scale) + zero_point)."""
    to = node.attrs.get("to", "uint8")
    if builder.dtype(x) not in (builder.float_dtype, "int32"):
        raise ShapeError(f"x has dtype {builder.dtype(x)}, expected a float or int32")
    check_pair(scale, zero_point, to)
    by, start = _parameters(builder, node, x, scale, zero_point)
    return [_quantized(builder, as_dtype(builder, x, builder.float_dtype), by, start, to)]


def _quantized(builder: PlanBuilder, x: View, scale: Value, zero_point: Value | None, to: str) -> View:
    if not (isinstance(scale, Constant) and np.all(scale.array == 1)):
        x = computed(builder, "div", x, builder.view(scale))
    y = computed(builder, "round", x)
    if zero_point is not None:
        y = computed(builder, "add", y, as_dtype(builder, zero_point, builder.float_dtype))
    return saturated(builder, y, to)


@lowering("dequantize")
def lower_dequantize(
    builder: PlanBuilder, node: Node, x: Value, scale: Value, zero_point: Value | None = None
) -> list[Value]:
    """y = (x - zero_point) * scale."""
    check_stored("x", x.dtype, STORED_DTYPES)
    check_pair(scale, zero_point, x.dtype)
    by, start = _parameters(builder, node, x, scale, zero_point)
    return [computed(builder, "mul", moved(builder, x, start), builder.view(by))]


def moved(builder: PlanBuilder, x: Value, zero_point: Value | None) -> View:
    """Return x - zero_point, in floats."""
    real = as_dtype(builder, x, builder.float_dtype)
    if zero_point is None or (isinstance(zero_point, Constant) and not zero_point.array.any()):
        return real
    return computed(builder, "sub", real, as_dtype(builder, zero_point, builder.float_dtype))


def _parameters(
    builder: PlanBuilder, node: Node, x: Value, scale: Value, zero_point: Value | None
) -> tuple[Value, Value | None]:
    """Return scale and zero point in shapes that broadcast with x."""
    axis, block_size = int(node.attrs.get("axis", 1)), int(node.attrs.get("block_size", 0))
    by = _spread(builder, "scale", scale, x.shape, axis, block_size)
    if zero_point is None:
        return by, None
    return by, _spread(builder, "zero_point", zero_point, x.shape, axis, block_size)


def _spread(builder: PlanBuilder, name: str, value: Value, x: tuple[int, ...], axis: int, block_size: int) -> Value:
    if isinstance(value, Constant):
        return Constant(spread_parameter(name, value.array, x, axis, block_size))
    if not block_size:
        along = vector_axis(name, value.shape, x, axis)
        return reshaped(builder, value, [n if i == along else 1 for i, n in enumerate(x)])
    at = check_blocks(name, value.shape, x, axis, block_size)
    each = min(block_size, x[at])
    view = builder.view(value)
    blocks = View(
        view.buffer, view.offset, (*view.shape[: at + 1], each, *view.shape[at + 1 :]),
        (*view.strides[: at + 1], 0, *view.strides[at + 1 :]), view.dtype,
    )  # fmt: skip
    whole = reshaped(builder, blocks, (*x[:at], view.shape[at] * each, *x[at + 1 :]))
    return whole.as_strided(x, whole.strides)


@lowering("dynamic_quantize")
def lower_dynamic_quantize(builder: PlanBuilder, node: Node, value: Value) -> list[Value]:
    """y (uint8), with one scale and one zero point for the whole of x."""
    x = builder.floats(value)
    zero, steps, one = (number(builder, n) for n in (0, 255, 1))
    if x.size == 0:
        return [
            builder.new(x.shape, "uint8"),
            Constant(np.ones((), builder.float_dtype)),
            Constant(np.zeros((), np.uint8)),
        ]
    axes = range(x.ndim)
    if x.ndim:
        low, high = (reduced(builder, x, kind, axes, keepdims=False) for kind in ("min", "max"))
    else:
        low = high = x
    low, high = computed(builder, "min", low, zero), computed(builder, "max", high, zero)
    scale = computed(builder, "div", computed(builder, "sub", high, low), steps)
    flat = broadcast(builder, "compare", scale.dtype, "bool", COMPARISONS.equal, a=scale, b=zero)
    scale = selected(builder, flat, one, scale)
    zero_point = _quantized(builder, computed(builder, "sub", zero, low), scale, None, "uint8")
    return [_quantized(builder, x, scale, zero_point, "uint8"), scale, zero_point]

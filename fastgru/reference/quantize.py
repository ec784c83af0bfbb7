"""Integers that stand for reals, as in ONNX: real = (integer - zero_point) * scale.

    quantize          y = saturate(round(x / scale) + zero_point), halves to even
    dequantize        y = (x - zero_point) * scale
    dynamic_quantize  scale = (max(x, 0) - min(x, 0)) / 255, zero_point = saturate(round(-min(x, 0) / scale)), in uint8
    matmul_integer    (a - a_zero_point) (b - b_zero_point), summed in int32, which wraps around
    conv_integer      the convolution of x - x_zero_point and weight - weight_zero_point, in int32; padding is zero

Scale and zero point are numbers, vectors along `axis`, or, with a `block_size`, tensors in which each element applies
to that many neighbours along `axis`. NaN becomes the smallest integer; a dynamic scale of data with a NaN is NaN.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Any, Final

import numpy as np

from fastgru.errors import ShapeError, UnsupportedModelError
from fastgru.graph import PRODUCT_DTYPES
from fastgru.reference.attributes import Axis, Count, Counts, OneOf, Size
from fastgru.reference.conv import conv, conv_dims, conv_flops
from fastgru.reference.dims import Facts, apart, same
from fastgru.reference.linear import matmul_dims, matmul_flops, matmul_ties
from fastgru.reference.operator import Array, is_floating, operator
from fastgru.reference.shape import normal_axis
from fastgru.reference.windows import Pads, check_forms

__all__ = [
    "STORED_DTYPES", "TARGET_DTYPES", "check_blocks", "check_factor", "check_pair", "check_stored",
    "conv_integer", "dequantize", "dynamic_quantize", "matmul_integer", "quantize", "spread_parameter",
    "vector_axis",
]  # fmt: skip

Shape = tuple[int, ...]

TARGET_DTYPES: Final = ("int16", "int8", "uint16", "uint8")
STORED_DTYPES: Final = ("int16", "int32", "int8", "uint16", "uint8")


def vector_axis(name: str, parameter: Shape, x: Shape, axis: int) -> int | None:
    """Return the axis of x along which a vector lies, None for a number. Raises `ShapeError` if it does not fit."""
    if parameter in ((), (1,)):
        return None
    at = normal_axis(axis, len(x))
    if parameter != (x[at],):
        raise ShapeError(f"{name} has shape {parameter}, expected a number or one for each of the {x[at]} of axis {at}")
    return at


def check_blocks(name: str, parameter: Shape, x: Shape, axis: int, block_size: int) -> int:
    """Return the axis that is cut into blocks. Raises `ShapeError` unless `parameter` has an element for each block."""
    at = normal_axis(axis, len(x))
    expected = tuple(-(-n // block_size) if i == at else n for i, n in enumerate(x)) if block_size > 0 else ()
    if block_size < 1 or parameter != expected:
        raise ShapeError(f"{name} has shape {parameter} for blocks of {block_size} in axis {at} of x {x}")
    return at


def check_stored(name: str, dtype: str, known: Sequence[str]) -> None:
    """Raise `UnsupportedModelError` unless the dtype is one of `known`."""
    if dtype not in known:
        raise UnsupportedModelError(f"{name} has dtype {dtype}, expected one of {', '.join(known)}")


def spread_parameter(name: str, parameter: Array, x: Shape, axis: int, block_size: int) -> Array:
    """Return the scale or zero point of every element, in a shape that broadcasts with x."""
    if block_size:
        at = check_blocks(name, parameter.shape, x, axis, block_size)
        return np.repeat(parameter, min(block_size, x[at]), axis=at)[(slice(None),) * at + (slice(x[at]),)]
    along = vector_axis(name, parameter.shape, x, axis)
    return parameter.reshape([-1 if i == along else 1 for i in range(len(x))])


def _wide(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(np.float32) if dtype == np.float16 else dtype


def check_pair(scale: Any, zero_point: Any | None, dtype: Any) -> None:
    """Raise `ShapeError` unless the scale is floating-point, and a zero point has its shape and this dtype."""
    if not is_floating(scale.dtype):
        raise ShapeError(f"scale has dtype {scale.dtype}, expected a float")
    if zero_point is None:
        return
    if zero_point.shape != scale.shape and not math.prod(zero_point.shape) == math.prod(scale.shape) == 1:
        raise ShapeError(f"zero_point has shape {zero_point.shape}, expected {scale.shape}, the shape of scale")
    if zero_point.dtype != dtype:
        raise ShapeError(f"zero_point has dtype {zero_point.dtype}, expected {dtype}")


def check_factor(name: str, x: Any, zero_point: Any | None) -> None:
    """Raise unless x has integers of 8 bits, and its zero point the same dtype."""
    check_stored(name, str(x.dtype), PRODUCT_DTYPES)
    if zero_point is not None and zero_point.dtype != x.dtype:
        raise ShapeError(f"the zero point of {name} has dtype {zero_point.dtype}, expected {x.dtype}")


@operator("quantize", Facts(same, dtype=lambda to="uint8", **_: to, flops=3, mixes=apart))
def quantize(
    x: Array,
    scale: Array,
    zero_point: Array | None = None,
    *,
    axis: Axis = 1,
    block_size: Size = 0,
    to: Annotated[str, OneOf(TARGET_DTYPES)] = "uint8",
) -> Array:
    """x (floats or int32), scale, zero_point (of the dtype `to`) -> integers of the dtype `to`."""
    check_pair(scale, zero_point, to)
    if not is_floating(x.dtype) and x.dtype != np.int32:
        raise ShapeError(f"x has dtype {x.dtype}, expected a float or int32")
    limits, real = np.iinfo(to), _wide(scale.dtype)
    y = np.rint(x.astype(real) / spread_parameter("scale", scale.astype(real), x.shape, axis, block_size))
    if zero_point is not None:
        y = y + spread_parameter("zero_point", zero_point, x.shape, axis, block_size).astype(real)
    y = np.where(np.isnan(y), limits.min, np.clip(y, limits.min, limits.max))
    return np.asarray(y).astype(to)


@operator("dequantize", Facts(same, dtype=1, weights=dict.fromkeys((0, 1, 2)), flops=2, mixes=apart))
def dequantize(
    x: Array, scale: Array, zero_point: Array | None = None, *, axis: Axis = 1, block_size: Size = 0
) -> Array:
    """x (integers), scale, zero_point (of the dtype of x) -> floats of the dtype of scale."""
    check_stored("x", x.dtype.name, STORED_DTYPES)
    check_pair(scale, zero_point, x.dtype)
    moved = x.astype(np.int64)
    if zero_point is not None:
        moved = moved - spread_parameter("zero_point", zero_point, x.shape, axis, block_size)
    real = _wide(scale.dtype)
    y = moved.astype(real) * spread_parameter("scale", scale.astype(real), x.shape, axis, block_size)
    return np.asarray(y).astype(scale.dtype)


@operator("dynamic_quantize", Facts(lambda x: (list(x.dims), [], []), dtype=("uint8", 0, "uint8"), flops=4))
def dynamic_quantize(x: Array) -> tuple[Array, Array, Array]:
    """x -> y (uint8), scale and zero_point (uint8), both single numbers. The scale is 1 if x is 0 everywhere."""
    if not is_floating(x.dtype):
        raise ShapeError(f"x has dtype {x.dtype}, expected a float")
    real = _wide(x.dtype)
    zero = np.zeros((), real)
    low = np.minimum(zero, x.astype(real).min(initial=0))
    high = np.maximum(zero, x.astype(real).max(initial=0))
    scale = np.asarray((high - low) / real.type(255))
    scale = np.ones((), real) if scale == 0 else scale
    zero_point = quantize(zero - low, scale)
    return quantize(x.astype(real), scale, zero_point), scale.astype(x.dtype), zero_point


@operator("matmul_integer", Facts(matmul_dims, dtype="int32", ties=matmul_ties, flops=matmul_flops, mixes=apart))
def matmul_integer(a: Array, b: Array, a_zero_point: Array | None = None, b_zero_point: Array | None = None) -> Array:
    """a (..., M, K), b (..., K, N), by NumPy's rules -> int32.

    Zero points are numbers, vectors over the rows of a and the columns of b, or arrays with the axes of a and b, in
    which K has size 1.
    """
    given = {"a": (a, a_zero_point), "b": (b, b_zero_point)}
    parts = [_less(name, x, zero_point, of_rows=name == "a") for name, (x, zero_point) in given.items()]
    with np.errstate(all="ignore"):  # exact in float64 as long as K is below 2^36
        return np.asarray(np.matmul(parts[0], parts[1])).astype(np.int64).astype(np.int32)


def _less(name: str, x: Array, zero_point: Array | None, *, of_rows: bool) -> Array:
    """Return x - zero_point in float64."""
    check_factor(name, x, zero_point)
    if zero_point is None:
        return x.astype(np.float64)
    column = of_rows and zero_point.ndim == 1 and zero_point.size != 1
    spread = zero_point[:, None] if column else zero_point.reshape(()) if zero_point.size == 1 else zero_point
    if np.broadcast_shapes(x.shape, spread.shape) != x.shape:
        raise ShapeError(f"the zero point of {name} has shape {zero_point.shape} for {x.shape}")
    return np.asarray(x.astype(np.float64) - spread)


@operator("conv_integer", Facts(conv_dims, dtype="int32", flops=conv_flops), agree=check_forms)
def conv_integer(
    x: Array,
    weight: Array,
    x_zero_point: Array | None = None,
    weight_zero_point: Array | None = None,
    *,
    strides: Counts,
    pads: Pads,
    dilations: Counts,
    group: Count,
) -> Array:
    """x (N, C, D1, ...), weight (O, C / group, K1, ...) -> int32 (N, O, E1, ...).

    x_zero_point: a number. weight_zero_point: a number, or one for each output channel.
    """
    if x_zero_point is not None and x_zero_point.size != 1:
        raise ShapeError(f"the zero point of x has shape {x_zero_point.shape}, expected a number")
    if weight_zero_point is not None and weight_zero_point.size > 1:
        vector_axis("the zero point of weight", weight_zero_point.shape, weight.shape, 0)
        weight_zero_point = weight_zero_point.reshape(-1, *[1] * (weight.ndim - 1))
    y = conv(
        _less("x", x, x_zero_point, of_rows=False),
        _less("weight", weight, weight_zero_point, of_rows=False),
        strides=strides, pads=pads, dilations=dilations, group=group,
    )  # fmt: skip
    return y.astype(np.int64).astype(np.int32)

"""Operators that put the same elements into another shape, or return shapes as integers."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastgru.errors import InvalidModelError, ShapeError
from fastgru.reference.attributes import Axes, Axis, DType, Position
from fastgru.reference.dims import (
    FIRST,
    MOST_ELEMENTS,
    Dim,
    Dims,
    Facts,
    Operand,
    UnknownError,
    apart,
    broadcast_dims,
    reduced,
    regrouped,
)
from fastgru.reference.operator import Array, is_floating, numpy_dtype, operator, same_dtype
from fastgru.reference.sizes import Size, at_least, divide, multiply, subtract

__all__ = [
    "arange",
    "check_constant",
    "check_positions",
    "constant_of_shape",
    "expand",
    "flat_shape",
    "flatten",
    "integers",
    "new_shape",
    "normal_axis",
    "reshape",
    "shape",
    "squeeze",
    "transpose",
    "unsqueeze",
]


def integers(name: str, vector: Array) -> list[int]:
    """Return the values of an integer vector or scalar. Raises `ShapeError` for any other array."""
    if vector.dtype.kind not in "iu" or vector.ndim > 1:
        raise ShapeError(f"{name}: got {vector.dtype} {vector.shape}, expected a vector of integers")
    return [int(v) for v in vector.reshape(-1)]


def check_positions(what: str, numbers: Array, low: Any, high: Any) -> None:
    """Raise `ShapeError` unless `numbers` are integers from low to high.

    low, high: numbers, or one for each position along the last axis.
    """
    if numbers.dtype.kind not in "iu":
        raise ShapeError(f"{what} have dtype {numbers.dtype}, expected an integer")
    if numbers.size and ((numbers < np.asarray(low)) | (numbers > np.asarray(high))).any():
        raise ShapeError(f"{what} are between {numbers.min()} and {numbers.max()}, expected {low} to {high}")


def normal_axis(axis: int, rank: int) -> int:
    """Return `axis` counted from 0. Raises `ShapeError` if it is outside the rank."""
    if not -rank <= axis < rank:
        raise ShapeError(f"axis {axis} is outside {rank} axes")
    return axis % rank


def _reshaped(x: Operand, shape: Operand, *, allow_zero: bool = False) -> Dims:
    """Return the axes of the output. A size whose element may be -1 or 0 is unknown; a single one is computed."""
    sizes: list[Size] = []
    for i, n in enumerate(shape.elements):
        known = isinstance(n, int) or at_least(n, 1)
        sizes.append(x.sizes[i] if n == 0 and not allow_zero else n if known and n != -1 else None)
    if not x.is_ranked:
        return [Dim(n) for n in sizes]
    if sizes.count(None) == 1:
        at = sizes.index(None)
        sizes[at] = divide(multiply(*x.sizes), multiply(*(sizes[:at] + sizes[at + 1 :])))
    return regrouped(x.dims, sizes)


def _kept(x: Operand, *_: Any, **__: Any) -> list[Size]:
    return x.elements


@operator("reshape", Facts(_reshaped, elements=_kept, moves=FIRST, mixes=apart))
def reshape(x: Array, shape: Array, *, allow_zero: bool = False) -> Array:
    """x in `shape`. A size of 0 copies the size of the same axis of x unless allow_zero; one -1 is inferred."""
    return x.reshape(new_shape(x.shape, integers("shape", shape), allow_zero=allow_zero))


def new_shape(old: tuple[int, ...], sizes: list[int], *, allow_zero: bool) -> list[int]:
    """Return the shape that `reshape` gives an array of shape `old`. Raises `ShapeError` if there is none."""
    if not allow_zero:
        if any(s == 0 and i >= len(old) for i, s in enumerate(sizes)):
            raise ShapeError(f"reshape: shape {sizes} copies an axis that shape {old} does not have")
        sizes = [old[i] if s == 0 else s for i, s in enumerate(sizes)]
    if any(s < -1 for s in sizes) or sizes.count(-1) > 1:
        raise ShapeError(f"reshape: shape is {sizes}, expected sizes of at least 0 and at most one -1")
    size, rest = math.prod(old), abs(math.prod(sizes))
    fits = rest > 0 and size % rest == 0 if -1 in sizes else size == rest
    if not fits:
        raise ShapeError(f"reshape: shape {old} cannot be reshaped to {sizes}")
    return [size // rest if s == -1 else s for s in sizes]


@operator("transpose", Facts(lambda x, perm: [x.dims[i] for i in perm], moves=FIRST, mixes=apart))
def transpose(x: Array, *, perm: Axes) -> Array:
    """y.shape[i] == x.shape[perm[i]]."""
    if sorted(perm) != list(range(x.ndim)):
        raise ShapeError(f"transpose: perm {list(perm)} does not permute {x.ndim} axes")
    return x.transpose(tuple(perm))


def _squeezed(x: Operand, *, axes: Axes) -> Dims:
    if not axes:
        axes = [i for i, n in enumerate(x.shape) if n == 1]
    return reduced(x, axes)


@operator("squeeze", Facts(_squeezed, elements=_kept, moves=FIRST, mixes=apart))
def squeeze(x: Array, *, axes: Axes) -> Array:
    """x without `axes`, each of size 1. Empty `axes` stand for every axis of size 1."""
    named = sorted({normal_axis(a, x.ndim) for a in axes}) or [i for i, s in enumerate(x.shape) if s == 1]
    if wrong := [a for a in named if x.shape[a] != 1]:
        raise ShapeError(f"squeeze: axes {wrong} of shape {x.shape} are not of size 1")
    return np.squeeze(x, tuple(named))


def _unsqueezed(x: Operand, *, axes: Axes) -> Dims:
    rank = x.rank + len(axes)
    added, rest = {range(rank)[axis] for axis in axes}, iter(x.dims)
    return [Dim(1) if i in added else next(rest) for i in range(rank)]


@operator("unsqueeze", Facts(_unsqueezed, elements=_kept, moves=FIRST, mixes=apart))
def unsqueeze(x: Array, *, axes: Axes) -> Array:
    """x with axes of size 1 inserted, so that they are `axes` of the output."""
    rank = x.ndim + len(axes)
    named = [normal_axis(a, rank) for a in axes]
    if len(set(named)) != len(named):
        raise ShapeError(f"unsqueeze: axes {list(axes)} name one axis twice")
    return np.expand_dims(x, tuple(named))


def _flattened(x: Operand, *, axis: int) -> Dims:
    if not x.is_ranked:
        return [Dim(None), Dim(None)]
    at = axis + x.rank if axis < 0 else axis
    return regrouped(x.dims, [multiply(*x.sizes[:at]), multiply(*x.sizes[at:])])


@operator("flatten", Facts(_flattened, moves=FIRST, mixes=apart))
def flatten(x: Array, *, axis: Axis) -> Array:
    """x (d0, ..., dn) -> (d0 * ... * d(axis-1), the rest); axis from -rank to rank."""
    return x.reshape(flat_shape(x.shape, axis))


def flat_shape(shape: tuple[int, ...], axis: int) -> tuple[int, int]:
    """Return the shape that `flatten` gives an array of this shape. Raises `ShapeError` for an axis outside it."""
    rank = len(shape)
    if not -rank <= axis <= rank:
        raise ShapeError(f"flatten: axis {axis} is outside {rank} axes")
    at = axis + rank if axis < 0 else axis
    return math.prod(shape[:at]), math.prod(shape[at:])


def _repeated(x: Operand, shape: Operand) -> list[Size]:
    (count,) = shape.integers or (1,)
    return x.elements * max(count, 1) if len(x.elements) == 1 and count <= MOST_ELEMENTS else x.elements


@operator(
    "expand",
    Facts(
        lambda x, shape: broadcast_dims(x.dims, [Dim(n) for n in shape.elements]),
        elements=_repeated,
        moves=FIRST,
        mixes=apart,
    ),
)
def expand(x: Array, shape: Array) -> Array:
    """x broadcast with `shape`: a size of 1 on either side is replaced by the size on the other."""
    sizes = integers("shape", shape)
    if min(sizes, default=0) < 0:
        raise ShapeError(f"expand: shape is {sizes}, expected sizes of at least 0")
    return np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(sizes)))


def _sizes(x: Operand, *, start: int = 0, end: int | None = None) -> list[Size]:
    return x.sizes[start:end]


@operator("shape", Facts(lambda x, **attrs: [Dim(len(_sizes(x, **attrs)))], dtype="int64", elements=_sizes))
def shape(x: Array, *, start: Position = 0, end: Position | None = None) -> Array:
    """x.shape[start:end] as int64; negative bounds count from the end, and both are clamped."""
    return np.array(x.shape[slice(start, end)], dtype=np.int64)


def _counted(start: Operand, limit: Operand, delta: Operand) -> Dims:
    if start.array is not None and limit.array is not None and delta.array is not None:
        first, last, step = start.array.item(), limit.array.item(), delta.array.item()
        return [Dim(max(math.ceil((last - first) / step), 0))]
    try:
        (low,), (high,), (by,) = start.elements, limit.elements, delta.elements
    except UnknownError:
        return [Dim(None)]
    return [Dim(subtract(high, low) if by == 1 and at_least(high, low) else None)]


def _steps(start: Operand, limit: Operand, delta: Operand) -> Sequence[Size]:
    (first,), (last,), (step,) = start.integers, limit.integers, delta.integers
    return list(range(first, last, step)[: MOST_ELEMENTS + 1])


@operator("range", Facts(_counted, elements=_steps))
def arange(start: Array, limit: Array, delta: Array) -> Array:
    """start, start + delta, ... below limit (above it for a negative delta)."""
    same_dtype(start=start, limit=limit, delta=delta)
    if start.size != 1 or limit.size != 1 or delta.size != 1:
        raise ShapeError(f"range: got shapes {start.shape}, {limit.shape}, {delta.shape}, expected three scalars")
    first, last, step = start.item(), limit.item(), delta.item()
    if step == 0:
        raise ShapeError("range: delta is 0, expected another number")
    count = max(math.ceil((last - first) / step), 0)
    return np.asarray(first + step * np.arange(count)).astype(start.dtype)


def check_constant(*, value: float, dtype: str) -> None:
    """Raise `InvalidModelError` if `dtype` is integer or bool and cannot hold the value."""
    kind = numpy_dtype(dtype)
    if is_floating(kind):
        return
    limits = (0, 1) if kind == np.bool_ else (np.iinfo(kind).min, np.iinfo(kind).max)
    if not (limits[0] <= value <= limits[1] and float(value).is_integer()):
        raise InvalidModelError(f"constant_of_shape: value is {value}, which does not fit {dtype}")


def _filled(shape: Operand, *, value: float, dtype: str) -> list[Size]:
    count = math.prod(shape.integers)
    return [int(value)] * count if count <= MOST_ELEMENTS else []


@operator(
    "constant_of_shape",
    Facts(
        lambda shape, **_: [Dim(n) for n in shape.elements],
        dtype=lambda dtype, **_: dtype,
        elements=_filled,
        mixes=apart,
    ),
    agree=check_constant,
)
def constant_of_shape(shape: Array, *, value: float | bool, dtype: DType) -> Array:
    """An array of this shape filled with `value`."""
    return np.full(tuple(integers("shape", shape)), value, dtype=numpy_dtype(dtype))

"""The same elements in another shape, and the shapes themselves as integers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgru.errors import InvalidModelError, ShapeError
from fastgru.reference.attributes import Axes, Axis, DType, Position
from fastgru.reference.operator import is_floating, numpy_dtype, same_dtype

__all__ = [
    "arange",
    "check_constant",
    "constant_of_shape",
    "expand",
    "flatten",
    "integers",
    "normal_axis",
    "reshape",
    "shape",
    "squeeze",
    "transpose",
    "unsqueeze",
]

Array = NDArray[Any]


def integers(name: str, vector: Array) -> list[int]:
    """The values of an integer vector (or scalar) that says where."""
    if vector.dtype.kind not in "iu" or vector.ndim > 1:
        raise ShapeError(f"{name}: got {vector.dtype} of shape {vector.shape}, expected a vector of integers")
    return [int(v) for v in vector.reshape(-1)]


def normal_axis(axis: int, rank: int) -> int:
    """`axis` counted from 0, or `ShapeError`."""
    if not -rank <= axis < rank:
        raise ShapeError(f"axis {axis} is outside {rank} axes")
    return axis % rank


def reshape(x: Array, shape: Array, *, allow_zero: bool = False) -> Array:
    """x in `shape`; 0 copies the size of the same axis of x unless allow_zero, one -1 is inferred."""
    sizes = integers("shape", shape)
    if not allow_zero:
        if any(s == 0 and i >= x.ndim for i, s in enumerate(sizes)):
            raise ShapeError(f"reshape: shape {sizes} copies an axis that x of shape {x.shape} has not")
        sizes = [x.shape[i] if s == 0 else s for i, s in enumerate(sizes)]
    if any(s < -1 for s in sizes) or sizes.count(-1) > 1:
        raise ShapeError(f"reshape: shape {sizes}, expected sizes of at least 0 and at most one -1")
    return x.reshape(sizes)


def transpose(x: Array, *, perm: Axes) -> Array:
    """y.shape[i] == x.shape[perm[i]]."""
    if sorted(perm) != list(range(x.ndim)):
        raise ShapeError(f"transpose: perm {list(perm)} does not permute {x.ndim} axes")
    return x.transpose(tuple(perm))


def squeeze(x: Array, *, axes: Axes) -> Array:
    """x without the axes named, each of size 1; without every axis of size 1 when none is named."""
    named = sorted({normal_axis(a, x.ndim) for a in axes}) or [i for i, s in enumerate(x.shape) if s == 1]
    return np.squeeze(x, tuple(named))


def unsqueeze(x: Array, *, axes: Axes) -> Array:
    """x with axes of size 1, which stand at `axes` of the output."""
    rank = x.ndim + len(axes)
    named = [normal_axis(a, rank) for a in axes]
    if len(set(named)) != len(named):
        raise ShapeError(f"unsqueeze: axes {list(axes)} name one axis twice")
    return np.expand_dims(x, tuple(named))


def flatten(x: Array, *, axis: Axis) -> Array:
    """x (d0, ..., dn) -> (d0 * ... * d(axis-1), the rest); axis from -rank to rank."""
    if not -x.ndim <= axis <= x.ndim:
        raise ShapeError(f"flatten: axis {axis} is outside {x.ndim} axes")
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


def expand(x: Array, shape: Array) -> Array:
    """x and `shape` broadcast against each other: a size of 1 gives way on either side."""
    sizes = integers("shape", shape)
    if min(sizes, default=0) < 0:
        raise ShapeError(f"expand: shape {sizes}, expected sizes of at least 0")
    return np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(sizes)))


def shape(x: Array, *, start: Position = 0, end: Position | None = None) -> Array:
    """x.shape[start:end] as int64; negative bounds count from the end, and both are clamped."""
    return np.array(x.shape[slice(start, end)], dtype=np.int64)


def arange(start: Array, limit: Array, delta: Array) -> Array:
    """start, start + delta, ... below limit (above it for a negative delta)."""
    same_dtype(start=start, limit=limit, delta=delta)
    if start.size != 1 or limit.size != 1 or delta.size != 1:
        raise ShapeError(f"range: got shapes {start.shape}, {limit.shape}, {delta.shape}, expected three scalars")
    first, last, step = start.item(), limit.item(), delta.item()
    if step == 0:
        raise ShapeError("range: delta is 0")
    count = max(math.ceil((last - first) / step), 0)
    return np.asarray(first + step * np.arange(count)).astype(start.dtype)


def check_constant(*, value: float, dtype: str) -> None:
    """Raise `InvalidModelError` for a value that an integer or bool of `dtype` does not hold."""
    kind = numpy_dtype(dtype)
    if is_floating(kind):
        return
    limits = (0, 1) if kind == np.bool_ else (np.iinfo(kind).min, np.iinfo(kind).max)
    if not (limits[0] <= value <= limits[1] and float(value).is_integer()):
        raise InvalidModelError(f"constant_of_shape: value is {value}, which is no {dtype}")


def constant_of_shape(shape: Array, *, value: float | bool, dtype: DType) -> Array:
    """An array of this shape filled with `value`."""
    return np.full(tuple(integers("shape", shape)), value, dtype=numpy_dtype(dtype))

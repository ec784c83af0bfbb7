"""Resampling, axis by axis: every output is a weighted sum of a few elements around its coordinate in the input.

Coordinates, neighbours and weights are those of ONNX Resize; cubic weights are those of Keys (1981), with coefficient
`cubic`.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Any, Final

import numpy as np

from fastgru.errors import ShapeError
from fastgru.reference.attributes import Axes, Finite, OneOf
from fastgru.reference.dims import Dims, Facts, Operand, UnknownError, changed
from fastgru.reference.operator import Array, is_floating, operator
from fastgru.reference.shape import integers, normal_axis
from fastgru.reference.sizes import Size, multiply

__all__ = ["Axis", "resize", "resize_axes", "taps"]


MODES: Final = ("nearest", "linear", "cubic")
COORDINATES: Final = (
    "align_corners", "asymmetric", "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "tf_crop_and_resize",
    "tf_half_pixel_for_nn",
)  # fmt: skip
_ROUNDED: Final = 1e-5
NEAREST: Final = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
POLICIES: Final = ("stretch", "not_larger", "not_smaller")
MOST_TAPS: Final = 4096
_MOST_WEIGHTS: Final = 1 << 25


class Axis:
    """An axis that is resized from `size` to `out`. scale: as given, or out / size. crop: (start, end)."""

    def __init__(self, axis: int, size: int, out: int, scale: float, crop: tuple[float, float]) -> None:
        self.axis, self.size, self.out, self.scale, self.crop = axis, size, out, scale, crop


def resize_axes(
    shape: tuple[int, ...], roi: Array | None, scales: Array | None, sizes: Array | None,
    axes: Sequence[int] | None, policy: str, coordinates: str,
) -> list[Axis]:  # fmt: skip
    """Return the axes of x that are resized. Raises `ShapeError` if the vectors do not fit."""
    rank = len(shape)
    named = list(range(rank)) if axes is None else [normal_axis(a, rank) for a in axes]
    if len(set(named)) != len(named) or (scales is None) == (sizes is None):
        raise ShapeError(f"resize: axes are {named}, expected each axis once, and either scales or sizes")
    n = len(named)
    crops = [(0.0, 1.0)] * n
    if coordinates == "tf_crop_and_resize":
        if roi is None or roi.shape != (2 * n,):
            raise ShapeError(f"resize: roi has shape {None if roi is None else roi.shape}, expected {(2 * n,)}")
        crops = [(float(roi[i]), float(roi[i + n])) for i in range(n)]
    if scales is not None:
        if scales.shape != (n,) or not (np.isfinite(scales).all() and (scales > 0).all()):
            raise ShapeError(f"resize: scales are {scales.tolist()}, expected {n} positive numbers")
        factors = [float(s) for s in scales]
        outs = [math.floor(shape[a] * s) for a, s in zip(named, factors, strict=True)]
    else:
        assert sizes is not None
        outs = integers("sizes", sizes)
        if len(outs) != n or min(outs, default=0) < 0 or any(shape[a] == 0 for a in named):
            raise ShapeError(f"resize: sizes are {outs}, which do not fit axes {named} of shape {shape}")
        factors = [o / shape[a] for a, o in zip(named, outs, strict=True)]
        if policy != "stretch" and n:
            one = (min if policy == "not_larger" else max)(factors)
            factors, outs = [one] * n, [math.floor(one * shape[a] + 0.5) for a in named]
    return [Axis(a, shape[a], o, s, c) for a, o, s, c in zip(named, outs, factors, crops, strict=True)]


def _places(axis: Axis, coordinates: str) -> Array:
    """Return the coordinate in x that each output comes from."""
    i, n, out, scale = np.arange(axis.out), axis.size, axis.out, axis.scale
    match coordinates:
        case "asymmetric":
            return np.asarray(i / scale)
        case "half_pixel":
            return np.asarray((i + 0.5) / scale - 0.5)
        case "half_pixel_symmetric":
            shrunk = out / (scale * n)
            return np.asarray(n / 2 * (1 - shrunk) + (i + 0.5) / scale - 0.5)
        case "pytorch_half_pixel":
            return np.asarray((i + 0.5) / scale - 0.5) if out > 1 else np.zeros(out)
        case "align_corners":
            return np.asarray(i * ((n - 1) / (out - 1))) if out > 1 else np.zeros(out)
        case "tf_half_pixel_for_nn":
            return np.asarray((i + 0.5) / scale)
        case "tf_crop_and_resize":
            start, end = axis.crop
            if out > 1:
                return np.asarray(start * (n - 1) + i * ((end - start) * (n - 1) / (out - 1)))
            return np.full(out, 0.5 * (start + end) * (n - 1))
    raise AssertionError(coordinates)


def taps(
    axis: Axis, *, mode: str, coordinates: str, nearest: str, cubic: float, exclude_outside: bool, antialias: bool
) -> tuple[Array, Array, Array]:
    """Return neighbours' positions in x (out, K), their weights (out, K), and whether coordinates are in x (out,)."""
    if axis.out == 0:
        return np.zeros((0, 1), np.int64), np.zeros((0, 1)), np.zeros(0, np.bool_)
    x = _places(axis, coordinates)
    inside = (x >= 0) & (x <= axis.size - 1)
    if mode == "nearest":
        x = _snapped(x)
        where = {
            "round_prefer_floor": lambda: np.ceil(x - 0.5),
            "round_prefer_ceil": lambda: np.floor(x + 0.5),
            "floor": lambda: np.floor(x),
            "ceil": lambda: np.ceil(x),
        }[nearest]()
        at = where.astype(np.int64)[:, None]
        return np.clip(at, 0, max(axis.size - 1, 0)), np.ones(at.shape), inside
    stretch = min(axis.scale, 1.0) if antialias else 1.0
    reach = 1 if mode == "linear" else 2
    first = math.floor(-reach / stretch) + 1
    if 2 - 2 * first > MOST_TAPS:
        raise ShapeError(
            f"resize: a scale of {axis.scale} takes {2 - 2 * first} neighbours, expected at most {MOST_TAPS}"
        )
    if axis.out * (2 - 2 * first) > _MOST_WEIGHTS:
        raise ShapeError(f"resize: {2 - 2 * first} neighbours of each of {axis.out}, expected {_MOST_WEIGHTS} in all")
    base = np.floor(x)
    steps = np.arange(first, 2 - first)
    distance = np.abs((steps[None, :] - (x - base)[:, None]) * stretch)
    weights = np.maximum(1 - distance, 0) if mode == "linear" else _cubic(distance, cubic)
    at = base.astype(np.int64)[:, None] + steps
    if exclude_outside:
        weights = np.where((at < 0) | (at >= axis.size), 0.0, weights)
    if exclude_outside or antialias:
        weights = weights / np.sum(weights, axis=1, keepdims=True)
    return np.clip(at, 0, max(axis.size - 1, 0)), weights, inside


def _snapped(x: Array) -> Array:
    """Move coordinates that are within a rounding error of an integer or a half to it, because scales are float32."""
    grid = np.rint(2 * x) / 2
    return np.where(np.abs(x - grid) < _ROUNDED, grid, x)


def _cubic(d: Array, a: float) -> Array:
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


def _changed(
    x: Operand, roi: Operand | None, scales: Operand | None, sizes: Operand | None,
    axes: Axes | None, policy: str, coordinates: str,
) -> list[Axis]:  # fmt: skip
    """Return the axes that are resized. Raises `UnknownError` unless all sizes of x and the vectors are known."""
    arrays = []
    for vector in (roi, scales, sizes):
        if vector is not None and vector.array is None:
            raise UnknownError
        arrays.append(None if vector is None else vector.array)
    return resize_axes(x.shape, arrays[0], arrays[1], arrays[2], axes, policy, coordinates)


def _resized(
    x: Operand, roi: Operand | None = None, scales: Operand | None = None, sizes: Operand | None = None, *,
    coordinates: str, axes: Axes | None = None, policy: str = "stretch", **_: Any,
) -> Dims:  # fmt: skip
    try:
        outs = {axis.axis: axis.out for axis in _changed(x, roi, scales, sizes, axes, policy, coordinates)}
        return changed(x.dims, outs)
    except UnknownError:
        named = range(x.rank) if axes is None else [range(x.rank)[a] for a in axes]
    wanted: list[Size] = [None] * len(named)
    if sizes is not None and policy == "stretch":
        wanted = sizes.elements
    elif scales is not None and scales.array is not None:
        wanted = [_scaled(x.sizes[a], float(s)) for a, s in zip(named, scales.array, strict=True)]
    return changed(x.dims, dict(zip(named, wanted, strict=True)))


def _scaled(size: Size, scale: float) -> Size:
    if isinstance(size, int):
        return math.floor(size * scale)
    return multiply(size, int(scale)) if scale.is_integer() else None


def _bound(
    x: Operand, roi: Operand | None = None, scales: Operand | None = None, sizes: Operand | None = None, *,
    coordinates: str, axes: Axes | None = None, policy: str = "stretch", **_: Any,
) -> int:  # fmt: skip
    """Return the elements of the largest array: axes are resized one after another."""
    total = list(x.shape)
    largest = math.prod(total)
    for axis in _changed(x, roi, scales, sizes, axes, policy, coordinates):
        total[axis.axis] = axis.out
        largest = max(largest, math.prod(total))
    return largest


@operator("resize", Facts(_resized, flops=4, bound=_bound))
def resize(
    x: Array, roi: Array | None = None, scales: Array | None = None, sizes: Array | None = None, *,
    mode: Annotated[str, OneOf(MODES)], coordinates: Annotated[str, OneOf(COORDINATES)],
    nearest: Annotated[str, OneOf(NEAREST)] = "round_prefer_floor", cubic: Finite = -0.75,
    exclude_outside: bool = False, antialias: bool = False, outside: float = 0.0,
    axes: Axes | None = None, policy: Annotated[str, OneOf(POLICIES)] = "stretch",
) -> Array:  # fmt: skip
    """x resized. outside: the value for coordinates outside x with tf_crop_and_resize."""
    if mode != "nearest" and not is_floating(x.dtype):
        raise ShapeError(f"resize: x has dtype {x.dtype}, expected a float for mode {mode}")
    y = x
    for axis in resize_axes(x.shape, roi, scales, sizes, axes, policy, coordinates):
        at, weights, inside = taps(
            axis, mode=mode, coordinates=coordinates, nearest=nearest, cubic=cubic,
            exclude_outside=exclude_outside, antialias=antialias,
        )  # fmt: skip
        if axis.size == 0 and axis.out:
            raise ShapeError(f"resize: axis {axis.axis} of shape {x.shape} is empty")
        along = [1] * x.ndim
        along[axis.axis] = axis.out
        if mode == "nearest":
            y = np.take(y, at[:, 0], axis=axis.axis)
        else:
            parts = [
                np.take(y, at[:, k], axis=axis.axis) * weights[:, k].astype(x.dtype).reshape(along)
                for k in range(at.shape[1])
            ]
            y = np.asarray(sum(parts[1:], parts[0]))
        if coordinates == "tf_crop_and_resize":
            y = np.where(inside.reshape(along), y, np.asarray(outside, x.dtype))
    return y

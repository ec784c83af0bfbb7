"""Operators that reduce many elements to one along axes, and running sums and products."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

import numpy as np

from fastgru.errors import ShapeError
from fastgru.reference.attributes import Axes, Axis, OneOf
from fastgru.reference.dims import Facts, Operand, UnknownError, apart, per_input, reduced, same
from fastgru.reference.operator import Array, is_floating, operator
from fastgru.reference.shape import normal_axis
from fastgru.reference.sizes import Size, add, multiply

__all__ = ["arg", "cumprod", "cumsum", "reduce"]

Named = tuple[int, ...]


def _log_sum_exp(x: Array, axes: Named) -> Array:
    top = _max(x, axes)
    safe = np.where(np.isfinite(top), top, np.zeros_like(top))
    return np.asarray(np.log(np.sum(np.exp(x - safe), axis=axes, keepdims=True)) + safe)


def _mean(x: Array, axes: Named) -> Array:
    if 0 in (x.shape[a] for a in axes):
        if not is_floating(x.dtype):
            raise ShapeError(f"mean: x of shape {x.shape} has no elements to average, and {x.dtype} has no NaN")
        return _sum(x, axes) * np.nan
    return np.asarray(np.mean(x, axis=axes, keepdims=True)).astype(x.dtype)


def _sum(x: Array, axes: Named) -> Array:
    return np.asarray(np.sum(x, axis=axes, keepdims=True, dtype=x.dtype))


def _real(x: Array) -> Array:
    """Return integers as float64, so that roots and logarithms of their sums are only truncated at the end."""
    return x if is_floating(x.dtype) else x.astype(np.float64)


def _max(x: Array, axes: Named) -> Array:
    return np.asarray(np.max(x, axis=axes, keepdims=True, initial=_limits(x.dtype)[0]))


def _min(x: Array, axes: Named) -> Array:
    return np.asarray(np.min(x, axis=axes, keepdims=True, initial=_limits(x.dtype)[1]))


def _limits(dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """Return the least and the greatest number of a dtype."""
    if is_floating(dtype):
        return -np.inf, np.inf
    return (False, True) if dtype == np.bool_ else (np.iinfo(dtype).min, np.iinfo(dtype).max)


_KINDS: Final[Mapping[str, Callable[[Array, Named], Array]]] = {
    "all": lambda x, axes: np.all(x, axis=axes, keepdims=True),
    "any": lambda x, axes: np.any(x, axis=axes, keepdims=True),
    "l1": lambda x, axes: _sum(np.abs(x), axes),
    "l2": lambda x, axes: np.sqrt(_sum(_real(x) ** 2, axes)).astype(x.dtype),
    "log_sum": lambda x, axes: np.log(_sum(_real(x), axes)).astype(x.dtype),
    "log_sum_exp": lambda x, axes: _log_sum_exp(_real(x), axes).astype(x.dtype),
    "max": _max,
    "mean": _mean,
    "min": _min,
    "prod": lambda x, axes: np.prod(x, axis=axes, keepdims=True, dtype=x.dtype),
    "sum": _sum,
    "sum_square": lambda x, axes: _sum(x * x, axes),
}


def _totals(x: Operand, *, kind: str, **_: Any) -> list[Size]:
    whole: Mapping[str, Callable[..., Size]] = {"prod": multiply, "sum": add}
    if x.rank != 1:
        raise UnknownError
    return [whole[kind](*x.elements)]


@operator(
    "reduce",
    Facts(
        lambda x, axes, keepdims, **_: reduced(x, axes or range(x.rank), keepdims=keepdims),
        elements=_totals,
        flops=per_input(1),
        mixes=apart,
    ),
)
def reduce(x: Array, *, kind: Annotated[str, OneOf(_KINDS)], axes: Axes, keepdims: bool) -> Array:
    """x reduced over `axes`, or over all axes if `axes` is empty, in the dtype of x.

    Over no elements, max is the least number of the dtype, min the greatest, and mean NaN.
    """
    if kind in ("all", "any") and x.dtype != np.bool_:
        raise ShapeError(f"{kind}: x has dtype {x.dtype}, expected bool")
    named = tuple(sorted({normal_axis(a, x.ndim) for a in axes})) or tuple(range(x.ndim))
    y = np.asarray(_KINDS[kind](x, named))
    return y if keepdims else np.squeeze(y, named)


@operator(
    "arg",
    Facts(
        lambda x, axis, keepdims, **_: reduced(x, [axis], keepdims=keepdims),
        dtype="int64",
        flops=per_input(1),
        mixes=apart,
    ),
)
def arg(
    x: Array, *, kind: Annotated[str, OneOf(("max", "min"))], axis: Axis, keepdims: bool, select_last: bool
) -> Array:
    """The position of the largest or smallest element along `axis`: the first of equals, or the last (select_last)."""
    axis = normal_axis(axis, x.ndim)
    find = np.argmax if kind == "max" else np.argmin
    if select_last:
        y = x.shape[axis] - 1 - find(np.flip(x, axis), axis=axis, keepdims=True)
    else:
        y = find(x, axis=axis, keepdims=True)
    return np.asarray(y if keepdims else np.squeeze(y, axis)).astype(np.int64)


def _running(
    function: Callable[..., Array], x: Array, axis: int, *, first: int, exclusive: bool, reverse: bool
) -> Array:
    """Return the running `function` along an axis. exclusive: begin with `first` and leave the last result out."""
    axis = normal_axis(axis, x.ndim)
    y = function(np.flip(x, axis) if reverse else x, axis=axis, dtype=x.dtype)
    if exclusive:
        one = tuple(1 if i == axis else s for i, s in enumerate(y.shape))
        y = np.concatenate((np.full(one, first, y.dtype), y), axis=axis)
        y = np.take(y, np.arange(x.shape[axis]), axis=axis)
    return np.flip(y, axis) if reverse else y


@operator("cumsum", Facts(same, flops=1, mixes=lambda _, axis, reverse, **__: {axis: reverse}))
def cumsum(x: Array, *, axis: Axis, exclusive: bool, reverse: bool) -> Array:
    """The running sum along `axis`; exclusive leaves the element itself out, reverse runs from the end."""
    return _running(np.cumsum, x, axis, first=0, exclusive=exclusive, reverse=reverse)


@operator("cumprod", Facts(same, flops=1, mixes=lambda _, axis, reverse, **__: {axis: reverse}))
def cumprod(x: Array, *, axis: Axis, exclusive: bool, reverse: bool) -> Array:
    """The running product along `axis`; exclusive leaves the element itself out, reverse runs from the end."""
    return _running(np.cumprod, x, axis, first=1, exclusive=exclusive, reverse=reverse)

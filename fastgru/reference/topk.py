"""The largest or smallest elements of an axis, in order."""

from contextlib import suppress

import numpy as np

from fastgru.errors import ShapeError
from fastgru.reference.attributes import Axis
from fastgru.reference.dims import Dims, Facts, Operand, UnknownError, changed, per_input
from fastgru.reference.operator import Array, operator
from fastgru.reference.shape import integers, normal_axis
from fastgru.reference.sizes import Size

__all__ = ["topk"]


def _best(x: Operand, k: Operand, *, axis: int, largest: bool = True) -> Dims:
    count: Size = None
    with suppress(UnknownError):
        (count,) = k.elements
    return changed(x.dims, {axis: count})


@operator("topk", Facts(_best, dtype=(0, "int64"), flops=per_input(1)))
def topk(x: Array, k: Array, *, axis: Axis, largest: bool = True) -> tuple[Array, Array]:
    """The values and int64 positions of the k largest or smallest elements along `axis`, in order.

    The first of equal elements comes first. NaN counts as larger than every number.
    """
    axis = normal_axis(axis, x.ndim)
    count = integers("k", k)
    if len(count) != 1 or not 0 <= count[0] <= x.shape[axis]:
        raise ShapeError(f"topk: k is {count}, expected one number from 0 to {x.shape[axis]}, axis {axis} of {x.shape}")
    if largest:
        order = x.shape[axis] - 1 - np.flip(np.argsort(np.flip(x, axis), axis=axis, kind="stable"), axis)
    else:
        order = np.argsort(x, axis=axis, kind="stable")
    where = np.take(order, range(count[0]), axis=axis).astype(np.int64)
    return np.take_along_axis(x, where, axis=axis), where

"""Softmax and its logarithm, over rows along the last axis; a copy moves any other axis there."""

from collections.abc import Sequence
from math import prod

from fastgru.engine.lowering import Node, PlanBuilder, Value, View, lowering
from fastgru.kernels.operands.softmax import SOFTMAX
from fastgru.reference.shape import normal_axis

__all__ = ["last_axis", "permuted"]


def permuted(view: View, order: Sequence[int]) -> View:
    """Return a view with the axes in another order."""
    shape, strides = tuple(view.shape[i] for i in order), tuple(view.strides[i] for i in order)
    return view.as_strided(shape, strides)


def last_axis(builder: PlanBuilder, value: Value, axis: int) -> tuple[View, list[int]]:
    """Return the value in C order with `axis` as the last, and the order with which `permuted` undoes that."""
    axis = normal_axis(axis, value.ndim)
    order = [*(i for i in range(value.ndim) if i != axis), axis]
    back = sorted(range(value.ndim), key=lambda i: order[i])
    return builder.contiguous(permuted(builder.view(value), order)), back


@lowering("softmax")
@lowering("log_softmax")
def lower_softmax(builder: PlanBuilder, node: Node, value: Value) -> list[Value]:
    """exp(x) / sum(exp(x)) along an axis, or its logarithm."""
    x, back = last_axis(builder, builder.floats(value), node.attrs["axis"])
    y = builder.new(x.shape)
    if x.size:
        builder.emit(
            node.op, x.dtype, SOFTMAX, {"x": x, "y": y, "rows": prod(x.shape[:-1]), "n": x.shape[-1]}, writes="y"
        )
    return [permuted(y, back)]

"""Resize, axis by axis: a gather for the mode nearest, otherwise weighted sums by a table made while planning."""

from math import prod

import numpy as np

from fastgru.engine.lowering import Constant, Node, PlanBuilder, Value, View, constant_of, lowering
from fastgru.engine.ops.elementwise import selected
from fastgru.engine.ops.indexing import gathered
from fastgru.errors import ShapeError
from fastgru.graph import Array
from fastgru.kernels.operands.resize import RESAMPLE
from fastgru.reference.resize import Axis, resize_axes, taps


@lowering("resize")
def _lower_resize(builder: PlanBuilder, node: Node, value: Value, *target: Value | None) -> list[Value]:
    """Resize x to sizes that must be known when the plan is made."""
    roi, scales, sizes = (
        None if v is None else constant_of(v, f"the {name} of a resize").array
        for name, v in zip(("roi", "scales", "sizes"), [*target, None, None, None][:3], strict=True)
    )
    attrs = dict(node.attrs)
    outside, axes, policy = attrs.pop("outside", 0.0), attrs.pop("axes", None), attrs.pop("policy", "stretch")
    defaults = {"nearest": "round_prefer_floor", "cubic": -0.75, "exclude_outside": False, "antialias": False}
    if attrs["mode"] != "nearest" and builder.dtype(value) != builder.float_dtype:
        raise ShapeError(f"x has dtype {builder.dtype(value)}, expected a float for mode {attrs['mode']}")
    y = builder.view(value)
    for axis in resize_axes(y.shape, roi, scales, sizes, axes, policy, attrs["coordinates"]):
        if axis.size == 0 and axis.out:
            raise ShapeError(f"axis {axis.axis} of shape {value.shape} is empty")
        builder.room_for((axis.out,), "int64")
        at, weights, inside = taps(axis, **{**defaults, **attrs})
        if not (axis.size == axis.out and _is_identity(at, weights)):
            if attrs["mode"] == "nearest":
                y = gathered(builder, y, Constant(at[:, 0]), axis.axis, wrap=False)
            else:
                y = _weighted(builder, y, axis, at, weights)
        if attrs["coordinates"] == "tf_crop_and_resize" and not inside.all():
            mask = inside.reshape([-1 if i == axis.axis else 1 for i in range(y.ndim)])
            number = Constant(np.asarray(outside, np.dtype(builder.float_dtype if y.dtype == "float32" else y.dtype)))
            y = selected(builder, Constant(mask), y, number)
    return [y]


def _is_identity(at: Array, weights: Array) -> bool:
    own = at == np.arange(len(at))[:, None]
    return bool(np.all(np.where(own, 0, weights) == 0)) and bool(np.all(np.sum(weights, axis=1) == 1))


def _weighted(builder: PlanBuilder, value: View, axis: Axis, at: Array, weights: Array) -> View:
    x = builder.contiguous(value)
    before, after = x.shape[: axis.axis], x.shape[axis.axis + 1 :]
    y = builder.new((*before, axis.out, *after))
    if y.size:
        places = builder.constant(np.ascontiguousarray(at, np.int64))
        table = builder.constant(np.ascontiguousarray(weights, x.dtype))
        builder.emit("resample", x.dtype, RESAMPLE, {
            "x": x, "at": places, "w": table, "y": y, "outer": prod(before), "n": axis.size, "out": axis.out,
            "inner": prod(after), "K": at.shape[1],
        })  # fmt: skip
    return y

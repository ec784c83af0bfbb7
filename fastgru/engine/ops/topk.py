"""TopK along any axis, without moving the axis to the end."""

from math import prod

from fastgru.engine.lowering import Node, PlanBuilder, Value, constant_of, lowering
from fastgru.engine.ops.cast import as_dtype
from fastgru.engine.ops.elementwise import wide
from fastgru.errors import ShapeError
from fastgru.kernels.operands.topk import TOPK
from fastgru.reference.shape import integers, normal_axis


@lowering("topk")
def _lower_topk(builder: PlanBuilder, node: Node, value: Value, k_value: Value) -> list[Value]:
    """The k largest or smallest elements, in order, and their positions."""
    axis = normal_axis(node.attrs["axis"], value.ndim)
    count = integers("k", constant_of(k_value, "the k of a TopK").array)
    n = value.shape[axis]
    if len(count) != 1 or not 0 <= count[0] <= n:
        raise ShapeError(f"k is {count}, expected one number from 0 to {n}, axis {axis} of {value.shape}")
    x = builder.contiguous(wide(builder, value))
    before, after = x.shape[:axis], x.shape[axis + 1 :]
    shape = (*before, count[0], *after)
    y, where = builder.new(shape, x.dtype), builder.new(shape, "int64")
    if y.size:
        builder.emit("topk", x.dtype, TOPK, {
            "x": x, "y": y, "positions": where, "outer": prod(before), "n": n, "inner": prod(after),
            "k": count[0], "smallest": not node.attrs.get("largest", True),
        })  # fmt: skip
    return [as_dtype(builder, y, builder.dtype(value)), where]

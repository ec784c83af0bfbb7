"""Conversions between element types."""

import numpy as np

from fastgru.engine.lowering import Constant, Node, PlanBuilder, Value, View, lowering
from fastgru.errors import ShapeError
from fastgru.kernels.operands.cast import CAST, DIRECT
from fastgru.reference.operator import is_floating, numpy_dtype

__all__ = ["as_dtype", "check_integers", "lower_cast", "number", "saturated"]


def check_integers(builder: PlanBuilder, **values: Value) -> None:
    """Raise `ShapeError` if positions are not integers. values: the positions, by the plural noun that names them."""
    for name, value in values.items():
        if (dtype := builder.dtype(value)) in ("bool", builder.float_dtype):
            raise ShapeError(f"{name} have dtype {dtype}, expected an integer")


def as_dtype(builder: PlanBuilder, value: Value, dtype: str) -> View:
    """Return the value with elements of `dtype`, converted if it has others."""
    if isinstance(value, Constant):
        same = builder.dtype(value) == dtype
        return builder.view(value if same else Constant(value.array.astype(np.dtype(dtype))))
    if value.dtype == dtype:
        return value
    if value.dtype not in DIRECT[dtype]:
        value = as_dtype(builder, value, "int64")
    return _converted(builder, f"cast_to_{dtype}", value, dtype)


def saturated(builder: PlanBuilder, value: View, dtype: str) -> View:
    """Convert whole numbers in floats to the nearest integers of `dtype`, one of `SATURATING`; NaN to the smallest."""
    return _converted(builder, f"saturate_to_{dtype}", value, dtype)


def _converted(builder: PlanBuilder, op: str, value: View, dtype: str) -> View:
    source = builder.contiguous(value)
    result = builder.new(source.shape, dtype)
    if source.size:
        builder.emit(op, source.dtype, CAST, {"x": source, "y": result, "count": source.size}, writes="y")
    return result


def number(builder: PlanBuilder, value: float) -> View:
    """Return a scalar constant of the dtype of the plan."""
    return builder.packed(("number", repr(value)), lambda: np.array([value], builder.float_dtype)).as_strided((), ())


@lowering("cast")
def lower_cast(builder: PlanBuilder, node: Node, x: Value) -> list[Value]:
    """Lower a cast. A cast to any floating-point dtype converts to the dtype of the plan."""
    to = node.attrs["to"]
    return [as_dtype(builder, x, builder.float_dtype if is_floating(numpy_dtype(to)) else to)]

"""Conversions between element types."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastgru.engine.builder import Builder
from fastgru.engine.lowering import lowering
from fastgru.engine.view import Known, Value, View
from fastgru.graph import Node

__all__ = ["as_dtype", "lower_cast"]


def as_dtype(builder: Builder, value: Value, dtype: str) -> View:
    """The value with elements of `dtype`, converted if it has others."""
    if isinstance(value, Known):
        return builder.view(Known(value.array.astype(np.dtype(dtype))))
    if value.dtype == dtype:
        return value
    source = builder.contiguous(value)
    result = builder.new(source.shape, dtype)
    builder.emit(f"cast_to_{dtype}", source.dtype, [source, result], [source.size])
    return result


@lowering("cast")
def lower_cast(builder: Builder, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    """Every floating type is the precision of the plan."""
    assert inputs[0] is not None
    to = node.attrs["to"]
    if to in ("float16", "bfloat16", "float32", "float64"):
        to = builder.float_dtype
    return [as_dtype(builder, inputs[0], to)]

"""Conversions of element types. Those between the narrow integers go through int64: see `engine.ops.cast`."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from fastgru.kernels.registry import handler, tensor
from fastgru.simd.memory import pointer

__all__ = ["DIRECT"]

# target -> sources that a handler converts from; floats to integers go towards zero, integers wrap around.
DIRECT: Final = {
    "float32": ("float64", "int64", "bool"),
    "float64": ("float32", "int64", "bool"),
    "int64": ("float32", "float64", "int32", "int16", "int8", "uint16", "uint8", "bool"),
    "int32": ("int64",),
    "int16": ("int64",),
    "int8": ("int64",),
    "uint16": ("int64",),
    "uint8": ("int64",),
    "bool": ("float32", "float64", "int64"),
}


def _make_cast(target: str) -> Any:
    convert = np.dtype(target).type

    def cast(dtype: str) -> Any:
        """y = x converted.

        Operands: x, y; count.
        """

        def handle(operands, bases, team):
            x, y = pointer(tensor(bases, operands, 0), dtype), pointer(tensor(bases, operands, 2), target)
            for i in range(operands[4]):
                y[i] = convert(x[i])

        def handle_bool(operands, bases, team):
            x, y = pointer(tensor(bases, operands, 0), dtype), pointer(tensor(bases, operands, 2), target)
            for i in range(operands[4]):
                y[i] = 1 if x[i] != 0 else 0

        return handle_bool if target == "bool" else handle

    return cast


for _target, _sources in DIRECT.items():
    handler(f"cast_to_{_target}", *_sources)(_make_cast(_target))

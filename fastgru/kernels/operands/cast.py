"""The conversions that have a handler, and their operands."""

from typing import Final

from fastgru.kernels.operands.declare import Operands

__all__ = ["CAST", "DIRECT", "SATURATING"]

CAST: Final = Operands("x y", "count")

# target -> the dtypes from which a handler converts. Floats are truncated to integers; integers wrap around.
DIRECT: Final = {
    "float32": ("float64", "int64", "int32", "int16", "int8", "uint16", "uint8", "bool"),
    "float64": ("float32", "int64", "int32", "int16", "int8", "uint16", "uint8", "bool"),
    "int64": ("float32", "float64", "int32", "int16", "int8", "uint16", "uint8", "bool"),
    "int32": ("int64",),
    "int16": ("int64",),
    "int8": ("int64",),
    "uint16": ("int64",),
    "uint8": ("int64",),
    "bool": ("float32", "float64", "int64"),
}

# Targets of conversions from floats that hold whole numbers, or NaN, to the nearest integer of the target.
SATURATING: Final = ("int32", "int16", "int8", "uint16", "uint8")

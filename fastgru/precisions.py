"""All precisions: those of computations, those of weights, and those that a caller may ask for.

A precision below float32 applies to weights only: activations, states, inputs and outputs stay in float32.
"""

from collections.abc import Mapping
from typing import Final

from fastgru.errors import UnsupportedModelError
from fastgru.nearest import offered

__all__ = [
    "ASKED",
    "AUTO",
    "LOWP",
    "PRECISIONS",
    "WEIGHT_BYTES",
    "Precision",
    "float_dtype_of",
    "split_precision",
    "weight_bytes",
]

# One precision for all nodes, or one for each node by its name or an output; "*" stands for the others (or float32).
Precision = str | Mapping[str, str]

PRECISIONS: Final = ("float64", "float32", "bfloat16", "int8")
LOWP: Final = ("bfloat16", "int8")
WEIGHT_BYTES: Final = {"float64": 8, "float32": 4, "bfloat16": 2, "int8": 1}
_SCALE_BYTES: Final = 4  # of the scale of each output of an int8 matrix

# With these, the table of `engine.faster` decides weight by weight among the low precisions listed, the fastest first.
# "auto" does not allow int8, which rounds more than bfloat16.
AUTO: Final[Mapping[str, tuple[str, ...]]] = {"auto": ("bfloat16",), "auto-int8": ("int8", "bfloat16")}
ASKED: Final = (*PRECISIONS, *AUTO)


def float_dtype_of(precision: str) -> str:
    """Return the dtype in which a model of this precision computes. Raises `UnsupportedModelError` if it is unknown."""
    if precision not in ASKED:
        raise UnsupportedModelError(f"precision {precision!r} is not supported; {offered(str(precision), ASKED)}")
    return "float64" if precision == "float64" else "float32"


def split_precision(precision: Precision) -> tuple[str, dict[str, str]]:
    """Return the precision of the model, and the precisions of single nodes."""
    if not isinstance(precision, Mapping):
        return precision, {}
    return precision.get("*", "float32"), {name: p for name, p in precision.items() if name != "*"}


def weight_bytes(precision: str, rows: int, elements: int) -> int:
    """The bytes of matrices with so many rows and elements together."""
    return WEIGHT_BYTES[precision] * elements + (_SCALE_BYTES * rows if precision == "int8" else 0)

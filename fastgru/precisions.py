"""All precisions: those of computations, those of weights, and those that a caller may ask for.

Below float32 only weights are smaller: activations, states, inputs and outputs stay in float32.
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

# One for all, or by node: its name or an output of it; "*" stands for the others, which are float32 without it.
Precision = str | Mapping[str, str]

PRECISIONS: Final = ("float64", "float32", "bfloat16", "int8")
LOWP: Final = ("bfloat16", "int8")
WEIGHT_BYTES: Final = {"float64": 8, "float32": 4, "bfloat16": 2, "int8": 1}
_SCALE_BYTES: Final = 4  # which every output of an int8 matrix has

# What leaves the choice to the table of `engine.faster`, weight by weight, and the low precisions that each may choose,
# the fastest first. Without a word of int8 there is none: of the two it rounds more.
AUTO: Final[Mapping[str, tuple[str, ...]]] = {"auto": ("bfloat16",), "auto-int8": ("int8", "bfloat16")}
ASKED: Final = (*PRECISIONS, *AUTO)


def float_dtype_of(precision: str) -> str:
    """The dtype that a model of a precision computes in. Raises `UnsupportedModelError` for one that there is not."""
    if precision not in ASKED:
        raise UnsupportedModelError(f"precision {precision!r} is not supported; {offered(str(precision), ASKED)}")
    return "float64" if precision == "float64" else "float32"


def split_precision(precision: Precision) -> tuple[str, dict[str, str]]:
    """The precision of the model, and those of single nodes."""
    if not isinstance(precision, Mapping):
        return precision, {}
    return precision.get("*", "float32"), {name: p for name, p in precision.items() if name != "*"}


def weight_bytes(precision: str, rows: int, elements: int) -> int:
    """Of matrices of so many rows and elements together."""
    return WEIGHT_BYTES[precision] * elements + (_SCALE_BYTES * rows if precision == "int8" else 0)

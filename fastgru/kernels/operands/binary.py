"""The operands and codes of the operations on two operands, and of the choice between them."""

from typing import Final

from fastgru.kernels.operands.declare import Operands, codes

__all__ = ["BINARY", "COMPARISONS", "INTEGER", "LIBRARY", "LOGICAL_CODES", "WHERE"]

# Of "binary", "binary_library", "compare" and "logical": the nd-iterator goes over a and b, y is contiguous.
BINARY: Final = Operands("a b y", "code", rest="nditer")

# The nd-iterator goes over condition, a and b.
WHERE: Final = Operands("condition a b y", rest="nditer")

LIBRARY: Final = codes("pow mod fmod")
# div is the quotient towards zero, mod the remainder with the divisor's sign, fmod with the dividend's; bitwise
# operations come last.
INTEGER: Final = codes(
    "add sub mul min max prelu pow div mod fmod bit_and bit_or bit_xor shift_left shift_right"
)  # fmt: skip
COMPARISONS: Final = codes("equal not_equal less less_equal greater greater_equal")
LOGICAL_CODES: Final = {"and": 0, "or": 1, "xor": 2}

"""The operands and codes of operations on two operands, and the operands of a choice between two."""

from typing import Final

from fastgru.kernels.operands.declare import Operands, codes

__all__ = ["BINARY", "COMPARISONS", "INTEGER", "LIBRARY", "LOGICAL_CODES", "WHERE"]

# Operands of "binary", "binary_library", "compare" and "logical". The nd-iterator goes over a and b; y is contiguous.
BINARY: Final = Operands("a b y", "code", rest="nditer")

# The nd-iterator goes over condition, a and b.
WHERE: Final = Operands("condition a b y", rest="nditer")

LIBRARY: Final = codes("pow mod fmod")
# div is the quotient rounded towards zero, mod the remainder with the divisor's sign, fmod the one with the dividend's.
# Bitwise operations come last.
INTEGER: Final = codes(
    "add sub mul min max prelu pow div mod fmod bit_and bit_or bit_xor shift_left shift_right"
)  # fmt: skip
COMPARISONS: Final = codes("equal not_equal less less_equal greater greater_equal")
LOGICAL_CODES: Final = {"and": 0, "or": 1, "xor": 2}

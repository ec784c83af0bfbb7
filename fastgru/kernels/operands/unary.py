"""The operands and codes of operations on one operand."""

from typing import Final

from fastgru.kernels.operands.declare import Operands, codes

__all__ = ["INTEGER", "LIBRARY", "TESTS", "UNARY"]

# Operands of "unary", "unary_library" and "unary_test".
UNARY: Final = Operands("x y", "count code")

LIBRARY: Final = codes("log sin cos tan asin acos atan sinh cosh erf log1p expm1 gelu acosh asinh atanh")
INTEGER: Final = codes("abs neg sign bitwise_not")
TESTS: Final = codes("isnan isinf")

"""Codes of the operations on one operand."""

from __future__ import annotations

from typing import Final

__all__ = ["INTEGER_CODES", "LIBRARY_CODES", "TEST_CODES"]

# As instruction words carry them.
LIBRARY_CODES: Final = {
    "log": 0,
    "sin": 1,
    "cos": 2,
    "tan": 3,
    "asin": 4,
    "acos": 5,
    "atan": 6,
    "sinh": 7,
    "cosh": 8,
    "erf": 9,
    "log1p": 10,
    "expm1": 11,
    "gelu": 12,
    "acosh": 13,
    "asinh": 14,
    "atanh": 15,
}
INTEGER_CODES: Final = {"abs": 0, "neg": 1, "sign": 2, "bitwise_not": 3}
TEST_CODES: Final = {"isnan": 0, "isinf": 1}

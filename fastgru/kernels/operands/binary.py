"""Codes of the operations on two operands."""

from __future__ import annotations

from typing import Final

__all__ = ["COMPARE_CODES", "INTEGER_CODES", "LIBRARY_CODES", "LOGICAL_CODES"]

# As instruction words carry them.
LIBRARY_CODES: Final = {"pow": 0, "mod": 1, "fmod": 2}
INTEGER_CODES: Final = {
    "add": 0, "sub": 1, "mul": 2, "min": 3, "max": 4, "prelu": 5, "pow": 6, "div": 7, "mod": 8, "fmod": 9,
    "bit_and": 10, "bit_or": 11, "bit_xor": 12, "shift_left": 13, "shift_right": 14,
}  # fmt: skip
COMPARE_CODES: Final = {"equal": 0, "not_equal": 1, "less": 2, "less_equal": 3, "greater": 4, "greater_equal": 5}
LOGICAL_CODES: Final = {"and": 0, "or": 1, "xor": 2}

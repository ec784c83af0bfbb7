"""Codes of the reductions."""

from __future__ import annotations

from typing import Final

__all__ = ["BOOL_CODES", "EXTREME_CODES", "INTEGER_CODES", "SUM_CODES"]

# As instruction words carry them.
SUM_CODES: Final = {"sum": 0, "mean": 1, "l1": 2, "l2": 3, "sum_square": 4, "log_sum": 5, "prod": 6}
EXTREME_CODES: Final = {"max": 0, "min": 1, "log_sum_exp": 2}
INTEGER_CODES: Final = {"sum": 0, "l1": 1, "sum_square": 2, "prod": 3, "max": 4, "min": 5}
BOOL_CODES: Final = {"any": 0, "max": 0, "sum": 0, "l1": 0, "sum_square": 0, "all": 1, "min": 1, "prod": 1}

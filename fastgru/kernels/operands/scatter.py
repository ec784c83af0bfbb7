"""Codes of what becomes of elements that are scattered to one place."""

from __future__ import annotations

from typing import Final

__all__ = ["REDUCTION_CODES"]

# As instruction words carry them.
REDUCTION_CODES: Final = {"none": 0, "add": 1, "mul": 2, "max": 3, "min": 4}

"""Codes of the pools."""

from __future__ import annotations

from typing import Final

__all__ = ["POOL_CODES"]

# As instruction words carry them.
POOL_CODES: Final = {"max": 0, "sum": 1}

"""Scratch of the linear layer."""

from __future__ import annotations

from typing import Final

from fastgru.simd.cpu import LANES

__all__ = ["EDGE_ROWS", "scratch_elements"]

# Rows of the last panel that are made at once where it is wider than what is left of y.
EDGE_ROWS: Final = 24


def scratch_elements(O: int, dtype: str) -> int:
    """Elements of scratch for O outputs: none where they fill whole vectors."""
    return EDGE_ROWS * 4 * LANES[dtype] if O % LANES[dtype] else 0

"""Scratch of the matrix product."""

from __future__ import annotations

__all__ = ["panel_elements"]


def panel_elements(K: int, O: int, lanes: int) -> int:
    """Elements for the panels of a K by O matrix."""
    return K * (-(-O // lanes) * lanes)

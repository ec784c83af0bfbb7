"""How matrices are cut into panels."""

from __future__ import annotations

from typing import Final

__all__ = ["PANEL_VECTORS"]

PANEL_VECTORS: Final = (4, 2, 1)  # widest first: what `packing.panels` lays out

"""How the weights of a convolution are cut into tiles."""

from __future__ import annotations

from typing import Final

from fastgru.simd.cpu import REGISTERS

__all__ = ["CHANNEL_TILES"]

# Output channels of a tile, widest first: what `packing.conv` lays out.
CHANNEL_TILES: Final = (8, 4, 1) if REGISTERS >= 32 else (4, 1)

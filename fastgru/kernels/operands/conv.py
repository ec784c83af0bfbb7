"""How the weights of a convolution are cut into tiles, and where its words are."""

from __future__ import annotations

from typing import Final

from fastgru.simd.cpu import REGISTERS

__all__ = ["CHANNEL_TILES", "WORDS", "Y_CHANNEL", "Y_IMAGE"]

# Output channels of a tile, widest first: what `packing.conv` lays out.
CHANNEL_TILES: Final = (8, 4, 1) if REGISTERS >= 32 else (4, 1)

# Words before those of the windows; among them the stride of a channel in what the tiles write, of an image in y.
WORDS: Final = 10
Y_CHANNEL: Final = 5
Y_IMAGE: Final = 6

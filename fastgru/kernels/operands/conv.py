"""The operands of convolutions, and how their weights are cut into tiles."""

from typing import Final

from fastgru.kernels.operands.declare import Operands, Words
from fastgru.kernels.operands.windows import COLLECT, PAD
from fastgru.simd.target import REGISTERS

__all__ = ["CHANNEL_TILES", "CONV", "PHASE"]

# Output channels of a tile, widest first: what `packing.conv` lays out.
CHANNEL_TILES: Final = (8, 4, 1) if REGISTERS >= 32 else (4, 1)

# Slope and limits may be absent. O: outputs of a group; x_image, x_group, y_image: strides of an image and a group in
# x, of an image in y; y_channel: of a channel in what the tiles write, which is `stage` where y is staged; phases:
# their number. The tiles read a copy in `scratch` where x is padded. taps (int64): where the K inputs of an output are,
# seen from its place, phase after phase. each: a `PHASE` for each.
CONV: Final = Operands(
    "x w bias slope limits y scratch stage taps",
    "images groups O x_image x_group y_channel y_image padded staged phases pad collect", rest="each",
    pad=PAD.at.words, collect=COLLECT.at.words,
)  # fmt: skip

# weights and taps: where those of the phase start; start: where its first row starts in y; x_row and y_row: strides of
# a row in what is read and in what is written.
PHASE: Final = Words("K weights taps rows pixels start x_row y_row")

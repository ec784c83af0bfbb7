"""The operands of convolutions, and the tiles of their weights."""

from typing import Final

from fastgru.kernels.operands.declare import Operands, Words, places
from fastgru.kernels.operands.windows import COLLECT, PAD
from fastgru.simd.target import REGISTERS

__all__ = ["BLOCK", "CHANNEL_TILES", "CONV", "CONV_PANEL", "MOST_PIXELS", "PANEL_PHASE", "PHASE", "TILE"]

BLOCK: Final = 256  # inputs that are summed from zero before they are added

# The output channels of tiles, widest first, in the order in which `packing.conv` lays them out.
CHANNEL_TILES: Final = (8, 4, 1) if REGISTERS >= 32 else (4, 1)

# slope and limits may be absent. O: outputs of a group. x_image, x_group: strides of an image and of a group in x.
# y_image: stride of an image in y. y_channel: stride of a channel in the memory that tiles write, which is `stage` if y
# is staged. If x is padded, tiles read a copy in `scratch`. taps (int64): offsets of the K inputs of an output,
# relative to its place, phase after phase. phases: the number of phases. each: a `PHASE` for each.
CONV: Final = Operands(
    "x w bias slope limits y scratch stage taps",
    "images groups O x_image x_group y_channel y_image padded staged phases pad collect", rest="each",
    pad=PAD.at.words, collect=COLLECT.at.words,
)  # fmt: skip

# weights, taps: where the weights and taps of the phase start. start: where its first row starts in y. x_row, y_row:
# strides of a row in the memory that tiles read, and in the memory that they write.
PHASE: Final = Words("K weights taps rows pixels start x_row y_row")

# The most pixels of a tile.
MOST_PIXELS: Final = 6

# w: panels of `packing.panels`, a matrix for each phase and group. start, slope: by output, each group padded to
# `padded_O`. `together` images are computed at a time, with their padded copies in `scratch`, `apart` elements from
# each other, and their outputs in `stage`, pixel by pixel. plane: pixels of an image of y. table (int64): tiles and
# lists.
CONV_PANEL: Final = Operands(
    "x w start slope limits y scratch stage table",
    "images together groups O padded_O plane x_image x_group apart y_channel y_image padded phases pad", rest="each",
    pad=PAD.at.words,
)  # fmt: skip

# weights: where the weights of the phase start. K: inputs of an output. tiles: the number of tiles. table: the index of
# the first one.
PANEL_PHASE: Final = Words("K weights tiles table")

# A tile. pixels: (offset of its reads in x, offset of its writes in the stage) for each of `count` pixels. inputs: the
# index of a list of inputs: where those of each block of `BLOCK` begin, where the last ends, then (offset, k) for each.
TILE: Final = places("count inputs pixels", pixels=2 * MOST_PIXELS)

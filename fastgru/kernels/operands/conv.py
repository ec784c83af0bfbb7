"""The operands of convolutions, and how their weights are cut into tiles."""

from typing import Final

from fastgru.kernels.operands.declare import Operands, Words, places
from fastgru.kernels.operands.windows import COLLECT, PAD
from fastgru.simd.target import REGISTERS

__all__ = ["BLOCK", "CHANNEL_TILES", "CONV", "CONV_PANEL", "MOST_PIXELS", "PANEL_PHASE", "PHASE", "TILE"]

BLOCK: Final = 256  # inputs that are summed from zero before they are added

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

# Pixels of a tile, at most.
MOST_PIXELS: Final = 6

# Weights are panels of `packing.panels`, a matrix for each phase and group. start, slope: by output, each group padded
# to `padded_O`. Images are taken `together` at a time: padded copies of them in `scratch`, `apart` elements from each
# other, their outputs in `stage`, pixel by pixel. plane: pixels of an image of y. table (int64): of tiles and lists.
CONV_PANEL: Final = Operands(
    "x w start slope limits y scratch stage table",
    "images together groups O padded_O plane x_image x_group apart y_channel y_image padded phases pad", rest="each",
    pad=PAD.at.words,
)  # fmt: skip

# weights: where those of the phase start; K: of an output; tiles: their number; table: where the first of them stands.
PANEL_PHASE: Final = Words("K weights tiles table")

# A tile: its pixels, each as (where it reads in x, where it writes in the stage), and where the list of its inputs is:
# where those of each block of `BLOCK` begin, where the last ends, then (where it is, k) for each.
TILE: Final = places("count inputs pixels", pixels=2 * MOST_PIXELS)

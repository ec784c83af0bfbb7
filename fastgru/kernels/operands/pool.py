"""The operands and codes of pools."""

from typing import Final

from fastgru.kernels.operands.declare import Operands, codes
from fastgru.kernels.operands.windows import COLLECT, PAD

__all__ = ["POOL", "POOLS"]

# x_image, x_channel, y_image: strides of an image and a channel in x, of an image in y; y_channel: of a channel in what
# the tiles write, which is `stage` where y is staged. taps (int64): where the K elements of a window are, seen from its
# place. x_row and y_row: strides of a row in what is read, a copy in `scratch` where x is padded, and in what is
# written.
POOL: Final = Operands(
    "x y scratch stage taps",
    "images channels x_image x_channel y_channel y_image padded staged code K rows pixels x_row y_row pad collect",
    pad=PAD.at.words, collect=COLLECT.at.words,
)  # fmt: skip

# As instruction words carry them.
POOLS: Final = codes("max sum")

"""The operands and codes of pools."""

from typing import Final

from fastgru.kernels.operands.declare import Operands, codes
from fastgru.kernels.operands.windows import COLLECT, PAD

__all__ = ["POOL", "POOLS"]

# x_image, x_channel: strides of an image and of a channel in x. y_image: stride of an image in y. y_channel: stride of
# a channel in the memory that is written, which is `stage` if y is staged. taps (int64): offsets of the K elements of a
# window, relative to its place. x_row: stride of a row in the memory that is read, a copy in `scratch` if x is padded.
# y_row: stride of a row in the memory that is written.
POOL: Final = Operands(
    "x y scratch stage taps",
    "images channels x_image x_channel y_channel y_image padded staged code K rows pixels x_row y_row pad collect",
    pad=PAD.at.words, collect=COLLECT.at.words,
)  # fmt: skip

# The codes in instruction words.
POOLS: Final = codes("max sum")

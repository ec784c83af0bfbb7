"""How small numbers are grouped along k, for those who compile products of them and those who lay them out.

A group is what is multiplied and added at once: pairs of bfloat16; four bytes, or two where the CPU has no instruction
for four. Bytes of a row are widened to 16 bits where x86 multiplies two. Only x86's instruction for four takes them
without a sign.
"""

from typing import Final

from fastgru.simd.target import DOT_INT8, IS_X86

__all__ = [
    "BFLOAT16_GROUP", "INT8_BIAS", "INT8_GROUP", "INT8_HEAD", "INT8_LIMIT", "INT8_SCALE", "INT8_UNIT",
]  # fmt: skip

BFLOAT16_GROUP: Final = 2
INT8_GROUP: Final = 4 if DOT_INT8 else 2
INT8_UNIT: Final = 4 if DOT_INT8 or IS_X86 else 2  # bytes of a group in a row
INT8_BIAS: Final = 128 if DOT_INT8 == "vnni" else 0  # added to the values of a row
INT8_SCALE: Final = 4  # bytes of the scale in front of a row
INT8_HEAD: Final = 8  # bytes of start and scale of an output
INT8_LIMIT: Final = 1 << 17  # most k whose sum is sure to fit 32 bits

"""The groups of low-precision numbers along k, which kernels multiply and packing lays out.

A group is multiplied and added at once: two bfloat16; four bytes, or two if the CPU has no instruction for four. On x86
without such an instruction, the bytes of a row are widened to 16 bits. Only x86's instructions for four bytes, VNNI and
AMX, take the bytes of a row as unsigned. For AMX, k is padded with zeros to the 64 bytes of a row of a tile, and the
values of a row begin on a cache line.
"""

from typing import Final

from fastgru.simd.target import AMX, DOT_INT8, IS_X86

__all__ = [
    "BFLOAT16_GROUP", "BFLOAT16_WHOLE", "INT8_BIAS", "INT8_GROUP", "INT8_HEAD", "INT8_LIMIT", "INT8_SCALE",
    "INT8_UNIT", "INT8_WHOLE",
]  # fmt: skip

_QUADS: Final = DOT_INT8 != "" or AMX != ""

BFLOAT16_GROUP: Final = 2
BFLOAT16_WHOLE: Final = 32 if AMX else BFLOAT16_GROUP  # k is padded to a multiple of this
INT8_GROUP: Final = 4 if _QUADS else 2
INT8_WHOLE: Final = 64 if AMX else INT8_GROUP
INT8_UNIT: Final = 4 if _QUADS or IS_X86 else 2  # bytes of a group in a row
INT8_BIAS: Final = 128 if _QUADS and IS_X86 else 0  # added to the values of a row
INT8_SCALE: Final = 64 if AMX else 4  # bytes before the values of a row; its scale takes the first four
INT8_HEAD: Final = 8  # bytes of start and scale of an output
INT8_LIMIT: Final = 1 << 17  # the largest k for which a sum is sure to fit 32 bits

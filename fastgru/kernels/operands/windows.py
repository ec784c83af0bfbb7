"""The words of padding an image and of collecting outputs, see `kernels.windows`."""

from __future__ import annotations

from typing import Final

__all__ = ["COLLECT_STRIDES", "COLLECT_WORDS", "PAD_WORDS"]

PAD_WORDS: Final = 13
COLLECT_WORDS: Final = 8
# Where the strides of C, H and W begin among the words of collecting.
COLLECT_STRIDES: Final = 5

"""The words of padding an image and of collecting outputs, see `kernels.windows`."""

from typing import Final

from fastgru.kernels.operands.declare import Words

__all__ = ["COLLECT", "PAD"]

# C planes of H rows and W columns, with the strides s_c, s_h and s_w, into `rows` rows for each plane: from `first` on,
# every step-th row of H; from `left` on, `columns` columns of W, every phases-th of them in a run of its own.
PAD: Final = Words("C rows first step H left columns W phases run s_c s_h s_w")

# (C, H, phases, run) to (C, H, W) with the strides s_c, s_h and s_w.
COLLECT: Final = Words("C H W phases run s_c s_h s_w")

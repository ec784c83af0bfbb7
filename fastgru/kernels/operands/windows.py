"""The words for padding an image and for collecting outputs: see `kernels.windows`."""

from typing import Final

from fastgru.kernels.operands.declare import Words

__all__ = ["COLLECT", "PAD"]

# Pads C planes of H rows and W columns, with strides s_c, s_h and s_w, to `rows` rows for each plane. They are every
# step-th row from `first` on. Of each row, `columns` columns from `left` on are written to `phases` runs of `run`
# elements: run p holds columns p, p + phases...
PAD: Final = Words("C rows first step H left columns W phases run s_c s_h s_w")

# Collects (C, H, phases, run) into (C, H, W) with strides s_c, s_h and s_w.
COLLECT: Final = Words("C H W phases run s_c s_h s_w")

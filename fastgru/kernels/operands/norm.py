"""The operands of normalisations."""

from typing import Final

from fastgru.kernels.operands.declare import Operands

__all__ = ["GROUP_NORM", "ROW_NORM"]

# Of layer_norm and rms_norm: rows of n elements. Scale and bias, of a row's length, may be absent; epsilon is one
# number.
ROW_NORM: Final = Operands("x y scale bias epsilon", "rows n")

# x and y (N, groups, channels, S): channels of a group; scale and bias have one number a channel.
GROUP_NORM: Final = Operands("x y scale bias epsilon", "N groups channels S")

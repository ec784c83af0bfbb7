"""The operands of normalisations."""

from typing import Final

from fastgru.kernels.operands.declare import Operands

__all__ = ["GROUP_NORM", "ROW_NORM"]

# Operands of layer_norm and rms_norm, over rows of n elements. scale and bias have the length of a row and may be
# absent; epsilon is one number.
ROW_NORM: Final = Operands("x y scale bias epsilon", "rows n")

# x and y (N, groups, channels, S). channels: the channels of a group. scale and bias have one number for each channel.
GROUP_NORM: Final = Operands("x y scale bias epsilon", "N groups channels S")

"""The operands of softmax and its logarithm."""

from typing import Final

from fastgru.kernels.operands.declare import Operands

__all__ = ["SOFTMAX"]

# Contiguous rows of n elements.
SOFTMAX: Final = Operands("x y", "rows n")

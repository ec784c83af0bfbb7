"""The operands of softmax and its logarithm."""

from typing import Final

from fastgru.kernels.operands.declare import Operands

__all__ = ["SOFTMAX"]

# Rows of n elements, one after the other.
SOFTMAX: Final = Operands("x y", "rows n")

"""The operands of TopK."""

from typing import Final

from fastgru.kernels.operands.declare import Operands

__all__ = ["TOPK"]

# x (outer, n, inner); y and positions (outer, k, inner); k is 1 to n.
TOPK: Final = Operands("x y positions", "outer n inner k smallest")

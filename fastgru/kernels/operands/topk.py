"""The operands of TopK."""

from typing import Final

from fastgru.kernels.operands.declare import Operands

__all__ = ["TOPK"]

# x (outer, n, inner); y and positions (outer, k, inner); 1 <= k <= n.
TOPK: Final = Operands("x y positions", "outer n inner k smallest")

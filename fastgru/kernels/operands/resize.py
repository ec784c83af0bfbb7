"""The operands of weighted sums along an axis."""

from typing import Final

from fastgru.kernels.operands.declare import Operands

__all__ = ["RESAMPLE"]

# x (outer, n, inner), at and w (out, K), y (outer, out, inner).
RESAMPLE: Final = Operands("x at w y", "outer n out inner K")

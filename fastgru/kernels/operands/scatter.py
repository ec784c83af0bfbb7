"""The operands of scattering, and the codes of the operations that combine elements at one place."""

from typing import Final

from fastgru.kernels.operands.declare import Operands, codes

__all__ = ["REDUCTIONS", "SCATTER_ELEMENTS", "SCATTER_ND"]

# ids (count, k), updates (count, inner). sizes: the sizes of the first k axes of y.
SCATTER_ND: Final = Operands("y ids updates", "count inner code k", rest="sizes")

# along: the stride of the axis in y. entries: its size. The nd-iterator goes over y, with stride 0 for this axis, ids
# and updates.
SCATTER_ELEMENTS: Final = Operands("y ids updates", "along entries code", rest="nditer")

# The codes in instruction words.
REDUCTIONS: Final = codes("none add mul max min")

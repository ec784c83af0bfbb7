"""The operands of the product of two computed matrices and its scratch."""

from typing import Final

from fastgru.kernels.operands.declare import Operands

__all__ = ["MATMUL", "PACK_PANELS", "panel_elements"]

# Stacks a (M, K), its rows a_m apart, and b (K, O) at strides b_k, b_o; y; zeros: outputs, padded; edge: as in
# `operands.linear`; panels: room for b, packed; absent where b is packed already. nditer: over the stacks a and b, in
# elements.
MATMUL: Final = Operands("a b y zeros edge panels", "M K O a_m b_k b_o", rest="nditer")

# The stacks b of MATMUL, packed one after the other. nditer: over them.
PACK_PANELS: Final = Operands("b panels", "K O b_k b_o", rest="nditer")


def panel_elements(K: int, O: int, lanes: int) -> int:
    """Elements for the panels of a K by O matrix."""
    return K * (-(-O // lanes) * lanes)

"""The operands and scratch of the product of two computed matrices."""

from typing import Final

from fastgru.kernels.operands.declare import Operands

__all__ = ["MATMUL", "PACK_PANELS", "panel_elements"]

# Stacks of a (M, K), whose rows are a_m apart, and of b (K, O) with strides b_k, b_o. zeros: a padded row of outputs.
# edge: as in `operands.linear`. panels: room for b, packed; absent if b is packed already. nditer: over the stacks of a
# and b, in elements.
MATMUL: Final = Operands("a b y zeros edge panels", "M K O a_m b_k b_o", rest="nditer")

# The stack of b of MATMUL, packed matrix after matrix. nditer: over this stack.
PACK_PANELS: Final = Operands("b panels", "K O b_k b_o", rest="nditer")


def panel_elements(K: int, O: int, lanes: int) -> int:
    """Return the elements of the panels of a K by O matrix."""
    return K * (-(-O // lanes) * lanes)

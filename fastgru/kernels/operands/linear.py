"""The operands of the linear layer and its scratch."""

from typing import Final

from fastgru.kernels.operands.declare import Operands
from fastgru.simd.target import LANES

__all__ = ["EDGE_ROWS", "LINEAR", "LOWP_LINEAR", "edge_elements"]

# x: rows with one stride. weight: panels. start: the bias in the order of the panels, padded. y (rows, O). edge: room
# for the last panel if it is wider than the rest of y. shared: whether a team shares the panels.
LINEAR: Final = Operands("x weight start y edge", "rows K O x_stride shared")

# quantised: room for `block` rows of each member.
LOWP_LINEAR: Final = Operands("x weight start y edge quantised", "rows K O x_stride shared block")

# Rows of the last panel that are computed at once if it is wider than the rest of y.
EDGE_ROWS: Final = 24


def edge_elements(O: int, dtype: str) -> int:
    """Return the elements of `edge` for O outputs: none if they fill whole vectors."""
    return EDGE_ROWS * 4 * LANES[dtype] if O % LANES[dtype] else 0

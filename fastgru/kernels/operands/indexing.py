"""The operands of handlers that take elements by position, and of lengths."""

from typing import Final

from fastgru.kernels.operands.declare import Operands

__all__ = ["GATHER_ELEMENTS", "LAST", "LENGTHS"]

# along: the stride of the axis in x. entries: its size. The nd-iterator goes over x, with stride 0 for this axis, and
# over ids.
GATHER_ELEMENTS: Final = Operands("x ids y", "along entries", rest="nditer")

# lengths (N), y (N, block); block: bytes. x_n and x_t: bytes from row to row and from step to step in x.
LAST: Final = Operands("x lengths y", "N T block x_n x_t")

# x and y (N), each number between 0 and T.
LENGTHS: Final = Operands("x y", "N T")

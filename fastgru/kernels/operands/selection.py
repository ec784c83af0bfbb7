"""The operands of gathering blocks by tuples of positions, and of reversing sequences."""

from typing import Final

from fastgru.kernels.operands.declare import Operands

__all__ = ["GATHER_ND", "REVERSE_SEQUENCE"]

# ids (batches, count, depth), y (batches, count, block). block: bytes. apart: bytes from batch to batch in x. axes: the
# sizes of the axes that ids index, then their strides in bytes, `depth` of each.
GATHER_ND: Final = Operands("x ids y", "batches count depth block apart", rest="axes")

# lengths (N); y has the layout of x. block: bytes. x_t, x_n: bytes from step to step and from row to row.
REVERSE_SEQUENCE: Final = Operands("x lengths y", "T N block x_t x_n")

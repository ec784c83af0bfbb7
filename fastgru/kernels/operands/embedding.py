"""The operands of embeddings in 16 and 8 bits."""

from typing import Final

from fastgru.kernels.operands.declare import Operands

__all__ = ["EMBEDDING"]

# ids (count); table of V rows: (V, D) of bfloat16, `lowp.table_row` bytes of int8; y (count, D).
EMBEDDING: Final = Operands("ids table y", "count V D")

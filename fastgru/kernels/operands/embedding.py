"""The operands of embeddings in 16 and 8 bits."""

from typing import Final

from fastgru.kernels.operands.declare import Operands

__all__ = ["EMBEDDING"]

# ids (count); table: V rows of D bfloat16, or of `lowp.table_row` bytes for int8; y (count, D).
EMBEDDING: Final = Operands("ids table y", "count V D")

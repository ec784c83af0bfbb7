"""The words of an nd-iterator, by which an element-wise handler goes over operands of any strides, row after row.

`engine.strides` writes them, and `kernels.strides` reads them. Strides count elements and may be 0 or negative. A
contiguous output is not part of it: its row r starts at r * inner.
"""

from typing import Final

from fastgru.kernels.operands.declare import Words

__all__ = ["NDITER", "NDITER_WORDS"]

# rows: the number of rows. inner: elements of a row. axes: the number of outer axes. sizes: the sizes of the outer
# axes, then for each operand its stride within a row and its strides of the outer axes.
NDITER_WORDS: Final = Words("rows axes inner", rest="sizes")
NDITER: Final = NDITER_WORDS.at

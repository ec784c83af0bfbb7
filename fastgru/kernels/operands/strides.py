"""The words of an nd-iterator: how an element-wise handler goes over operands of any strides, row after row.

`engine.strides` writes them, `kernels.strides` reads them. Strides count elements and may be 0 or negative. A
contiguous output needs none: row r of it starts at r * inner.
"""

from typing import Final

from fastgru.kernels.operands.declare import Words

__all__ = ["NDITER", "NDITER_WORDS"]

# rows: their number; inner: elements of a row; axes: the outer ones, whose sizes follow; then for each operand its
# stride within a row and its strides of the outer axes.
NDITER_WORDS: Final = Words("rows axes inner", rest="sizes")
NDITER: Final = NDITER_WORDS.at

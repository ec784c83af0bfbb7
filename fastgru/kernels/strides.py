"""Reading the words of an nd-iterator, by which a handler goes over operands of any strides: see `operands.strides`."""

from fastgru.kernels.operands.strides import NDITER
from fastgru.kernels.registry import kernel
from fastgru.simd.memory import offset

__all__ = ["inner_stride", "outer_stride", "row_start"]


@kernel
def inner_stride(nditer, k):
    """Return the stride of operand k within a row."""
    axes = nditer[NDITER.axes]
    return nditer[NDITER.sizes + axes + k * (axes + 1)]


@kernel
def outer_stride(nditer, k, i):
    """Return the stride of operand k along the outer axis i."""
    axes = nditer[NDITER.axes]
    return nditer[NDITER.sizes + axes + k * (axes + 1) + 1 + i]


@kernel
def row_start(nditer, k, row):
    """Return the offset at which row `row` of operand k starts."""
    axes = nditer[NDITER.axes]
    strides = offset(nditer, NDITER.sizes + axes + k * (axes + 1) + 1)
    at = 0
    for i in range(axes - 1, -1, -1):
        size = nditer[NDITER.sizes + i]
        rest = row // size
        at += (row - rest * size) * strides[i]
        row = rest
    return at

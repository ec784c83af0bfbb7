"""Whether an object is the array that compiled code expects, and where its data lies: see `simd.ndarray`."""

from fastgru.simd.compiler import kernel
from fastgru.simd.memory import offset, pointer
from fastgru.simd.ndarray import ANY_STRIDE, DATA, DESCR, DIMENSIONS, FLAGS, ITEMS, ND, SIZE, STRIDES, TYPE

__all__ = ["data_of", "fits", "holds", "item_of"]


@kernel
def fits(array, expected):
    """Whether the object at an address is as `ndarray.expectation` says: type and dtype, shape, strides, flags."""
    words = pointer(array, "int64")
    if words[TYPE] != expected[0]:
        return False
    if words[DESCR] != expected[1] or (words[FLAGS] & expected[2]) != expected[2]:
        return False
    nd = words[ND] & 0xFFFFFFFF
    if nd != expected[3]:
        return False
    shape, strides = pointer(words[DIMENSIONS], "int64"), pointer(words[STRIDES], "int64")
    sizes = offset(expected, 4)
    for d in range(nd):
        if shape[d] != sizes[2 * d] or (sizes[2 * d + 1] != ANY_STRIDE and strides[d] != sizes[2 * d + 1]):
            return False
    return True


@kernel
def data_of(array):
    """The address of the first element of the array at an address."""
    return pointer(array, "int64")[DATA]


@kernel
def holds(items, kind, count):
    """Whether the object is a tuple, itself and no subclass, of `count` items. `kind` is id(tuple) of this process."""
    words = pointer(items, "int64")
    return words[TYPE] == kind and words[SIZE] == count


@kernel
def item_of(items, index):
    """The address of an item of an object that `holds` found to be a tuple."""
    return pointer(items, "int64")[ITEMS + index]

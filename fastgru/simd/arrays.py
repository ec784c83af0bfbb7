"""Whether an object is the array that compiled code expects, and where its data lies: see `simd.ndarray`.

`process` is that of `fastgru.process`, which knows how this Python lays objects out.
"""

from fastgru.process import HEAD, ITEMS
from fastgru.simd.compiler import kernel
from fastgru.simd.memory import offset, pointer
from fastgru.simd.ndarray import ANY_STRIDE, DATA, DESCR, DIMENSIONS, FLAGS, ND, SIZE, STRIDES, TYPE

__all__ = ["data_of", "fits", "fits_rows", "holds", "item_of", "size_of"]


@kernel
def _fields(thing, process):
    """The words behind the head of the object at an address."""
    return offset(pointer(thing, "int64"), process[HEAD])


@kernel
def fits(array, expected, process):
    """Whether the object at an address is as `ndarray.expectation` says: type and dtype, shape, strides, flags."""
    words = _fields(array, process)
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
def fits_rows(array, expected, axis, rows, process):
    """Whether the object at an address is an array of so many rows along an axis, contiguous, and else as
    `ndarray.rows_expectation` says."""
    words = _fields(array, process)
    if words[TYPE] != expected[0] or words[DESCR] != expected[1] or (words[FLAGS] & expected[2]) != expected[2]:
        return False
    nd = words[ND] & 0xFFFFFFFF
    if nd != expected[3]:
        return False
    shape, strides = pointer(words[DIMENSIONS], "int64"), pointer(words[STRIDES], "int64")
    stride, empty = expected[4], False
    for d in range(nd):
        size = rows if d == axis else expected[5 + d]
        if shape[d] != size:
            return False
        empty = empty or size == 0
    for d in range(nd - 1, -1, -1):
        if shape[d] != 1 and not empty and strides[d] != stride:
            return False
        stride *= shape[d]
    return True


@kernel
def size_of(array, kind, process):
    """The size of the first axis of an object that is an array, -1 where there is none. `kind` is id(numpy.ndarray)."""
    words = _fields(array, process)
    if words[TYPE] != kind or (words[ND] & 0xFFFFFFFF) == 0:
        return -1
    return pointer(words[DIMENSIONS], "int64")[0]


@kernel
def data_of(array, process):
    """The address of the first element of the array at an address."""
    return _fields(array, process)[DATA]


@kernel
def holds(items, kind, count, process):
    """Whether the object is a tuple, itself and no subclass, of `count` items. `kind` is id(tuple) of this process."""
    words = _fields(items, process)
    return words[TYPE] == kind and words[SIZE] == count


@kernel
def item_of(items, index, process):
    """The address of an item of an object that `holds` found to be a tuple."""
    return pointer(items, "int64")[process[ITEMS] + index]

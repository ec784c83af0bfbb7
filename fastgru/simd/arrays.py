"""Checks that an object is the array that compiled code expects, and reads the address of its data: see `simd.ndarray`.

`process` is the array of `fastgru.process`, which holds the layout of this Python's objects.
"""

from fastgru.process import HEAD, ITEMS
from fastgru.simd.compiler import kernel
from fastgru.simd.memory import offset, pointer
from fastgru.simd.ndarray import ANY_STRIDE, DATA, DESCR, DIMENSIONS, FLAGS, ND, SIZE, STRIDES, TYPE

__all__ = ["data_of", "fits", "fits_rows", "holds", "item_of", "size_of"]


@kernel
def _fields(thing, process):
    """Return the words after the head of the object at an address."""
    return offset(pointer(thing, "int64"), process[HEAD])


@kernel
def fits(array, expected, process):
    """Return whether the object at an address matches an `ndarray.expectation`: type, dtype, shape, strides, flags."""
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
    """Return whether the object at an address is a contiguous array that matches an `ndarray.rows_expectation`.

    rows: its size along `axis`.
    """
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
    """Return the size of the first axis of the object at an address, -1 if it is no array or has no axes.

    kind: id(numpy.ndarray).
    """
    words = _fields(array, process)
    if words[TYPE] != kind or (words[ND] & 0xFFFFFFFF) == 0:
        return -1
    return pointer(words[DIMENSIONS], "int64")[0]


@kernel
def data_of(array, process):
    """Return the address of the first element of the array at an address."""
    return _fields(array, process)[DATA]


@kernel
def holds(items, kind, count, process):
    """Return whether the object is a tuple of `count` items, and not of a subclass. kind: id(tuple) of this process."""
    words = _fields(items, process)
    return words[TYPE] == kind and words[SIZE] == count


@kernel
def item_of(items, index, process):
    """Return the address of an item of an object that `holds` has found to be a tuple."""
    return pointer(items, "int64")[process[ITEMS] + index]

"""NumPy arrays as compiled code sees them without Numba's own unboxing, which allocates for every array of every call.

An `ArrayObject` argument is the PyObject itself, an array or a tuple of them. An array's fields are read where NumPy's
C interface has kept them since 1.0 (`PyArrayObject_fields` in ndarraytypes.h): after the object's head come data, nd,
dimensions, strides, base, descr and flags. A tuple's items lie after what `tuple.__basicsize__` counts. `layout_holds`
proves both before anything relies on them.
"""

from __future__ import annotations

import functools
from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import njit
from numba.core import types
from numba.core.extending import NativeValue, intrinsic, models, register_model, unbox

from fastgru.simd.memory import offset, pointer

__all__ = [
    "WRITEABLE",
    "ArrayObject",
    "array_object",
    "data_of",
    "expectation",
    "fits",
    "holds",
    "item_of",
    "layout_holds",
]

_HEAD: Final = object.__basicsize__
_TYPE: Final = _HEAD // 8 - 1  # words before the type pointer, the last of the head
_DATA, _ND, _DIMENSIONS, _STRIDES, _DESCR, _FLAGS = (_HEAD // 8 + i for i in (0, 1, 2, 3, 5, 6))
_SIZE: Final = _HEAD // 8  # of a tuple
_ITEMS: Final = tuple.__basicsize__ // 8
WRITEABLE: Final = 0x0400  # NPY_ARRAY_WRITEABLE


class ArrayObject(types.Type):
    """A PyObject that should be an ndarray, or a tuple: borrowed for the length of the call."""

    def __init__(self) -> None:
        super().__init__(name="ArrayObject")


array_object = ArrayObject()


@register_model(ArrayObject)
class _ArrayObjectModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: ArrayObject) -> None:
        super().__init__(dmm, fe_type, ir.IntType(64))


@unbox(ArrayObject)
def _unbox(typ, obj, c):
    return NativeValue(c.builder.ptrtoint(obj, ir.IntType(64)))


@intrinsic
def fields_of(typingctx, array):
    """The object's words."""
    if not isinstance(array, ArrayObject):
        return None
    words = types.CPointer(types.int64)
    return words(array), lambda context, builder, sig, args: builder.inttoptr(args[0], context.get_value_type(words))


@njit(nogil=True)
def fits(array, expected):
    """Whether the object is as `expected` says (see `expectation`): the very type and dtype, shape, strides, flags."""
    words = fields_of(array)
    if words[_TYPE] != expected[0]:
        return False
    if words[_DESCR] != expected[1] or (words[_FLAGS] & expected[2]) != expected[2]:
        return False
    nd = words[_ND] & 0xFFFFFFFF
    if nd != expected[3]:
        return False
    shape, strides = pointer(words[_DIMENSIONS], "int64"), pointer(words[_STRIDES], "int64")
    sizes = offset(expected, 4)
    for d in range(nd):  # noqa: SIM110  (compiled: no generators)
        if shape[d] != sizes[2 * d] or (shape[d] != 1 and strides[d] != sizes[2 * d + 1]):
            return False
    return True


@njit(nogil=True)
def data_of(array):
    """The address of the first element."""
    return fields_of(array)[_DATA]


@intrinsic
def _as_object(typingctx, word):
    """The object at an address."""
    return array_object(word), lambda context, builder, sig, args: args[0]


@njit(nogil=True)
def holds(items, kind, count):
    """Whether the object is a tuple, itself and no subclass, of `count` items. `kind` is id(tuple) of this process."""
    words = fields_of(items)
    return words[_TYPE] == kind and words[_SIZE] == count


@njit(nogil=True)
def item_of(items, index):
    """An item of an object that `holds` found to be a tuple."""
    return _as_object(fields_of(items)[_ITEMS + index])


def expectation(array: np.ndarray[Any, Any], flags: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The words that `fits` compares with: type, dtype, flags, axes, then size and stride of each."""
    axes = [word for axis in zip(array.shape, array.strides, strict=True) for word in axis]
    return np.array([id(np.ndarray), id(array.dtype), flags, array.ndim, *axes], np.int64)


@functools.cache
def layout_holds() -> bool:
    """True where the fields lie where this module reads them, proved on arrays of this NumPy."""
    import ctypes

    for array in (np.zeros((2, 3, 5), np.float32)[:, ::2], np.zeros(7), np.zeros((), np.int64)):
        array.flags.writeable = array.ndim != 1
        words = (ctypes.c_int64 * (_HEAD // 8 + 7)).from_address(id(array))
        shape = (ctypes.c_int64 * array.ndim).from_address(words[_DIMENSIONS]) if array.ndim else ()
        strides = (ctypes.c_int64 * array.ndim).from_address(words[_STRIDES]) if array.ndim else ()
        if (
            words[_TYPE] != id(np.ndarray)
            or words[_DATA] != array.ctypes.data
            or words[_ND] & 0xFFFFFFFF != array.ndim
            or tuple(shape) != array.shape
            or tuple(strides) != array.strides
            or words[_DESCR] != id(array.dtype)
            or bool(words[_FLAGS] & WRITEABLE) != array.flags.writeable
        ):
            return False
    items = (object(), object(), object())
    words = (ctypes.c_int64 * (_ITEMS + len(items))).from_address(id(items))
    return (words[_TYPE], words[_SIZE]) == (id(tuple), len(items)) and words[_ITEMS:] == [id(item) for item in items]

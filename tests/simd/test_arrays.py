"""Arrays and tuples are read where the Python that runs has them, whatever Python the code was built under."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest

from fastgru.kernels.registry import callable_kernel
from fastgru.kernels.run import calls
from fastgru.process import HEAD, ITEMS, process
from fastgru.simd.arrays import data_of, fits, holds, item_of
from fastgru.simd.memory import pointer
from fastgru.simd.ndarray import ANY_STRIDE, WRITEABLE, check_layout, expectation

# Words of an object's head and of a tuple before its items: of CPython 3.11 to 3.13, of 3.14 with its hash, of a build
# that counts references of threads apart, of both.
LAYOUTS = [(2, 3), (2, 4), (4, 5), (4, 6)]

KIND, DTYPE, TUPLE = 0x1000, 0x2000, 0x3000


@callable_kernel
def _found(items, process, expected):
    """(whether it is a tuple of two, how many of its items fit, the sum of where their data lies)"""
    words = pointer(process, "int64")
    if not holds(items, 0x3000, 2, words):
        return False, 0, 0
    fitting, data = 0, 0
    for i in range(2):
        array = item_of(items, i, words)
        if fits(array, pointer(expected, "int64"), words):
            fitting += 1
            data += data_of(array, words)
    return True, fitting, data


def words(*values: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.array(values, np.int64)


@pytest.mark.parametrize(("head", "items"), LAYOUTS)
@pytest.mark.parametrize("wrong", ["", "kind", "dtype", "flags", "shape", "strides"])
def test_objects_of_any_layout_are_read(head: int, items: int, wrong: str) -> None:
    layout = words(*(process[i] if i not in (HEAD, ITEMS) else {HEAD: head, ITEMS: items}[i] for i in range(5)))
    shape, strides = words(3, 5 + (wrong == "shape")), words(20, 4 + (wrong == "strides"))
    fields = [
        *[7] * (head - 1), KIND + (wrong == "kind"), 0x5000, 2, shape.ctypes.data, strides.ctypes.data, 7,
        DTYPE + (wrong == "dtype"), 1 if wrong == "flags" else 1 | WRITEABLE,
    ]  # fmt: skip
    first, second = words(*fields), words(*fields)
    second[head] = 0x6000
    both = words(*[7] * (head - 1), TUPLE, 2, *[9] * (items - head - 1), first.ctypes.data, second.ctypes.data)
    expected = words(KIND, DTYPE, 1 | WRITEABLE, 2, 3, ANY_STRIDE, 5, 4)
    found = _found(both.ctypes.data, layout.ctypes.data, expected.ctypes.data)
    assert found == ((True, 2, 0xB000) if not wrong else (True, 0, 0))
    both[head] = 3
    assert _found(both.ctypes.data, layout.ctypes.data, expected.ctypes.data) == (False, 0, 0)


def test_the_words_are_those_of_this_python() -> None:
    calls()
    array = np.zeros((2, 3), np.float32)
    address = ctypes.c_int64.from_address(id(array) + 8 * int(process[HEAD]) - 8)
    assert address.value == id(np.ndarray)
    assert expectation(array, WRITEABLE)[0] == id(np.ndarray)
    check_layout()


@pytest.mark.parametrize("word", [HEAD, ITEMS])
def test_a_python_that_is_laid_out_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch, word: int) -> None:
    other = process.copy()
    other[word] += 1
    monkeypatch.setattr("fastgru.simd.ndarray.process", other)
    with pytest.raises(Exception, match=r"another layout|laid out"):
        check_layout()

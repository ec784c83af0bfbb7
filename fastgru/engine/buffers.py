"""The values of a plan: buffers, which get an address when the plan is complete, and strided views of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
from functools import cache
from math import prod
from operator import index
from typing import Any, Final, Literal

import numpy as np

from fastgru.errors import ShapeError, UnsupportedModelError
from fastgru.graph import Array
from fastgru.packing.quantise import QuantisedRows
from fastgru.records import dataclass

__all__ = [
    "Buffer",
    "Constant",
    "ConstantRows",
    "Region",
    "Value",
    "View",
    "constant_of",
    "contiguous_strides",
    "integers",
    "itemsize",
    "whole",
]

Kind = Literal["arena", "constant", "input", "output", "moving"]
_INTEGERS: Final = frozenset({int})


@cache
def itemsize(dtype: str) -> int:
    """Return the bytes of an element; NumPy does not know the name bfloat16."""
    return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize


def contiguous_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the strides, in elements, of a C-ordered array."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


def integers(numbers: Iterable[Any]) -> tuple[int, ...]:
    """Return the numbers as Python's integers. Raises `ShapeError` for any other type, even for a whole float."""
    given = tuple(numbers)
    if _INTEGERS.issuperset(map(type, given)):
        return given
    try:
        return tuple(map(index, given))
    except TypeError:
        raise ShapeError(f"got {given!r:.200}, expected integers") from None


def whole(shape: Iterable[Any]) -> tuple[int, ...]:
    """Return the sizes as Python's integers. Raises `ShapeError` for one that is not an integer, or below 0."""
    sizes = integers(shape)
    if sizes and min(sizes) < 0:
        raise ShapeError(f"got a tensor of shape {sizes}, expected sizes of at least 0")
    return sizes


@dataclass(eq=False)
class Buffer:
    """A run of bytes. `first` and `last` are the instructions between which an arena buffer must keep its place.

    shape: the shape of the contiguous tensor that an arena buffer was made for.
    regions: the parts that the tensor is copied from when an instruction first reads it; None once it is in memory.
    writer: the one instruction that fills the whole buffer, if there is one; it may be able to write elsewhere.
    touches: the instructions so far that read or write it. depth: the number of nested loops around its making.
    over: the buffers that a moving buffer, whose address the instructions of a loop set, may lie in.
    alias: the moving buffer whose address this one has.
    """

    nbytes: int
    kind: Kind
    name: str = ""
    shape: tuple[int, ...] = ()
    regions: list[Region] | None = None
    writer: Any = None
    touches: int = 0
    depth: int = 0
    over: tuple[Buffer, ...] = ()
    alias: Buffer | None = None
    data: Array | None = None
    first: int | None = None
    last: int = -1
    base: int = -1
    offset: int = 0


@dataclass(frozen=True, eq=False)
class View:
    """A tensor: where it starts in a buffer (bytes), shape, strides (elements, may be 0 or negative), dtype."""

    buffer: Buffer
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str

    def __post_init__(self) -> None:
        if {type(self.offset), *map(type, self.shape), *map(type, self.strides)} != _INTEGERS:
            object.__setattr__(self, "offset", integers([self.offset])[0])
            object.__setattr__(self, "shape", integers(self.shape))
            object.__setattr__(self, "strides", integers(self.strides))
        if min(self.shape, default=0) < 0 or len(self.shape) != len(self.strides):
            raise ShapeError(f"a view of shape {self.shape} with strides {self.strides}")

    def __str__(self) -> str:
        return (
            f"{self.dtype} {self.shape}, strides {self.strides}, from byte {self.offset} of {self.buffer.nbytes}"
            f" ({self.buffer.kind})"
        )

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def inside(self) -> bool:
        """True if every element lies within the buffer."""
        low, high = 0, 1
        for size, step in zip(self.shape, self.strides, strict=True):
            if step < 0:
                low += (size - 1) * step
            else:
                high += (size - 1) * step
        return 0 in self.shape or (self.moved(low) >= 0 and self.moved(high) <= self.buffer.nbytes)

    @property
    def extent(self) -> int:
        """Bytes from the start of the first element to the end of the last, for strides that are not negative."""
        last = sum((size - 1) * step for size, step in zip(self.shape, self.strides, strict=True))
        return 0 if 0 in self.shape else (last + 1) * itemsize(self.dtype)

    @property
    def contiguous(self) -> bool:
        expected = contiguous_strides(self.shape)
        return self.size == 0 or all(
            n == 1 or s == e for n, s, e in zip(self.shape, self.strides, expected, strict=True)
        )

    @property
    def whole(self) -> bool:
        """True if the view is all of its buffer, in order."""
        return self.contiguous and self.offset == 0 and self.size * itemsize(self.dtype) == self.buffer.nbytes

    def subview(self, first: tuple[int, ...], size: tuple[int, ...]) -> View:
        """Return the view of a box of this one: `first` is its first corner, `size` its shape."""
        start = self.moved(sum(i * s for i, s in zip(first, self.strides, strict=True)))
        return View(self.buffer, start, size, self.strides, self.dtype)

    def as_strided(self, shape: tuple[int, ...], strides: tuple[int, ...]) -> View:
        """Return a view from the same first element, with another shape and other strides."""
        return View(self.buffer, self.offset, shape, strides, self.dtype)

    def moved(self, elements: int) -> int:
        """Return the byte offset of the element that lies `elements` places after the first."""
        return self.offset + elements * itemsize(self.dtype)


@dataclass(frozen=True, eq=False)
class Region:
    """A box of a tensor: its first corner, and the source of its elements, whose shape is that of the box."""

    start: tuple[int, ...]
    source: View
    label: str = ""


@dataclass(frozen=True, eq=False)
class Constant:
    """A value that is known while planning: a constant of the graph, or a size that follows from the input shapes.

    name: the name of a constant of the graph, which is the same in every plan; empty for a value of one plan only.
    """

    array: Array = field(default_factory=lambda: np.zeros(0))
    name: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.array.shape)

    @property
    def ndim(self) -> int:
        return self.array.ndim

    @property
    def dtype(self) -> str:
        return self.array.dtype.name

    @property
    def matrix(self) -> Array | QuantisedRows:
        """The matrix that weights are packed from: `array`, or the int8 rows that are kept instead."""
        return self.array

    @property
    def transposed(self) -> Constant:
        """The transposed matrix, for a constant of two axes."""
        return Constant(self.array.T, self.name)


class ConstantRows(Constant):
    """A constant matrix of floats that is kept in int8: every access to `array` converts it to floats.

    rows: the rows of the matrix, or its columns if `by_columns`.
    """

    def __init__(self, rows: QuantisedRows, name: str, *, by_columns: bool = False) -> None:
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "rows", rows)
        object.__setattr__(self, "by_columns", by_columns)

    rows: QuantisedRows
    by_columns: bool

    @property
    def array(self) -> Array:
        whole = np.asarray(self.rows)
        return whole.T if self.by_columns else whole

    @property
    def shape(self) -> tuple[int, ...]:
        return self.rows.shape[::-1] if self.by_columns else self.rows.shape

    @property
    def ndim(self) -> int:
        return 2

    @property
    def dtype(self) -> str:
        return "float32"

    @property
    def matrix(self) -> Array | QuantisedRows:
        return self.array if self.by_columns else self.rows

    @property
    def transposed(self) -> Constant:
        return ConstantRows(self.rows, self.name, by_columns=not self.by_columns)


Value = View | Constant


def constant_of(value: Value | None, what: str) -> Constant:
    """Return the value, which must be a constant. Raises `UnsupportedModelError` if it is not."""
    if isinstance(value, Constant):
        return value
    raise UnsupportedModelError(
        f"{what} depends on the data, not only on shapes; make this value a constant of the model"
    )

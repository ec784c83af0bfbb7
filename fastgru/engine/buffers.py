"""What a plan computes with: buffers that get an address when the plan is complete, and strided views of them."""

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
    """Bytes of an element; bfloat16 is not a NumPy name."""
    return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize


def contiguous_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides, in elements, of a C-ordered array."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


def integers(numbers: Iterable[Any]) -> tuple[int, ...]:
    """Python's own integers; `ShapeError` for what is no integer, a float that is whole among them."""
    given = tuple(numbers)
    if _INTEGERS.issuperset(map(type, given)):
        return given
    try:
        return tuple(map(index, given))
    except TypeError:
        raise ShapeError(f"got {given!r:.200}, expected integers") from None


def whole(shape: Iterable[Any]) -> tuple[int, ...]:
    """Sizes as Python's integers; `ShapeError` for what is none, or below 0."""
    sizes = integers(shape)
    if sizes and min(sizes) < 0:
        raise ShapeError(f"got a tensor of shape {sizes}, expected sizes of at least 0")
    return sizes


@dataclass(eq=False)
class Buffer:
    """A run of bytes. `first` and `last` are the instructions between which an arena buffer must keep its place.

    shape: of the contiguous tensor that an arena buffer was made for.
    regions: what the tensor will be copied together from when something has to read it; None once it lies in memory.
    writer: the one instruction that fills it all, where that can write elsewhere as well; touches: instructions so far.
    depth: of loops within loops that it was made in. over: what a moving buffer, whose address the instructions of a
    loop set, may lie in; alias: the moving buffer whose address this one has.
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
        """True where every element lies within the buffer."""
        low, high = 0, 1
        for size, step in zip(self.shape, self.strides, strict=True):
            if step < 0:
                low += (size - 1) * step
            else:
                high += (size - 1) * step
        return 0 in self.shape or (self.moved(low) >= 0 and self.moved(high) <= self.buffer.nbytes)

    @property
    def extent(self) -> int:
        """Bytes from the first element to behind the last, for strides that are not negative."""
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
        """True where the view is all of its buffer, in order."""
        return self.contiguous and self.offset == 0 and self.size * itemsize(self.dtype) == self.buffer.nbytes

    def subview(self, first: tuple[int, ...], size: tuple[int, ...]) -> View:
        """A box of it: where it starts, and its sizes."""
        start = self.moved(sum(i * s for i, s in zip(first, self.strides, strict=True)))
        return View(self.buffer, start, size, self.strides, self.dtype)

    def as_strided(self, shape: tuple[int, ...], strides: tuple[int, ...]) -> View:
        """From the same first element on, in another shape."""
        return View(self.buffer, self.offset, shape, strides, self.dtype)

    def moved(self, elements: int) -> int:
        """The byte offset `elements` further on."""
        return self.offset + elements * itemsize(self.dtype)


@dataclass(frozen=True, eq=False)
class Region:
    """A box of a tensor: where it starts, and what it holds; the shape of the source is its size."""

    start: tuple[int, ...]
    source: View
    label: str = ""


@dataclass(frozen=True, eq=False)
class Constant:
    """A value that planning knows: a constant of the graph, or a size that follows from the input shapes.

    name: of a constant of the graph, the same in every plan; empty for what one plan alone knows.
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
        """What weights are packed from: `array`, or what is kept in its stead."""
        return self.array

    @property
    def transposed(self) -> Constant:
        """Of two axes, the other way round."""
        return Constant(self.array.T, self.name)


class ConstantRows(Constant):
    """A constant matrix of floats that is kept in int8: `array` makes floats of it, each time.

    rows: its rows, or its columns where `by_columns`.
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
    """The value, which must be a constant when the plan is made."""
    if isinstance(value, Constant):
        return value
    raise UnsupportedModelError(
        f"{what} depends on the data, not only on shapes; make this value a constant of the model"
    )

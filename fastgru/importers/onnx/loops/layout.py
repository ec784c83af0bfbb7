"""The axes of batch and features in the values that a loop's body reads and returns."""

import math
from collections.abc import Iterator, Sequence
from itertools import islice, product
from typing import Final

import numpy as np

from fastgru.arrays import Array
from fastgru.graphbuilder import Value
from fastgru.importers.onnx.builder import OnnxGraphBuilder
from fastgru.importers.onnx.loops.affine import AffineForm, Atom
from fastgru.records import dataclass
from fastgru.reference.sizes import Size

__all__ = ["Layout", "arrangements", "layout_of", "layouts_of", "rows_first"]

_MAX_RANK: Final = 4
_MOST_CHOICES: Final = 8


@dataclass(frozen=True)
class Layout:
    """The sizes of a value. axis: of the batch, or None. The sizes of all other axes are numbers."""

    sizes: tuple[Size, ...]
    axis: int | None

    @property
    def features(self) -> tuple[int, ...]:
        return tuple(n for i, n in enumerate(self.sizes) if i != self.axis and isinstance(n, int))

    @property
    def width(self) -> int:
        return math.prod(self.features)

    @property
    def rows(self) -> Size:
        """The size of the batch."""
        return 1 if self.axis is None else self.sizes[self.axis]

    def shape(self, rows: int) -> tuple[int, ...]:
        """Return the shape for a batch of `rows`."""
        return tuple(n if isinstance(n, int) and i != self.axis else rows for i, n in enumerate(self.sizes))

    def form(self, atom: Atom, rows: int) -> AffineForm:
        """Return the form of an atom that is a value of this layout."""
        return AffineForm.of(atom, self.shape(1), self.axis if rows > 1 else None)

    def rows_of(self, array: Array) -> Array:
        """Reshape an array of this layout to (rows, features)."""
        if self.axis is None:
            return array.reshape(1, -1)
        return rows_first(array, self.axis)

    def gathered(self, build: OnnxGraphBuilder, value: Value) -> Value:
        """Reshape a value (T, *sizes), with a time axis before this layout, to (T, N, features)."""
        ones = [i + 1 for i, n in enumerate(self.sizes) if n == 1 and i != self.axis]
        wide = len(self.features) - len(ones)
        ones = ones if wide or not ones else ones[1:]
        axis = None if self.axis is None else self.axis + 1 - sum(i <= self.axis for i in ones)
        rank = len(self.sizes) + 1 - len(ones)
        if ones:
            value = build.emit("squeeze", value, axes=ones)
        if axis is not None and axis != 1:
            value = build.emit("transpose", value, perm=[0, axis, *(i for i in range(1, rank) if i != axis)])
        if axis is None:
            value = build.emit("unsqueeze", value, axes=[1])
        return build.emit("reshape", value, build.integers([0, 0, -1])) if wide > 1 else value

    def spread(self, build: OnnxGraphBuilder, value: Value) -> Value:
        """Reshape (T, N, features) to (T, *sizes), the inverse of `gathered`."""
        ones = [i + 1 for i, n in enumerate(self.sizes) if n == 1 and i != self.axis]
        wide = [n for n in self.features if n != 1]
        ones = ones if wide or not ones else ones[1:]
        if len(wide) > 1:
            value = build.emit("reshape", value, build.integers([0, 0, *wide]))
        rank = 2 + max(len(wide), 1)
        if self.axis is None:
            value = build.emit("squeeze", value, axes=[1])
        else:
            axis = self.axis + 1 - sum(i <= self.axis for i in ones)
            if axis != 1:
                value = build.emit("transpose", value, perm=[0, *range(2, axis + 1), 1, *range(axis + 1, rank)])
        return build.emit("unsqueeze", value, axes=ones) if ones else value


def rows_first(array: Array, axis: int) -> Array:
    """Reshape an array whose rows lie along `axis` to (rows, features)."""
    moved = np.moveaxis(array, axis, 0) if axis else array
    return moved.reshape(array.shape[axis], -1)


def layout_of(sizes: Sequence[Size] | None) -> Layout | None:
    """Return the likeliest layout (see `layouts_of`), or None."""
    return next(iter(layouts_of(sizes)), None)


def layouts_of(sizes: Sequence[Size] | None) -> list[Layout]:
    """Return the layouts that a value may have, the likeliest first.

    The batch is the axis of free size. If there is none, every axis may be the batch; the likeliest are those before
    the last axis that have more than one element. A value with several free sizes or too many axes has no layout.
    """
    if not sizes or len(sizes) > _MAX_RANK:
        return []
    places = range(len(sizes))
    free = [i for i in places if not isinstance(sizes[i], int)]
    if len(sizes) == 1 and not free:
        return [Layout(tuple(sizes), None)]
    axes = free if free else sorted(places, key=lambda i: (i == places[-1], sizes[i] == 1, -i))
    if len(free) > 1 or len(sizes) == 1:
        return []
    return [layout for layout in (Layout(tuple(sizes), axis) for axis in axes) if layout.width]


def arrangements(options: Sequence[Sequence[Layout]]) -> Iterator[tuple[Layout, ...]]:
    """Yield layouts of several values with a common batch, the likeliest first; a single row fits any batch."""
    batches = list(dict.fromkeys(layout.rows for layouts in options for layout in layouts))
    given: set[tuple[Layout, ...]] = set()
    for batch in batches:
        fitting = [
            sorted((n for n in layouts if _fits(n.rows, batch)), key=lambda n: n.rows != batch) for layouts in options
        ]
        for chosen in islice(product(*fitting), _MOST_CHOICES):
            if any(layout.rows == batch for layout in chosen) and chosen not in given:
                given.add(chosen)
                yield chosen


def _fits(rows: Size, batch: Size) -> bool:
    return rows in (1, batch) or not isinstance(rows, int) or not isinstance(batch, int)

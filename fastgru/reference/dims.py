"""The words in which an operator says what its outputs are: values, their axes, and what becomes of axes.

A function for `Facts.dims` takes what the definition takes, an `Operand` in the place of each array, and returns the
axes of the outputs: a list where all outputs have the same ones, a tuple of a list each where they differ. An axis
that is handed on as it is keeps its size and its meaning; that alone says rank, sizes and where each axis comes from.

    list(x.dims)                     the same axes, in the same order
    [*x.dims[:-1], weight.dims[0]]   the last one replaced by the first of another input
    axis.resized(size)               of another size, but still time where it was time
    Dim(size)                       an axis that comes from nowhere
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from numpy.typing import NDArray

from fastgru.errors import ShapeError
from fastgru.graph import TensorSpec
from fastgru.process import once
from fastgru.reference.sizes import Size, axis_atom, free_axis, multiply

__all__ = [
    "FIRST", "MOST_ELEMENTS", "Dim", "Dims", "Facts", "Operand", "Place", "Tie", "UnknownError", "ValueFacts",
    "broadcast", "broadcast_dims", "changed", "equal", "joined", "numbers", "pairwise", "per_input",
    "reduced", "regrouped", "same",
]  # fmt: skip

Array = NDArray[Any]
Place: TypeAlias = tuple[int, int]  # (input, axis)

MOST_ELEMENTS: Final = 64
FIRST: Final = slice(1)  # of the inputs


class UnknownError(Exception):
    """What is asked of an operand is not known before the model runs."""


@dataclass(frozen=True, eq=False)
class ValueFacts:
    """What is known of a value: each None where it is not.

    dtype: a name of `graph.DTYPES`. sizes: of its axes, None each where not known. elements: of a small vector or
    scalar of integers or bools (as 0 and 1), in the same way. array: the value itself, where it is constant.
    """

    dtype: str | None = None
    sizes: tuple[Size, ...] | None = None
    elements: tuple[Size, ...] | None = None
    array: Array | None = None

    @property
    def rank(self) -> int | None:
        return None if self.sizes is None else len(self.sizes)

    @classmethod
    def of_array(cls, array: Array) -> ValueFacts:
        """A constant."""
        small = array.dtype.kind in "iub" and array.ndim < 2 and array.size <= MOST_ELEMENTS
        elements = tuple(int(n) for n in array.reshape(-1)) if small else None
        return cls(array.dtype.name, tuple(array.shape), elements, array)

    @classmethod
    def of_spec(cls, spec: TensorSpec) -> ValueFacts:
        """An input of a graph; each of its free dimensions without a name is a size of its own."""
        if spec.shape is None:
            return cls(spec.dtype)
        names = spec.dims or (None,) * len(spec.shape)
        return cls(
            spec.dtype,
            tuple(
                n if n is not None else free_axis(spec.name, i) if name is None else name
                for i, (n, name) in enumerate(zip(spec.shape, names, strict=True))
            ),
        )


@dataclass(frozen=True)
class Dim:
    """An axis of an output. same: the axes of inputs that it is; kin: those that it was made of, of another size."""

    size: Size
    same: frozenset[Place] = frozenset()
    kin: frozenset[Place] = frozenset()

    def resized(self, size: Size) -> Dim:
        """What a cut, a window or a repetition makes of this axis."""
        return Dim(size, frozenset(), self.same | self.kin)


Dims: TypeAlias = list[Dim]


class Operand:
    """An input of a node, as the functions of `Facts` see it. What is not known raises `UnknownError`."""

    def __init__(self, facts: ValueFacts, index: int) -> None:
        self.dtype, self.array, self.known = facts.dtype, facts.array, facts.elements
        self._sizes, self._index = facts.sizes, index

    @once
    def dims(self) -> tuple[Dim, ...]:
        if self._sizes is None:
            raise UnknownError
        return tuple(
            Dim(axis_atom(self._index, i) if size is None else size, frozenset({(self._index, i)}))
            for i, size in enumerate(self._sizes)
        )

    @property
    def is_ranked(self) -> bool:
        return self._sizes is not None

    @property
    def rank(self) -> int:
        return len(self.dims)

    @property
    def sizes(self) -> list[Size]:
        return [axis.size for axis in self.dims]

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes, where all of them are numbers."""
        return numbers(self.sizes)

    @property
    def elements(self) -> list[Size]:
        """Of a vector or scalar of integers; None each where only their count is known."""
        if self.array is not None and self.array.dtype.kind in "iub":
            return [int(n) for n in self.array.reshape(-1)[: 2 * MOST_ELEMENTS]]
        if self.known is not None:
            return list(self.known)
        count = math.prod(self.shape)
        if self.rank > 1 or count > MOST_ELEMENTS:
            raise UnknownError
        return [None] * count

    @property
    def integers(self) -> tuple[int, ...]:
        """The elements, where all of them are numbers."""
        return numbers(self.elements)


def numbers(sizes: Iterable[Size]) -> tuple[int, ...]:
    """The sizes, where all of them are numbers."""
    found = tuple(sizes)
    if not all(isinstance(n, int) for n in found):
        raise UnknownError
    return found  # type: ignore[return-value]


Tie: TypeAlias = tuple[str | None, Sequence[Place]]  # "N" (batch), "T" (time) or None, and the axes that are one


@dataclass(frozen=True)
class Facts:
    """Everything that is true of an operator beside its definition. The functions take what the definition takes.

    dims: the axes of the outputs. dtype: of every output, or a tuple of one each: a name, the number of the input that
    has the same, or a function of the attributes that gives one of these. elements: of the first output, where it is a
    small vector of integers. ties: axes of inputs that are one axis, with the role that the operator gives them.
    weights: the inputs that training made, and the axis of the outputs in those that may be quantised, else None; a
    function takes the number of inputs and the attributes. flops: for each element of the first output, or a function
    that gives them all. bound: elements of the largest array on the way, where an output is not that. moves: the inputs
    of whose elements the outputs consist. domains: by input, what its integers or bools mean, "ids", "lengths" or
    "mask", and the size of the axis that they point into.
    """

    dims: Callable[..., Dims | tuple[Dims, ...]]
    dtype: Any = 0
    elements: Callable[..., Sequence[Size]] | None = None
    ties: Callable[..., Iterable[Tie]] | None = None
    weights: Mapping[int, int | None] | Callable[..., Mapping[int, int | None]] = field(default_factory=dict)
    flops: int | Callable[..., Size] = 0
    bound: Callable[..., int] | None = None
    moves: slice | None = None
    domains: Callable[..., Mapping[int, tuple[str, Size]]] | None = None


def same(x: Operand, *_: Operand | None, **__: Any) -> Dims:
    """Those of the first input."""
    return list(x.dims)


def broadcast(*operands: Operand | None, **_: Any) -> Dims:
    """As `broadcast_dims`, of all inputs."""
    return broadcast_dims(*(operand.dims for operand in operands if operand is not None))


def broadcast_dims(*shapes: Sequence[Dim]) -> Dims:
    """By NumPy's rules. An axis of a free size counts as the output's, not as one of 1 that is stretched."""
    rank = max(map(len, shapes))
    return [_stretched([s[i - rank + len(s)] for s in shapes if i - rank + len(s) >= 0]) for i in range(rank)]


def _stretched(column: Sequence[Dim]) -> Dim:
    sizes = {axis.size for axis in column} - {1}
    fixed = {size for size in sizes if isinstance(size, int)}
    if len(fixed) > 1:
        raise ShapeError(f"sizes {sorted(fixed)} do not broadcast")
    size: Size = 1 if not sizes else next(iter(fixed or sizes)) if fixed or len(sizes) == 1 else None
    return joined(size, [axis for axis in column if axis.size == size or not isinstance(axis.size, int)])


def joined(size: Size, axes: Iterable[Dim]) -> Dim:
    """An axis of this size that is each of these."""
    found = list(axes)
    return Dim(
        size, frozenset().union(*(axis.same for axis in found)), frozenset().union(*(axis.kin for axis in found))
    )


def equal(*axes: Dim) -> Dim:
    """The one axis that these must be, of the plainest of their sizes."""
    sizes = [axis.size for axis in axes]
    fixed = {size for size in sizes if isinstance(size, int)}
    if len(fixed) > 1:
        raise ShapeError(f"sizes {sorted(fixed)}, expected the same")
    named = [size for size in sizes if isinstance(size, str)]
    return joined([*fixed, *named, *sizes][0], axes)


def per_input(count: int) -> Callable[..., Size]:
    """So many flops for each element of the first input."""
    return lambda x, *_, **__: multiply(count, *x.sizes)


def pairwise(function: Callable[..., Size], *operands: Operand) -> list[Size]:
    """The function of the elements of vectors or scalars, by NumPy's rules."""
    vectors = [operand.elements for operand in operands]
    count = next((len(v) for v in vectors if len(v) != 1), 1)
    if any(len(v) not in (1, count) for v in vectors):
        raise UnknownError
    return [function(*(v[i % len(v)] for v in vectors)) for i in range(count)]


def reduced(x: Operand, axes: Iterable[int], *, keepdims: bool = False) -> Dims:
    """Without these axes, or with 1 in the place of each."""
    gone = {range(x.rank)[axis] for axis in axes}
    return [Dim(1) if i in gone else axis for i, axis in enumerate(x.dims) if keepdims or i not in gone]


def changed(axes: Sequence[Dim], sizes: Mapping[int, Size]) -> Dims:
    """The axes, some of them of another size; one that keeps its size stays what it is."""
    places = {range(len(axes))[axis]: size for axis, size in sizes.items()}
    return [
        axis if i not in places or places[i] == axis.size else axis.resized(places[i]) for i, axis in enumerate(axes)
    ]


def regrouped(axes: Sequence[Dim], sizes: Sequence[Size]) -> Dims:
    """The axes of the same elements in another shape, in the same order.

    An axis before which, or after which, there are as many elements as there were is the same. Where several become
    one or others, a free one that becomes the only free one is its kin: frames that are stacked, or cut.
    """
    found, used = [Dim(size) for size in sizes], set()
    old = [axis.size for axis in axes]
    sides = [(_running(old), _running(sizes)), (_running(old[::-1])[::-1], _running(sizes[::-1])[::-1])]
    for j, size in enumerate(sizes):
        for i in range(len(old)):
            if i not in used and old[i] == size and any(a[i] == b[j] and b[j] is not None for a, b in sides):
                found[j] = axes[i]
                used.add(i)
                break
    rest = [axis for i, axis in enumerate(axes) if i not in used and not isinstance(axis.size, int)]
    made = [j for j, axis in enumerate(found) if not axis.same and not isinstance(axis.size, int)]
    if len(rest) == len(made) == 1:
        found[made[0]] = rest[0].resized(found[made[0]].size)
    return found


def _running(sizes: Sequence[Size]) -> list[Size]:
    """The product of the sizes before each."""
    return [multiply(*sizes[:i]) for i in range(len(sizes))]

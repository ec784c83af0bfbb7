"""What is known of the inputs of a node: of values, their axes and their elements."""

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final, NamedTuple, Self, TypeAlias

import numpy as np

from fastgru.graph import Array, TensorSpec
from fastgru.process import once
from fastgru.records import dataclass
from fastgru.reference.sizes import Size, axis_atom, free_axis

__all__ = ["MOST_ELEMENTS", "Dim", "Dims", "Operand", "Place", "UnknownError", "ValueFacts", "dtype_name", "numbers"]

Place: TypeAlias = tuple[int, int]  # (input, axis)

MOST_ELEMENTS: Final = 64


class UnknownError(Exception):
    """What is asked of an operand is not known before the model runs."""


@lru_cache(maxsize=64)
def dtype_name(dtype: np.dtype[Any]) -> str:
    """`dtype.name`, which NumPy puts together anew each time."""
    return dtype.name


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
    def of_array(cls, array: Array) -> Self:
        """A constant."""
        small = array.dtype.kind in "iub" and array.ndim < 2 and array.size <= MOST_ELEMENTS
        elements = tuple(map(int, array.reshape(-1).tolist())) if small else None
        return cls(dtype_name(array.dtype), tuple(array.shape), elements, array)

    @classmethod
    def of_spec(cls, spec: TensorSpec) -> Self:
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


class Dim(NamedTuple):
    """An axis of an output. same: the axes of inputs that it is; kin: those that it was made of, of another size."""

    size: Size
    same: frozenset[Place] = frozenset()
    kin: frozenset[Place] = frozenset()

    def resized(self, size: Size) -> Self:
        """What a cut, a window or a repetition makes of this axis."""
        return self._replace(size=size, same=frozenset(), kin=self.same | self.kin)


Dims: TypeAlias = list[Dim]


@lru_cache(maxsize=4096)
def _dim(size: Size, index: int, axis: int) -> Dim:
    """An axis of an input."""
    return Dim(axis_atom(index, axis) if size is None else size, frozenset({(index, axis)}))


class Operand:
    """An input of a node, as the functions of `Facts` see it. What is not known raises `UnknownError`."""

    def __init__(self, facts: ValueFacts, index: int) -> None:
        self.dtype, self.array, self.known = facts.dtype, facts.array, facts.elements
        self._sizes, self._index = facts.sizes, index

    @once
    def dims(self) -> tuple[Dim, ...]:
        if self._sizes is None:
            raise UnknownError
        return tuple([_dim(size, self._index, i) for i, size in enumerate(self._sizes)])

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
            return list(map(int, self.array.reshape(-1)[: 2 * MOST_ELEMENTS].tolist()))
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

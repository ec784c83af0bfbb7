"""What is known of the inputs of a node: their dtypes, axes and elements."""

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
    """Return `dtype.name` from a cache, because NumPy composes the text at each call."""
    return dtype.name


@dataclass(frozen=True, eq=False)
class ValueFacts:
    """What is known of a value. None stands for anything unknown.

    dtype: a name of `graph.DTYPES`. sizes: the sizes of its axes; each may be None. elements: the elements of a small
    vector or scalar of integers or bools (as 0 and 1); each may be None. array: the value itself, if it is constant.
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
        """Return the facts of a constant."""
        small = array.dtype.kind in "iub" and array.ndim < 2 and array.size <= MOST_ELEMENTS
        elements = tuple(map(int, array.reshape(-1).tolist())) if small else None
        return cls(dtype_name(array.dtype), tuple(array.shape), elements, array)

    @classmethod
    def of_spec(cls, spec: TensorSpec) -> Self:
        """Return the facts of an input of a graph. Each free dimension without a name is a size of its own."""
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
    """An axis of an output. same: the axes of inputs that it is the same as. kin: those from which it was resized."""

    size: Size
    same: frozenset[Place] = frozenset()
    kin: frozenset[Place] = frozenset()

    def resized(self, size: Size) -> Self:
        """Return the axis after a cut, a window or a repetition."""
        return self._replace(size=size, same=frozenset(), kin=self.same | self.kin)


Dims: TypeAlias = list[Dim]


@lru_cache(maxsize=4096)
def _dim(size: Size, index: int, axis: int) -> Dim:
    """Return an axis of an input."""
    return Dim(axis_atom(index, axis) if size is None else size, frozenset({(index, axis)}))


class Operand:
    """An input of a node, as the functions of `Facts` see it. Properties that are not known raise `UnknownError`."""

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
        """The sizes, if all of them are numbers."""
        return numbers(self.sizes)

    @property
    def elements(self) -> list[Size]:
        """The elements of a vector or scalar of integers. Each is None if only their count is known."""
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
        """The elements, if all of them are numbers."""
        return numbers(self.elements)


def numbers(sizes: Iterable[Size]) -> tuple[int, ...]:
    """Return the sizes if all of them are numbers. Raises `UnknownError` otherwise."""
    found = tuple(sizes)
    if not all(isinstance(n, int) for n in found):
        raise UnknownError
    return found  # type: ignore[return-value]

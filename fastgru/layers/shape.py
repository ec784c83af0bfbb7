"""Layers that move or pick elements, and those that do nothing once training is over."""

from typing import Unpack

from fastgru.errors import ShapeError, SpecError
from fastgru.layers.arrays import axis_of, integer, number
from fastgru.layers.base import Layer, NetworkBuilder, Options, Value

__all__ = ["Dropout", "Identity", "LastStep", "Select", "Transpose"]


class Identity(Layer):
    """x as it is."""

    def emit(self, graph: NetworkBuilder, x: Value, lengths: Value | None = None) -> Value:
        return x


class Dropout(Identity):
    """Return x unchanged, because dropout matters only for training. It is here so that you can write a network as it
    was trained.
    """

    shown = "p={p}"

    def __init__(self, p: float = 0.5, **options: Unpack[Options]) -> None:
        super().__init__(**options)
        self.p = number("Dropout: p", p)
        if not 0 <= self.p <= 1:
            raise SpecError(f"Dropout: p is {p!r}, expected a probability")


class Select(Layer):
    """x without the axis `dim`, at `index` of it; negative numbers count from the end (torch.select)."""

    shown = "dim={dim}, index={index}"

    def __init__(self, dim: int, index: int, **options: Unpack[Options]) -> None:
        super().__init__(**options)
        self.dim, self.index = integer("Select: dim", dim), integer("Select: index", index)

    def emit(self, graph: NetworkBuilder, x: Value, lengths: Value | None = None) -> Value:
        axis = axis_of(repr(self), x, self.dim)
        size = x.shape[axis]
        if size is not None and not -size <= self.index < size:
            raise ShapeError(f"{self!r}: axis {axis} of the input has {size} elements")
        return graph.apply("gather", x, graph.integers(self.index, "index"), axis=axis)


class LastStep(Layer):
    """Return the last step of a sequence: x (T, N, C), or (N, T, C) with batch_first -> (N, C); (T, C) -> (C,).

    With lengths, it is the last valid step of each row, and step 0 if a length is zero.
    """

    shown = "batch_first={batch_first}"
    default_rank = 3
    takes_lengths = True

    def __init__(self, *, batch_first: bool = False, **options: Unpack[Options]) -> None:
        super().__init__(**options)
        self.batch_first = bool(batch_first)

    def emit(self, graph: NetworkBuilder, x: Value, lengths: Value | None = None) -> Value:
        if len(x.shape) not in (2, 3):
            raise ShapeError(f"{self!r}: input has shape {x.shape}, expected 3 axes, or 2 without a batch")
        if lengths is None or len(x.shape) == 2:
            if lengths is not None:
                raise ShapeError(f"{self!r}: lengths came with an input of shape {x.shape}, which has no batch")
            return Select(1 if self.batch_first and len(x.shape) == 3 else 0, -1).emit(graph, x)
        rows = x if self.batch_first else Transpose(0, 1).emit(graph, x)
        return graph.apply("last", rows, lengths)


class Transpose(Layer):
    """x with the axes dim0 and dim1 exchanged."""

    shown = "{dim0}, {dim1}"

    def __init__(self, dim0: int, dim1: int, **options: Unpack[Options]) -> None:
        super().__init__(**options)
        self.dim0, self.dim1 = integer("Transpose: dim0", dim0), integer("Transpose: dim1", dim1)

    def emit(self, graph: NetworkBuilder, x: Value, lengths: Value | None = None) -> Value:
        a, b = axis_of(repr(self), x, self.dim0), axis_of(repr(self), x, self.dim1)
        perm = list(range(len(x.shape)))
        perm[a], perm[b] = perm[b], perm[a]
        return graph.apply("transpose", x, perm=perm)

"""Layers that move or pick elements, and layers that do nothing after training."""

from typing import Unpack

from fastgru.errors import ShapeError, SpecError
from fastgru.layers.arrays import axis_of, integer, number
from fastgru.layers.base import Layer, NetworkBuilder, Options, Value

__all__ = ["Dropout", "Identity", "LastStep", "Select", "Transpose"]


class Identity(Layer):
    """Return x unchanged."""

    def emit(self, graph: NetworkBuilder, x: Value, lengths: Value | None = None) -> Value:
        return x


class Dropout(Identity):
    """Return x unchanged, because dropout applies only during training.

    With this layer you can write a network as it was trained. p is the probability of the training, from 0 to 1.
    """

    shown = "p={p}"

    def __init__(self, p: float = 0.5, **options: Unpack[Options]) -> None:
        super().__init__(**options)
        self.p = number("Dropout: p", p)
        if not 0 <= self.p <= 1:
            raise SpecError(f"Dropout: p is {p!r}, expected a probability from 0 to 1")


class Select(Layer):
    """Return the entry `index` along the axis `dim` of x, without this axis, as torch.select does.

    A negative `dim` or `index` counts from the end.
    """

    shown = "dim={dim}, index={index}"

    def __init__(self, dim: int, index: int, **options: Unpack[Options]) -> None:
        super().__init__(**options)
        self.dim, self.index = integer("Select: dim", dim), integer("Select: index", index)

    def emit(self, graph: NetworkBuilder, x: Value, lengths: Value | None = None) -> Value:
        axis = axis_of(repr(self), x, self.dim)
        size = x.shape[axis]
        if size is not None and not -size <= self.index < size:
            raise ShapeError(f"{self!r}: axis {axis} of the input has {size} elements, so it has no index {self.index}")
        return graph.apply("gather", x, graph.integers(self.index, "index"), axis=axis)


class LastStep(Layer):
    """Return the last step of a sequence.

    x (T, N, C), or (N, T, C) with batch_first, becomes (N, C). x (T, C) becomes (C,). With lengths, the layer returns
    the last valid step of each row, and step 0 if a length is zero.
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
                raise ShapeError(f"{self!r}: lengths need a batch, but the input has shape {x.shape}")
            return Select(1 if self.batch_first and len(x.shape) == 3 else 0, -1).emit(graph, x)
        rows = x if self.batch_first else Transpose(0, 1).emit(graph, x)
        return graph.apply("last", rows, lengths)


class Transpose(Layer):
    """Return x with the axes `dim0` and `dim1` exchanged. A negative axis counts from the end."""

    shown = "{dim0}, {dim1}"

    def __init__(self, dim0: int, dim1: int, **options: Unpack[Options]) -> None:
        super().__init__(**options)
        self.dim0, self.dim1 = integer("Transpose: dim0", dim0), integer("Transpose: dim1", dim1)

    def emit(self, graph: NetworkBuilder, x: Value, lengths: Value | None = None) -> Value:
        a, b = axis_of(repr(self), x, self.dim0), axis_of(repr(self), x, self.dim1)
        perm = list(range(len(x.shape)))
        perm[a], perm[b] = perm[b], perm[a]
        return graph.apply("transpose", x, perm=perm)

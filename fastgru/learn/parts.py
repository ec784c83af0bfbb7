"""The parts of a network that learns natively. Each runs forward and back over the rows of all steps, (T N, padded C).

In the forward pass, a part keeps the arrays that its backward pass needs. They are made for the first batch of a shape
and used again.
"""

from typing import Protocol

import numpy as np

from fastgru.arrays import Array
from fastgru.graph import Node
from fastgru.learn.rows import Native
from fastgru.reference.evaluate import evaluate
from fastgru.reference.gradients import pull_back

__all__ = ["Defined", "Embedding", "Kept", "Linear", "Part", "Weights"]


class Weights:
    """Weights and gradients by name, as views into one array each. Every view takes a whole number of vectors."""

    def __init__(self, native: Native, arrays: dict[str, Array]) -> None:
        self.places: dict[str, tuple[int, int]] = {}
        total = 0
        for name, a in arrays.items():
            self.places[name] = total, total + native.padded(a.size)
            total += native.padded(a.size)
        self.flat, self.flat_gradient = native.zeros(total), native.zeros(total)
        self.arrays = {name: self._view(self.flat, name, a.shape) for name, a in arrays.items()}
        self.gradients = {name: self._view(self.flat_gradient, name, a.shape) for name, a in arrays.items()}
        for name, a in arrays.items():
            self.arrays[name][...] = a

    def _view(self, flat: Array, name: str, shape: tuple[int, ...]) -> Array:
        first, _ = self.places[name]
        return flat[first : first + int(np.prod(shape))].reshape(shape)


class Part(Protocol):
    """A part of a chain. Rows are (T N, padded C); the first part may take ids (T N,).

    forward(x) returns the output rows. back(up) takes dE by the output rows, adds to the gradients of the weights, and
    returns dE by the input rows, which only a `deeper` pass needs.
    """

    size: int  # C of the output

    def forward(self, x: Array, T: int, N: int) -> Array: ...

    def back(self, up: Array, *, deeper: bool) -> Array | None: ...


class Kept:
    """Arrays by name, made again only if the shape changes."""

    def __init__(self, native: Native) -> None:
        self._native = native
        self._made: dict[str, Array] = {}

    def __call__(self, name: str, *shape: int) -> Array:
        found = self._made.get(name)
        if found is None or found.shape != shape:
            found = self._made[name] = self._native.zeros(*shape)
        return found


class Embedding:
    """The look-up of ids. A GRU after it may compute x W^T once for each id instead: see `learn.direction`."""

    def __init__(self, native: Native, weights: Weights, node: Node) -> None:
        self.native, self.kept = native, Kept(native)
        self.weight, self.gradient = weights.arrays[node.inputs[1]], weights.gradients[node.inputs[1]]
        self.size = self.weight.shape[1]
        self.ids = np.zeros(0, np.int64)

    def forward(self, x: Array, T: int, N: int) -> Array:
        self.ids = x
        y = self.kept("y", T * N, self.native.padded(self.size))
        y[:, : self.size] = self.weight[x]
        return y

    def back(self, up: Array, *, deeper: bool) -> None:
        sums = self.kept("sums", self.weight.shape[0], up.shape[1])
        self.native.column_sums(up, sums, self.ids)
        self.gradient += sums[:, : self.size]


class Linear:
    """y = x W^T + b."""

    def __init__(self, native: Native, weights: Weights, node: Node, padding: float = 0) -> None:
        self.native, self.kept, self.padding = native, Kept(native), padding
        self.names = [name for name in node.inputs[1:] if name]
        self.arrays = [weights.arrays[name] for name in self.names]
        self.gradients = [weights.gradients[name] for name in self.names]
        self.size, self.inputs = self.arrays[0].shape
        self.x = np.zeros(0)

    def forward(self, x: Array, T: int, N: int) -> Array:
        O, I, wide = self.size, self.inputs, self.native.padded(self.size)
        transposed, start = self.kept("transposed", I, wide), self.kept("start", wide)
        transposed[:, :O] = self.arrays[0].T
        start[:O] = self.arrays[1] if len(self.arrays) > 1 else 0
        start[O:] = self.padding
        self.x, y = x, self.kept("y", T * N, wide)
        self.native.gemm(x[:, :I], transposed, y, start)
        return y

    def back(self, up: Array, *, deeper: bool) -> Array | None:
        O, I, native = self.size, self.inputs, self.native
        wide = native.padded(I)
        made = self.kept("gradient", O, wide)
        native.gemm(up[:, :O].T, self.x, made)
        self.gradients[0] += made[:, :I]
        if len(self.gradients) > 1:
            sums = self.kept("sums", up.shape[1])
            native.column_sums(up, sums)
            self.gradients[1] += sums[:O]
        if not deeper:
            return None
        plain, dx = self.kept("weight", O, wide), self.kept("dx", len(up), wide)
        plain[:, :I] = self.arrays[0]
        native.gemm(up[:, :O], plain, dx)
        return dx


class Defined:
    """A node that works on each step by itself, computed by its definition."""

    def __init__(self, native: Native, weights: Weights, node: Node, size: int) -> None:
        self.native, self.kept, self.node, self.size = native, Kept(native), node, size
        self.constants = [weights.arrays.get(name) for name in node.inputs[1:]]
        self.gradients = [weights.gradients.get(name) for name in node.inputs[1:]]
        self.x: Array = np.zeros(0)
        self.y: Array = self.x

    def forward(self, x: Array, T: int, N: int) -> Array:
        self.x = x[:, : self.size].reshape(T, N, self.size)
        (self.y,) = evaluate(self.node, [self.x, *self.constants])
        y = self.kept("y", T * N, self.native.padded(self.size))
        y[:, : self.size] = self.y.reshape(T * N, self.size)
        return y

    def back(self, up: Array, *, deeper: bool) -> Array | None:
        dy = up[:, : self.size].reshape(self.y.shape)
        dx, *found = pull_back(self.node, [self.x, *self.constants], [self.y], [dy])
        for gradient, a in zip(self.gradients, found, strict=False):
            if gradient is not None and a is not None:
                gradient += a
        out = self.kept("dx", *up.shape)
        out[:, : self.size] = 0 if dx is None else dx.reshape(-1, self.size)
        return out

"""Optimizers, which change weights by their gradients: SGD, Adam and AdamW, as defined by torch.optim."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import numpy as np

from fastgru.arrays import Array
from fastgru.errors import ShapeError
from fastgru.kernels.operands.learn import ADAM
from fastgru.learn.parts import Weights
from fastgru.learn.rows import Native, words_of
from fastgru.records import dataclass

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "Updates"]


class Updates(Protocol):
    """An optimizer at work on certain weights: `step` changes them, and `state` is all that it keeps between steps."""

    @property
    def state(self) -> Mapping[str, Array]: ...

    def step(self, count: int, lr: float, weight_decay: float, scale: float) -> None:
        """Take one step with the present gradients times `scale`. count: the number of the step, from 1."""


class Optimizer(Protocol):
    """`SGD`, `Adam` or `AdamW` with its own settings. The learning rate and the weight decay are options of `fit`."""

    def begin(self, native: Native, weights: Weights, names: Sequence[str]) -> Updates:
        """Return updates for the weights with these names. All others keep their values."""


def _ranges(weights: Weights, names: Sequence[str]) -> list[tuple[int, int]]:
    """Return the ranges of these names in the array of all weights. Adjacent ranges are joined."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(weights.places[name] for name in names):
        if found and found[-1][1] == first:
            found[-1] = found[-1][0], last
        else:
            found.append((first, last))
    return found


def _within(name: str, value: Any, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value < high:
        raise ShapeError(f"{name} is {value!r}, expected a number from {low:g} to less than {high:g}")
    return float(value)


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent: v = momentum * v + g + weight_decay * w, then w -= lr * v.

    These are the formulas of torch.optim.SGD. lr and weight_decay are arguments of `fit`.

    momentum: from 0 to less than 1. Any other value raises `ShapeError`.
    """

    momentum: float = 0.0

    def __post_init__(self) -> None:
        _within("SGD: momentum", self.momentum, 0, 1)

    def begin(self, native: Native, weights: Weights, names: Sequence[str]) -> "_Descent":
        return _Descent(self, native, weights, names)


class _Descent:
    def __init__(self, rule: SGD, native: Native, weights: Weights, names: Sequence[str]) -> None:
        self.rule, self.weights, self.ranges = rule, weights, _ranges(weights, names)
        size = len(weights.flat)
        self.state: dict[str, Array] = {"velocity": native.zeros(size)} if rule.momentum else {}
        self._room = native.zeros(size)

    def step(self, count: int, lr: float, weight_decay: float, scale: float) -> None:
        kind = self.weights.flat.dtype.type
        for first, last in self.ranges:
            w, d = self.weights.flat[first:last], self._room[first:last]
            np.multiply(w, kind(weight_decay), out=d)
            g = self.weights.flat_gradient[first:last]
            g *= kind(scale)
            d += g
            if self.state:
                v = self.state["velocity"][first:last]
                v *= kind(self.rule.momentum)
                v += d
                d[...] = v
            d *= kind(lr)
            w -= d


@dataclass(frozen=True)
class Adam:
    """Adam, after Kingma and Ba 2015, "Adam: A Method for Stochastic Optimization", with the formulas of torch.optim.

    weight_decay * w is added to the gradient. lr and weight_decay are arguments of `fit`.

    betas: the decay rates of the averages of the gradient and of its square, each from 0 to less than 1.
    eps: is added to the square root of the second average; at least 0.

    Raises `ShapeError` for other values.
    """

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8

    def __post_init__(self) -> None:
        if not isinstance(self.betas, tuple | list) or len(self.betas) != 2:
            raise ShapeError(f"{type(self).__name__}: betas are {self.betas!r}, expected a tuple of two numbers")
        for beta in self.betas:
            _within(f"{type(self).__name__}: a beta", beta, 0, 1)
        _within(f"{type(self).__name__}: eps", self.eps, 0, float("inf"))

    def begin(self, native: Native, weights: Weights, names: Sequence[str]) -> "_Moments":
        return _Moments(self, native, weights, names)


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay, after Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization".

    Each step multiplies the weights by 1 - lr * weight_decay, and does not add the decay to the gradient. The settings
    are those of `Adam`.
    """


_NUMBERS: Final = 10


class _Moments:
    def __init__(self, rule: Adam, native: Native, weights: Weights, names: Sequence[str]) -> None:
        self.rule, self.native, self.weights = rule, native, weights
        size = len(weights.flat)
        self.state = {"mean": native.zeros(size), "square": native.zeros(size)}
        self._numbers = native.zeros(_NUMBERS)
        self._calls = []
        for first, last in _ranges(weights, names):
            arrays = {"weights": weights.flat, "gradient": weights.flat_gradient, **self.state}
            given = {name: array[first:last] for name, array in arrays.items()}
            self._calls.append((words_of(ADAM, numbers=self._numbers, **given), (last - first) // native.lanes))

    def step(self, count: int, lr: float, weight_decay: float, scale: float) -> None:
        first, second = self.rule.betas
        apart = isinstance(self.rule, AdamW)
        self._numbers[...] = (
            first, second, 1 - first, 1 - second, lr / (1 - first**count), 1 / (1 - second**count), self.rule.eps,
            1 - lr * weight_decay if apart else 1, scale, 0 if apart else weight_decay,
        )  # fmt: skip
        for words, vectors in self._calls:
            self.native.call("adam", words, vectors, vectors >> 12)

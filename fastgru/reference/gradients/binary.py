"""Gradients of operators that make one element from two, summed over the axes that were broadcast."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np

from fastgru.graph import Array
from fastgru.reference.gradients.registry import Gradients, gradient, summed_to

__all__ = ["binary", "prelu"]

# kind -> dy/da and dy/db. If a and b are equal, each gets half of the gradient of their maximum or minimum.
_SLOPES: Final[Mapping[str, Callable[[Array, Array, Array], tuple[Array | float, Array | float]]]] = {
    "add": lambda a, b, y: (1.0, 1.0),
    "div": lambda a, b, y: (1 / b, -y / b),
    "fmod": lambda a, b, y: (1.0, -np.trunc(a / b)),
    "max": lambda a, b, y: ((a > b) + 0.5 * (a == b), (b > a) + 0.5 * (a == b)),
    "min": lambda a, b, y: ((a < b) + 0.5 * (a == b), (b < a) + 0.5 * (a == b)),
    "mod": lambda a, b, y: (1.0, -np.floor(a / b)),
    "mul": lambda a, b, y: (b, a),
    "pow": lambda a, b, y: (np.where(b == 0, 0, b * np.power(a, b - 1)), _by_exponent(a, y)),
    "sub": lambda a, b, y: (1.0, -1.0),
}


def _by_exponent(a: Array, y: Array) -> Array:
    """Return y log(a), 0 where a is 0."""
    return np.where(a == 0, 0, y * np.log(np.where(a == 0, 1, a)))


@gradient("binary")
def binary(ups: Sequence[Array], inputs: Sequence[Array], outputs: Sequence[Array], *, kind: str) -> Gradients:
    """da = dy * dy/da and db = dy * dy/db; none for operators on bits."""
    if kind not in _SLOPES:
        return [None, None]
    (dy,), (a, b) = ups, inputs
    return [summed_to(dy * slope, x.shape) for x, slope in zip((a, b), _SLOPES[kind](a, b, outputs[0]), strict=True)]


@gradient("prelu")
def prelu(ups: Sequence[Array], inputs: Sequence[Array], outputs: Sequence[Array]) -> Gradients:
    """dx = dy, or slope * dy where x <= 0. The gradient by the slope is x * dy there."""
    (dy,), (x, slope) = ups, inputs
    return [np.where(x > 0, dy, slope * dy), summed_to(np.where(x > 0, 0, x * dy), slope.shape)]

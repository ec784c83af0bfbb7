"""Gradients of operators that make one element from one. At a kink, the slope is that of the side that torch takes."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from fastgru.graph import Array
from fastgru.reference.gradients.registry import Gradients, gradient
from fastgru.reference.gru import activate
from fastgru.spec import SIGMOID, Activation

__all__ = ["activation", "cast", "clip", "slope", "unary"]


def slope(activation: Activation, x: Array) -> Array:
    """f'(x) for the eleven activations of `fastgru.reference.gru.activate`."""
    a, b = activation.alpha, activation.beta
    match activation.kind:
        case "affine":
            return np.full_like(x, a)
        case "elu":
            return np.where(x > 0, 1, a * np.exp(np.minimum(x, 0)))
        case "hard_sigmoid":
            return np.where((a * x + b > 0) & (a * x + b < 1), a, 0.0)
        case "leaky_relu":
            return np.where(x > 0, 1, a)
        case "relu":
            return np.where(x > 0, 1.0, 0.0)
        case "scaled_tanh":
            return np.asarray(a * b * (1 - np.tanh(b * x) ** 2))
        case "sigmoid":
            s = activate(SIGMOID, x)
            return np.asarray(s * (1 - s))
        case "softplus":
            return activate(SIGMOID, x)
        case "softsign":
            return np.asarray(1 / (1 + np.abs(x)) ** 2)
        case "tanh":
            return np.asarray(1 - np.tanh(x) ** 2)
        case "thresholded_relu":
            return np.where(x > a, 1.0, 0.0)
    raise AssertionError(activation.kind)


@gradient("activation")
def activation(
    ups: Sequence[Array],
    inputs: Sequence[Array],
    outputs: Sequence[Array],
    *,
    kind: str,
    alpha: float = math.nan,
    beta: float = math.nan,
) -> Gradients:
    """dx = dy * f'(x)."""
    return [ups[0] * slope(Activation(kind, alpha, beta), inputs[0])]


def _gelu(x: Array, y: Array) -> Array:
    """Return Phi(x) + x phi(x)."""
    density = np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    return np.where(x == 0, 0.5, y / np.where(x == 0, 1, x)) + x * density


def _gelu_tanh(x: Array, y: Array) -> Array:
    c = math.sqrt(2 / math.pi)
    t = np.tanh(c * (x + 0.044715 * x**3))
    return np.asarray(0.5 * (1 + t) + 0.5 * x * (1 - t * t) * c * (1 + 3 * 0.044715 * x * x))


def _silu(x: Array, y: Array) -> Array:
    s = activate(SIGMOID, x)
    return np.asarray(s + y * (1 - s))


# kind -> the slope at x, where the output is y. Rounding and signs have the slope 0.
_SLOPES: Final[Mapping[str, Callable[[Array, Array], Array]]] = {
    "abs": lambda x, y: np.sign(x),
    "acos": lambda x, y: -1 / np.sqrt(1 - x * x),
    "acosh": lambda x, y: 1 / np.sqrt(x * x - 1),
    "asin": lambda x, y: 1 / np.sqrt(1 - x * x),
    "asinh": lambda x, y: 1 / np.sqrt(x * x + 1),
    "atan": lambda x, y: 1 / (1 + x * x),
    "atanh": lambda x, y: 1 / (1 - x * x),
    "ceil": lambda x, y: np.zeros_like(x),
    "cos": lambda x, y: -np.sin(x),
    "cosh": lambda x, y: np.sinh(x),
    "erf": lambda x, y: 2 / math.sqrt(math.pi) * np.exp(-x * x),
    "exp": lambda x, y: y,
    "expm1": lambda x, y: y + 1,
    "floor": lambda x, y: np.zeros_like(x),
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "hard_swish": lambda x, y: np.where(x <= -3, 0, np.where(x >= 3, 1, x / 3 + 0.5)),
    "log": lambda x, y: 1 / x,
    "log1p": lambda x, y: 1 / (1 + x),
    "neg": lambda x, y: -np.ones_like(x),
    "reciprocal": lambda x, y: -y * y,
    "round": lambda x, y: np.zeros_like(x),
    "sign": lambda x, y: np.zeros_like(x),
    "silu": _silu,
    "sin": lambda x, y: np.cos(x),
    "sinh": lambda x, y: np.cosh(x),
    "sqrt": lambda x, y: 0.5 / y,
    "tan": lambda x, y: 1 + y * y,
}


@gradient("unary")
def unary(
    ups: Sequence[Array],
    inputs: Sequence[Array],
    outputs: Sequence[Array],
    *,
    kind: str,
    alpha: float | None = None,
    gamma: float | None = None,
) -> Gradients:
    """dx = dy * f'(x); none for kinds whose output is bool or integer."""
    (dy,), (x,), (y,) = ups, inputs, outputs
    if alpha is not None and gamma is not None:
        return [dy * np.where(x > 0, gamma, gamma * alpha * np.exp(np.minimum(x, 0)))]
    return [dy * _SLOPES[kind](x, y)] if kind in _SLOPES else [None]


@gradient("clip")
def clip(ups: Sequence[Array], inputs: Sequence[Any], outputs: Sequence[Array]) -> Gradients:
    """dx = dy where x is within the bounds. A bound gets the sum of dy over the elements that it replaced."""
    (dy,), (x, *bounds) = ups, inputs
    low, high = [*bounds, None, None][:2]
    above = np.zeros(x.shape, bool) if high is None else (x if low is None else np.maximum(x, low)) > high
    below = np.zeros(x.shape, bool) if low is None else (x < low) & ~above
    taken: list[Array | None] = [np.where(above | below, 0, dy)]
    for bound, where in ((low, below), (high, above)):
        taken.append(None if bound is None else np.sum(dy, where=where).reshape(bound.shape))
    return taken


@gradient("cast")
def cast(ups: Sequence[Array], inputs: Sequence[Array], outputs: Sequence[Array], *, to: str) -> Gradients:
    """dx = dy, none if the output is no float."""
    return [ups[0] if outputs[0].dtype.kind == "f" else None]

"""Operators that make one element from one.

Formulas and corner cases are those of the ONNX operators of the same names: `round` rounds halves to even, NaN passes
through clip.
"""

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

import numpy as np

from fastgru.errors import InvalidModelError, ShapeError, SpecError
from fastgru.reference.attributes import DType, Finite, OneOf
from fastgru.reference.dims import FIRST, Facts, Operand, apart, same
from fastgru.reference.gru import activate
from fastgru.reference.operator import Array, need_bool, need_floating, numpy_dtype, operator
from fastgru.reference.sizes import Size, multiply
from fastgru.spec import ACTIVATIONS, Activation

__all__ = ["activation", "cast", "check_activation", "check_unary", "clip", "unary"]


def _erf(x: Array) -> Array:
    return np.asarray(np.vectorize(math.erf, otypes=[np.float64])(x.astype(np.float64))).astype(x.dtype)


def _selu(x: Array, alpha: float, gamma: float) -> Array:
    return np.where(x > 0, gamma * x, gamma * alpha * np.expm1(np.minimum(x, 0)))


_FLOATING: Final[Mapping[str, Callable[[Array], Array]]] = {
    "acos": np.arccos,
    "acosh": np.arccosh,
    "asin": np.arcsin,
    "asinh": np.arcsinh,
    "atan": np.arctan,
    "atanh": np.arctanh,
    "ceil": np.ceil,
    "cos": np.cos,
    "cosh": np.cosh,
    "erf": _erf,
    "exp": np.exp,
    "expm1": np.expm1,
    "floor": np.floor,
    "gelu": lambda x: 0.5 * x * (1 + _erf(x * math.sqrt(0.5))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x))),
    "hard_swish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "isinf": np.isinf,
    "isnan": np.isnan,
    "log": np.log,
    "log1p": np.log1p,
    "reciprocal": lambda x: 1 / x,
    "round": np.rint,
    "silu": lambda x: x * activate(Activation("sigmoid"), x),
    "sin": np.sin,
    "sinh": np.sinh,
    "sqrt": np.sqrt,
    "tan": np.tan,
}
_NUMERIC: Final[Mapping[str, Callable[[Array], Array]]] = {"abs": np.abs, "neg": np.negative, "sign": np.sign}
_UNARY: Final[Mapping[str, Callable[..., Array]]] = {
    **_FLOATING, **_NUMERIC, "bitwise_not": np.invert, "not": np.logical_not, "selu": _selu,
}  # fmt: skip


def check_activation(*, kind: str, alpha: float = math.nan, beta: float = math.nan) -> None:
    """Raise `InvalidModelError` unless `Activation` takes these values."""
    try:
        Activation(kind, alpha, beta)
    except SpecError as error:
        raise InvalidModelError(str(error)) from None


def check_unary(*, kind: str, alpha: float | None = None, gamma: float | None = None) -> None:
    """Raise `InvalidModelError` unless selu has alpha and gamma, and others have neither."""
    if (kind == "selu") != (alpha is not None and gamma is not None) or (alpha is None) != (gamma is None):
        raise InvalidModelError(
            f"{kind}: alpha and gamma came as {alpha} and {gamma}; selu needs both, and other kinds take neither"
        )


@operator("activation", Facts(same, flops=4, mixes=apart), agree=check_activation)
def activation(
    x: Array, *, kind: Annotated[str, OneOf(ACTIVATIONS)], alpha: float = math.nan, beta: float = math.nan
) -> Array:
    """f(x) for the eleven kinds of `spec.ACTIVATIONS`."""
    need_floating(kind, x)
    return activate(Activation(kind, alpha, beta), x)


def _negated(x: Operand, *, kind: str, **_: Any) -> list[Size]:
    if kind == "not":
        return [1 - n if isinstance(n, int) else None for n in x.elements]
    return [multiply(-1, n) if kind == "neg" else None for n in x.elements]


@operator(
    "unary",
    Facts(
        same,
        dtype=lambda kind, **_: "bool" if kind in ("isinf", "isnan") else 0,
        elements=_negated,
        flops=1,
        mixes=apart,
    ),
    agree=check_unary,
)
def unary(
    x: Array, *, kind: Annotated[str, OneOf(_UNARY)], alpha: Finite | None = None, gamma: Finite | None = None
) -> Array:
    """f(x). Only selu takes alpha and gamma: gamma * (x if x > 0 else alpha * (exp(x) - 1))."""
    if alpha is not None and gamma is not None:
        need_floating(kind, x)
        return _selu(x, alpha, gamma)
    if kind == "not":
        need_bool(kind, x)
        return np.logical_not(x)
    if kind == "bitwise_not":
        if x.dtype.kind not in "iu":
            raise ShapeError(f"{kind}: x has dtype {x.dtype}, expected an integer")
        return np.invert(x)
    if kind in _NUMERIC:
        return np.asarray(_NUMERIC[kind](x))
    need_floating(kind, x)
    return np.asarray(_FLOATING[kind](x))


@operator("clip", Facts(same, flops=2, mixes=apart))
def clip(x: Array, low: Array | None = None, high: Array | None = None) -> Array:
    """min(max(x, low), high). If low > high, the result is high."""
    for name, bound in (("low", low), ("high", high)):
        if bound is not None and bound.size != 1:
            raise ShapeError(f"clip: {name} has shape {bound.shape}, expected a scalar")
    y = x if low is None else np.maximum(x, low.reshape(()).astype(x.dtype))
    return np.asarray(y if high is None else np.minimum(y, high.reshape(()).astype(x.dtype)))


def _converted(x: Operand, *, to: str) -> list[Size]:
    return [int(n != 0) if isinstance(n, int) else None for n in x.elements] if to == "bool" else x.elements


@operator("cast", Facts(same, dtype=lambda to: to, elements=_converted, moves=FIRST, mixes=apart), converts=True)
def cast(x: Array, *, to: DType) -> Array:
    """x in the dtype `to`. Floats are rounded towards zero for integers; anything but zero becomes True for bool."""
    return x.astype(numpy_dtype(to))

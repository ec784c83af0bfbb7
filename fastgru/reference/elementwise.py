"""One element in, one element out, with NumPy's broadcasting between inputs.

Formulas and corner cases are those of the ONNX operators of the same names: integer division truncates towards
zero, `mod` takes the sign of the divisor and `fmod` that of the dividend, `round` goes to the even neighbour, NaN
passes through minimum, maximum and clip.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

import numpy as np
from numpy.typing import NDArray

from fastgru.errors import InvalidModelError, ShapeError, SpecError
from fastgru.reference.attributes import DType, Finite, OneOf
from fastgru.reference.dims import FIRST, Facts, Operand, broadcast, pairwise, same
from fastgru.reference.gru import activate
from fastgru.reference.operator import choose, is_floating, need_floating, numpy_dtype, operator, same_dtype
from fastgru.reference.sizes import Size, add, compare_sizes, extreme, multiply, quotient, remainder, subtract
from fastgru.spec import ACTIVATIONS, Activation

__all__ = [
    "BITWISE", "activation", "binary", "cast", "check_activation", "check_unary", "clip", "compare", "logical", "prelu",
    "unary", "where",
]  # fmt: skip

Array = NDArray[Any]


def _erf(x: Array) -> Array:
    return np.asarray(np.vectorize(math.erf, otypes=[np.float64])(x.astype(np.float64))).astype(x.dtype)


def _gelu(x: Array) -> Array:
    return np.asarray(0.5 * x * (1 + _erf(x * math.sqrt(0.5))))


def _gelu_tanh(x: Array) -> Array:
    return np.asarray(0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x))))


def _silu(x: Array) -> Array:
    return x * activate(Activation("sigmoid"), x)


def _hard_swish(x: Array) -> Array:
    return x * np.clip(x / 6 + 0.5, 0, 1)


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
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "hard_swish": _hard_swish,
    "isinf": np.isinf,
    "isnan": np.isnan,
    "log": np.log,
    "log1p": np.log1p,
    "reciprocal": lambda x: 1 / x,
    "round": np.rint,
    "silu": _silu,
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
    """Raise `InvalidModelError` unless there is such an `Activation`."""
    try:
        Activation(kind, alpha, beta)
    except SpecError as error:
        raise InvalidModelError(str(error)) from None


def check_unary(*, kind: str, alpha: float | None = None, gamma: float | None = None) -> None:
    """Raise `InvalidModelError` unless selu has alpha and gamma, and others have neither."""
    if (kind == "selu") != (alpha is not None and gamma is not None) or (alpha is None) != (gamma is None):
        raise InvalidModelError(f"{kind}: alpha and gamma came as {alpha} and {gamma}; selu takes both, others neither")


@operator("activation", Facts(same, flops=4), agree=check_activation)
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
    Facts(same, dtype=lambda kind, **_: "bool" if kind in ("isinf", "isnan") else 0, elements=_negated, flops=1),
    agree=check_unary,
)
def unary(
    x: Array, *, kind: Annotated[str, OneOf(_UNARY)], alpha: Finite | None = None, gamma: Finite | None = None
) -> Array:
    """f(x). alpha and gamma belong to selu alone: gamma * (x if x > 0 else alpha * (exp(x) - 1))."""
    check_unary(kind=kind, alpha=alpha, gamma=gamma)
    if alpha is not None and gamma is not None:
        need_floating(kind, x)
        return _selu(x, alpha, gamma)
    if kind == "not":
        _need_bool(kind, x)
        return np.logical_not(x)
    if kind == "bitwise_not":
        if x.dtype.kind not in "iu":
            raise ShapeError(f"{kind}: x has dtype {x.dtype}, expected an integer")
        return np.invert(x)
    if kind in _NUMERIC:
        return np.asarray(_NUMERIC[kind](x))
    function = choose(_UNARY, kind)
    need_floating(kind, x)
    return np.asarray(function(x))


@operator("prelu", Facts(broadcast, weights={1: None}, flops=2))
def prelu(x: Array, slope: Array) -> Array:
    """x if x >= 0 else slope * x; slope broadcasts to x."""
    same_dtype(x=x, slope=slope)
    if np.broadcast_shapes(x.shape, slope.shape) != x.shape:
        raise ShapeError(f"prelu: slope has shape {slope.shape}, expected one that broadcasts to {x.shape}")
    return np.where(x < 0, slope * x, x)


def _divide(a: Array, b: Array) -> Array:
    if is_floating(a.dtype):
        return a / b
    _refuse_zero(b)
    quotient = a // b  # rounded down; the least integer has no magnitude to divide by
    return np.asarray(quotient + ((quotient * b != a) & ((a < 0) != (b < 0))))


def _mod(a: Array, b: Array) -> Array:
    _refuse_zero(b)
    return np.asarray(np.mod(a, b))


def _fmod(a: Array, b: Array) -> Array:
    _refuse_zero(b)
    return np.asarray(np.fmod(a, b))


def _shift(a: Array, b: Array, *, left: bool) -> Array:
    """Zero where the bits move out altogether, which a machine's shift does not say."""
    width = 8 * a.dtype.itemsize
    far = (b < 0) | (b >= width)
    moved = (np.left_shift if left else np.right_shift)(a, np.where(far, 0, b).astype(a.dtype))
    return np.where(far, np.where(a < 0, -1, 0).astype(a.dtype) if not left else np.zeros_like(a), moved)


BITWISE: Final = ("bit_and", "bit_or", "bit_xor", "shift_left", "shift_right")
_BINARY: Final[Mapping[str, Callable[[Array, Array], Array]]] = {
    "add": np.add,
    "bit_and": np.bitwise_and,
    "bit_or": np.bitwise_or,
    "bit_xor": np.bitwise_xor,
    "div": _divide,
    "fmod": _fmod,
    "max": np.maximum,
    "min": np.minimum,
    "mod": _mod,
    "mul": np.multiply,
    "pow": np.power,
    "shift_left": lambda a, b: _shift(a, b, left=True),
    "shift_right": lambda a, b: _shift(a, b, left=False),
    "sub": np.subtract,
}


_ARITHMETIC: Final[Mapping[str, Callable[[Size, Size], Size]]] = {
    "add": add,
    "div": quotient,
    "max": lambda a, b: extreme(a, b, greater=True),
    "min": lambda a, b: extreme(a, b, greater=False),
    "mod": remainder,
    "mul": lambda a, b: multiply(a, b),
    "sub": subtract,
}


@operator("binary", Facts(broadcast, elements=lambda a, b, kind: pairwise(_ARITHMETIC[kind], a, b), flops=1))
def binary(a: Array, b: Array, *, kind: Annotated[str, OneOf(_BINARY)]) -> Array:
    """a and b of one dtype; pow alone lets them differ, and then answers in the dtype of a."""
    function = choose(_BINARY, kind)
    if kind == "pow":
        exponent = b.astype(a.dtype) if is_floating(a.dtype) else b
        return np.asarray(np.power(a, exponent)).astype(a.dtype)
    same_dtype(a=a, b=b)
    if a.dtype == np.bool_:
        raise ShapeError(f"{kind}: got bool, expected numbers; logical is for bool")
    if kind in BITWISE and a.dtype.kind not in "iu":
        raise ShapeError(f"{kind}: got {a.dtype}, expected integers")
    return np.asarray(function(a, b))


_COMPARE: Final[Mapping[str, Callable[[Array, Array], Array]]] = {
    "equal": np.equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "not_equal": np.not_equal,
}
_LOGICAL: Final[Mapping[str, Callable[[Array, Array], Array]]] = {
    "and": np.logical_and,
    "or": np.logical_or,
    "xor": np.logical_xor,
}


@operator(
    "compare",
    Facts(
        broadcast,
        dtype="bool",
        elements=lambda a, b, kind: pairwise(lambda m, n: compare_sizes(kind, m, n), a, b),
        flops=1,
    ),
)
def compare(a: Array, b: Array, *, kind: Annotated[str, OneOf(_COMPARE)]) -> Array:
    """a < b and the like, element by element; bool."""
    same_dtype(a=a, b=b)
    return np.asarray(choose(_COMPARE, kind)(a, b))


def _decided(kind: str, a: Size, b: Size) -> Size:
    if kind != "xor" and (a == b or (kind == "or") in (a, b)):
        return a if a == b else int(kind == "or")
    return None if a is None or b is None else int(a != b)


@operator(
    "logical",
    Facts(
        broadcast,
        dtype="bool",
        elements=lambda a, b, kind: pairwise(lambda m, n: _decided(kind, m, n), a, b),
        flops=1,
    ),
)
def logical(a: Array, b: Array, *, kind: Annotated[str, OneOf(_LOGICAL)]) -> Array:
    """and, or, xor of two bool arrays, element by element."""
    _need_bool(kind, a)
    _need_bool(kind, b)
    return np.asarray(choose(_LOGICAL, kind)(a, b))


def _selected(condition: Size, a: Size, b: Size) -> Size:
    return (a if a == b else None) if condition is None else a if condition else b


@operator(
    "where",
    Facts(
        broadcast,
        dtype=1,
        elements=lambda *operands: pairwise(_selected, *operands),
        flops=1,
        moves=slice(1, 3),
    ),
)
def where(condition: Array, a: Array, b: Array) -> Array:
    """a where condition, else b; a selection, so NaN in the branch not taken stays there."""
    _need_bool("where", condition)
    same_dtype(a=a, b=b)
    return np.where(condition, a, b)


@operator("clip", Facts(same, flops=2))
def clip(x: Array, low: Array | None = None, high: Array | None = None) -> Array:
    """min(max(x, low), high): where low > high, high wins."""
    for name, bound in (("low", low), ("high", high)):
        if bound is not None and bound.size != 1:
            raise ShapeError(f"clip: {name} has shape {bound.shape}, expected a scalar")
    y = x if low is None else np.maximum(x, low.reshape(()).astype(x.dtype))
    return np.asarray(y if high is None else np.minimum(y, high.reshape(()).astype(x.dtype)))


def _converted(x: Operand, *, to: str) -> list[Size]:
    return [int(n != 0) if isinstance(n, int) else None for n in x.elements] if to == "bool" else x.elements


@operator("cast", Facts(same, dtype=lambda to: to, elements=_converted, moves=FIRST), converts=True)
def cast(x: Array, *, to: DType) -> Array:
    """x in the dtype `to`: floats to integers towards zero, anything that is not zero to True."""
    return x.astype(numpy_dtype(to))


def _need_bool(kind: str, x: Array) -> None:
    if x.dtype != np.bool_:
        raise ShapeError(f"{kind}: got dtype {x.dtype}, expected bool")


def _refuse_zero(b: Array) -> None:
    if not is_floating(b.dtype) and not np.all(b):
        raise ShapeError("integer division by zero")

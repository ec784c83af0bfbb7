"""Operators that make one element from two, with NumPy's broadcasting between the inputs.

Formulas and corner cases are those of the ONNX operators of the same names: integer division truncates towards
zero, `mod` takes the sign of the divisor and `fmod` that of the dividend, NaN passes through minimum and maximum.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Final

import numpy as np

from fastgru.errors import ShapeError
from fastgru.reference.attributes import OneOf
from fastgru.reference.dims import Facts, apart, broadcast, pairwise
from fastgru.reference.operator import Array, is_floating, need_bool, operator, same_dtype
from fastgru.reference.sizes import Size, add, compare_sizes, extreme, multiply, quotient, remainder, subtract

__all__ = ["BITWISE", "binary", "compare", "logical", "prelu", "where"]


@operator("prelu", Facts(broadcast, weights={1: None}, flops=2, mixes=apart))
def prelu(x: Array, slope: Array) -> Array:
    """x if x >= 0 else slope * x; slope broadcasts to x."""
    same_dtype(x=x, slope=slope)
    if np.broadcast_shapes(x.shape, slope.shape) != x.shape:
        raise ShapeError(f"prelu: slope has shape {slope.shape}, expected one that broadcasts to {x.shape}")
    return np.where(x < 0, slope * x, x)


def _divide(a: Array, b: Array) -> Array:
    if is_floating(a.dtype):
        return a / b
    quotient = a // b  # rounded down; abs() of the least integer would overflow
    return np.asarray(quotient + ((quotient * b != a) & ((a < 0) != (b < 0))))


def _shift(a: Array, b: Array, *, left: bool) -> Array:
    """Shift the bits of a. Counts that move all bits out, which a machine leaves undefined, give 0, or -1 if a < 0."""
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
    "fmod": np.fmod,
    "max": np.maximum,
    "min": np.minimum,
    "mod": np.mod,
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


@operator(
    "binary", Facts(broadcast, elements=lambda a, b, kind: pairwise(_ARITHMETIC[kind], a, b), flops=1, mixes=apart)
)
def binary(a: Array, b: Array, *, kind: Annotated[str, OneOf(_BINARY)]) -> Array:
    """f(a, b), element by element. Both have one dtype, except for pow, whose result has the dtype of a."""
    if kind == "pow":
        exponent = b.astype(a.dtype) if is_floating(a.dtype) else b
        return np.asarray(np.power(a, exponent)).astype(a.dtype)
    same_dtype(a=a, b=b)
    if a.dtype == np.bool_:
        raise ShapeError(f"{kind}: got bool, expected numbers; use logical for bool")
    if kind in BITWISE and a.dtype.kind not in "iu":
        raise ShapeError(f"{kind}: got {a.dtype}, expected integers")
    if kind in ("div", "fmod", "mod") and not is_floating(b.dtype) and not np.all(b):
        raise ShapeError(f"{kind}: integer division by zero")
    return np.asarray(_BINARY[kind](a, b))


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
        mixes=apart,
    ),
)
def compare(a: Array, b: Array, *, kind: Annotated[str, OneOf(_COMPARE)]) -> Array:
    """a < b and the like, element by element; bool."""
    same_dtype(a=a, b=b)
    return np.asarray(_COMPARE[kind](a, b))


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
        mixes=apart,
    ),
)
def logical(a: Array, b: Array, *, kind: Annotated[str, OneOf(_LOGICAL)]) -> Array:
    """and, or, xor of two bool arrays, element by element."""
    need_bool(kind, a)
    need_bool(kind, b)
    return np.asarray(_LOGICAL[kind](a, b))


def _selected(condition: Size, a: Size, b: Size) -> Size:
    return (a if a == b else None) if condition is None else a if condition else b


@operator(
    "where",
    Facts(
        broadcast,
        dtype=1,
        elements=lambda *operands: pairwise(_selected, *operands),
        flops=1,
        mixes=apart,
        moves=slice(1, 3),
    ),
)
def where(condition: Array, a: Array, b: Array) -> Array:
    """a where condition, else b. NaN in an element that is not selected has no effect."""
    need_bool("where", condition)
    same_dtype(a=a, b=b)
    return np.where(condition, a, b)

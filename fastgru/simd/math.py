"""exp, expm1, sigmoid, tanh, softplus on vectors: reduction to |r| <= ln(2)/2, one polynomial for (exp(r) - 1)/r.

With a = k ln(2) + r, exp(a) - 1 = 2^k * expm1(r) + (2^k - 1). Adding the constant 1.5 * 2^m + bias, where m is the
number of bits of the mantissa, rounds a / ln(2) to a whole k and leaves k + bias in the low bits. Shifted up, these are
the float 2^k. NaN stays NaN in its lane; beyond the domain the result saturates. In a dense float64 sweep
(tests/simd/test_math.py) the error of sigmoid and tanh is at most 2e-7 in float32 and 5e-16 in float64, absolute; for
exp these bounds hold for the relative error.

Divisions use the CPU's instruction. An approximate reciprocal with a Newton step and a correction of the quotient gave
the same bits for every float32, except denominators whose mantissa is all ones, which need a special case, and two
arguments of tanh. On Zen 4, whose divisions run in parallel with the multiply-adds, it took half as long again.
"""

import math
from typing import Any

import numpy as np
from numba.core import types
from numba.core.extending import intrinsic, overload

from fastgru.simd.coefficients import ATANH_F32, ATANH_F64, EXPM1_F32, EXPM1_F64, LN2_F32, LN2_F64
from fastgru.simd.vector import (
    Vec,
    bits_to_float,
    fma,
    is_float_vec,
    llvm_vec,
    maximum,
    minimum,
    multiply_add,
    shift_left,
    splat,
    splat_value,
    vec_abs,
)

__all__ = ["exp", "expm1", "sigmoid", "softplus", "tanh"]


def _horner(coefficients: tuple[float, ...]) -> Any:
    @intrinsic
    def polynomial(typingctx, x):
        if not is_float_vec(x):
            return None

        def codegen(context, builder, sig, args):
            def constant(c: float) -> Any:
                return splat_value(builder, llvm_vec(x).element(c), x.lanes)

            value = constant(coefficients[0])
            for c in coefficients[1:]:
                value = multiply_add(builder, x, value, args[0], constant(c))
            return value

        return x(x), codegen

    return polynomial


@intrinsic
def _float_bits(typingctx, a):
    """Return the bits of a float vector as integers of the same width."""
    if not is_float_vec(a):
        return None
    out = Vec(types.int32 if a.dtype == types.float32 else types.int64, a.lanes)
    return out(a), lambda context, builder, sig, args: builder.bitcast(args[0], llvm_vec(out))


class _Constants:
    """The constants of the reductions in one dtype."""

    def __init__(
        self,
        dtype: Any,
        expm1: tuple[float, ...],
        atanh: tuple[float, ...],
        ln2: tuple[float, float],
        mantissa: int,
        bias: int,
    ) -> None:
        self.dtype = dtype
        self.polynomial, self.atanh = _horner(expm1), _horner(atanh)
        self.log2e = dtype(1 / math.log(2))
        self.ln2_high, self.ln2_low = dtype(-ln2[0]), dtype(-ln2[1])
        self.magic = dtype(1.5 * 2.0**mantissa + bias)
        self.mantissa = mantissa
        # The largest |a| for which 2^k is a normal number and the sum of the two parts cannot overflow.
        self.exp_bound = dtype((bias - 1) * math.log(2))
        # tanh(x) rounds to 1 for every x above half of this.
        self.tanh_bound = dtype(2 * math.log(2) * (mantissa + 5) / 2)


_F32 = _Constants(np.float32, EXPM1_F32, ATANH_F32, LN2_F32, 23, 127)
_F64 = _Constants(np.float64, EXPM1_F64, ATANH_F64, LN2_F64, 52, 1023)


def _constants(vec: Vec) -> _Constants:
    return _F32 if vec.dtype == types.float32 else _F64


def _reduced(a: Any) -> Any:
    """Return (2^k, expm1(r)) for a vector inside the bound."""
    raise NotImplementedError("compiled code only")


@overload(_reduced)
def _overload_reduced(a):
    c = _constants(a)
    polynomial, log2e, high, low, magic, mantissa = c.polynomial, c.log2e, c.ln2_high, c.ln2_low, c.magic, c.mantissa

    def implementation(a):
        shifted = fma(a, splat(log2e), splat(magic))
        k = shifted - splat(magic)
        r = fma(k, splat(low), fma(k, splat(high), a))
        scale = bits_to_float(shift_left(_float_bits(shifted), mantissa))
        return scale, r * polynomial(r)

    return implementation


def exp(x: Any) -> Any:
    """e^x; saturates at 2^(bias - 1) and its inverse."""
    raise NotImplementedError("compiled code only")


@overload(exp)
def _overload_exp(x):
    bound = _constants(x).exp_bound

    def implementation(x):
        scale, p = _reduced(maximum(minimum(x, splat(bound)), splat(-bound)))
        return fma(scale, p, scale)

    return implementation


def expm1(x: Any) -> Any:
    """e^x - 1, accurate near zero; saturates like `exp`."""
    raise NotImplementedError("compiled code only")


@overload(expm1)
def _overload_expm1(x):
    c = _constants(x)
    bound, one = c.exp_bound, c.dtype(1)

    def implementation(x):
        scale, p = _reduced(maximum(minimum(x, splat(bound)), splat(-bound)))
        return fma(scale, p, scale - splat(one))

    return implementation


def sigmoid(x: Any) -> Any:
    """1 / (1 + e^-x), in [0, 1]."""
    raise NotImplementedError("compiled code only")


@overload(sigmoid)
def _overload_sigmoid(x):
    c = _constants(x)
    bound, one = c.exp_bound, c.dtype(1)

    def implementation(x):
        scale, p = _reduced(maximum(minimum(-x, splat(bound)), splat(-bound)))
        return splat(one) / (splat(one) + fma(scale, p, scale))

    return implementation


def tanh(x: Any) -> Any:
    """The hyperbolic tangent, in [-1, 1], accurate to the last bits near zero too."""
    raise NotImplementedError("compiled code only")


@overload(tanh)
def _overload_tanh(x):
    c = _constants(x)
    bound, one, two = c.tanh_bound, c.dtype(1), c.dtype(2)

    def implementation(x):
        scale, p = _reduced(maximum(minimum(x + x, splat(bound)), splat(-bound)))
        em1 = fma(scale, p, scale - splat(one))
        return em1 / (em1 + splat(two))

    return implementation


def softplus(x: Any) -> Any:
    """log(1 + e^x) = max(x, 0) + log(1 + u), u = e^-|x|, with log(1 + u) = 2 atanh(u / (2 + u))."""
    raise NotImplementedError("compiled code only")


@overload(softplus)
def _overload_softplus(x):
    c = _constants(x)
    atanh, zero, two = c.atanh, c.dtype(0), c.dtype(2)

    def implementation(x):
        u = exp(-vec_abs(x))
        s = u / (u + splat(two))
        return fma(s * splat(two), atanh(s * s), maximum(x, splat(zero)))

    return implementation

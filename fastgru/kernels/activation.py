"""The activations of `fastgru.spec.ACTIVATIONS`, on vectors, chosen by a code of `kernels.operands.activation`."""

from __future__ import annotations

from fastgru.kernels.registry import kernel
from fastgru.simd.math import expm1, sigmoid, softplus, tanh
from fastgru.simd.memory import broadcast
from fastgru.simd.vector import fma, maximum, minimum, select, vec_abs

__all__ = ["activate", "limit"]


@kernel
def activate(code, parameters, x):
    """f(x); `parameters` points to alpha, beta, and 0 and 1 of the dtype of x."""
    alpha, beta = broadcast(parameters, 0), broadcast(parameters, 1)
    zero, one = broadcast(parameters, 2), broadcast(parameters, 3)
    if code == 6:
        return sigmoid(x)
    if code == 9:
        return tanh(x)
    if code == 4:
        return maximum(x, zero)
    if code == 2:
        return maximum(minimum(fma(x, alpha, beta), one), zero)
    if code == 0:
        return fma(x, alpha, beta)
    if code == 3:
        return select(x < zero, x * alpha, x)
    if code == 1:
        return select(x < zero, alpha * expm1(x), x)
    if code == 5:
        return alpha * tanh(beta * x)
    if code == 7:
        return softplus(x)
    if code == 8:
        return x / (one + vec_abs(x))
    return select(x <= alpha, zero, x)


@kernel
def limit(bound, x):
    """x within [-bound[0], bound[0]]; NaN stays."""
    high = broadcast(bound, 0)
    return maximum(minimum(x, high), -high)

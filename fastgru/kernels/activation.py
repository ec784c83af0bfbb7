"""The activations of `fastgru.spec.ACTIVATIONS`, on vectors, chosen by a code of `kernels.operands.activation`."""

from fastgru.kernels.operands.activation import ACTIVATION
from fastgru.kernels.operands.activation import ACTIVATION_NUMBERS as NUMBERS
from fastgru.kernels.registry import kernel
from fastgru.simd.math import expm1, sigmoid, softplus, tanh
from fastgru.simd.memory import broadcast
from fastgru.simd.vector import fma, maximum, minimum, select, vec_abs

__all__ = ["activate", "limit", "slope"]


@kernel
def activate(code, parameters, x):
    """Return f(x). parameters: a pointer to `ACTIVATION_NUMBERS` of the dtype of x."""
    alpha, beta = broadcast(parameters, NUMBERS.alpha), broadcast(parameters, NUMBERS.beta)
    zero, one = broadcast(parameters, NUMBERS.zero), broadcast(parameters, NUMBERS.one)
    if code == ACTIVATION.sigmoid:
        return sigmoid(x)
    if code == ACTIVATION.tanh:
        return tanh(x)
    if code == ACTIVATION.relu:
        return maximum(x, zero)
    if code == ACTIVATION.hard_sigmoid:
        return maximum(minimum(fma(x, alpha, beta), one), zero)
    if code == ACTIVATION.affine:
        return fma(x, alpha, beta)
    if code == ACTIVATION.leaky_relu:
        return select(x < zero, x * alpha, x)
    if code == ACTIVATION.elu:
        return select(x < zero, alpha * expm1(x), x)
    if code == ACTIVATION.scaled_tanh:
        return alpha * tanh(beta * x)
    if code == ACTIVATION.softplus:
        return softplus(x)
    if code == ACTIVATION.softsign:
        return x / (one + vec_abs(x))
    return select(x <= alpha, zero, x)


@kernel
def slope(code, parameters, x, y):
    """Return f'(x) for y = f(x); at a kink, the slope that `reference.gradients.elementwise.slope` chooses."""
    alpha, beta = broadcast(parameters, NUMBERS.alpha), broadcast(parameters, NUMBERS.beta)
    zero, one = broadcast(parameters, NUMBERS.zero), broadcast(parameters, NUMBERS.one)
    if code == ACTIVATION.sigmoid:
        return y * (one - y)
    if code == ACTIVATION.tanh:
        return one - y * y
    if code == ACTIVATION.relu:
        return select(x > zero, one, zero)
    if code == ACTIVATION.hard_sigmoid:
        return select(y > zero, select(y < one, alpha, zero), zero)
    if code == ACTIVATION.affine:
        return alpha
    if code == ACTIVATION.leaky_relu:
        return select(x > zero, one, alpha)
    if code == ACTIVATION.elu:
        return select(x > zero, one, y + alpha)
    if code == ACTIVATION.scaled_tanh:
        t = tanh(beta * x)
        return alpha * beta * (one - t * t)
    if code == ACTIVATION.softplus:
        return sigmoid(x)
    if code == ACTIVATION.softsign:
        t = one / (one + vec_abs(x))
        return t * t
    return select(x > alpha, one, zero)


@kernel
def limit(bound, x):
    """Limit x to [-bound[0], bound[0]]; NaN stays."""
    high = broadcast(bound, 0)
    return maximum(minimum(x, high), -high)

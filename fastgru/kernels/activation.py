"""The activations of `fastgru.spec.ACTIVATIONS`, on vectors, chosen by a code; and the element-wise handler of them."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from fastgru.kernels.registry import handler, kernel, tensor
from fastgru.simd.math import expm1, sigmoid, softplus, tanh
from fastgru.simd.memory import broadcast, lanes_of, load, load_tail, pointer, store, store_tail
from fastgru.simd.vector import fma, maximum, minimum, select, vec_abs

__all__ = ["ACTIVATION_CODES", "activate", "limit"]

# As instruction words carry them.
ACTIVATION_CODES: Final = {
    "affine": 0,
    "elu": 1,
    "hard_sigmoid": 2,
    "leaky_relu": 3,
    "relu": 4,
    "scaled_tanh": 5,
    "sigmoid": 6,
    "softplus": 7,
    "softsign": 8,
    "tanh": 9,
    "thresholded_relu": 10,
}


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


@handler("activation", "float32", "float64")
def activation(dtype: str) -> Any:
    """y = f(x), element by element.

    Operands: x, y, parameters (alpha, beta, 0, 1), count, code.
    """

    def handle(operands, bases, team):
        x, y = pointer(tensor(bases, operands, 0), dtype), pointer(tensor(bases, operands, 2), dtype)
        parameters = pointer(tensor(bases, operands, 4), dtype)
        count, code = operands[6], operands[7]
        lanes = lanes_of(x)
        i = 0
        while i + lanes <= count:
            store(y, i, activate(code, parameters, load(x, i)))
            i += lanes
        if i < count:
            store_tail(y, i, activate(code, parameters, load_tail(x, i, count - i)), count - i)

    return handle


def activation_parameters(alpha: float, beta: float, dtype: Any) -> Any:
    """The words that `activate` reads."""
    return np.array([alpha, beta, 0, 1], dtype)

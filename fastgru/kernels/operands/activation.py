"""Codes of the activations, and the numbers that they read."""

from typing import Any, Final

import numpy as np

from fastgru.kernels.operands.declare import codes, places

__all__ = ["ACTIVATION", "ACTIVATION_CODES", "ACTIVATION_NUMBERS", "activation_parameters"]

# As instruction words carry them.
ACTIVATION: Final = codes(
    "affine elu hard_sigmoid leaky_relu relu scaled_tanh sigmoid softplus softsign tanh thresholded_relu"
)
ACTIVATION_CODES: Final[dict[str, int]] = ACTIVATION._asdict()

ACTIVATION_NUMBERS: Final = places("alpha beta zero one")


def activation_parameters(alpha: float, beta: float, dtype: Any) -> Any:
    """`ACTIVATION_NUMBERS`, as `activate` reads them."""
    return np.array([alpha, beta, 0, 1], dtype)

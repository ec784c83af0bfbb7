"""The codes of activations, and the numbers that they read."""

from typing import Any, Final

import numpy as np

from fastgru.kernels.operands.declare import codes, places

__all__ = ["ACTIVATION", "ACTIVATION_CODES", "ACTIVATION_NUMBERS", "activation_parameters"]

# The codes in instruction words.
ACTIVATION: Final = codes(
    "affine elu hard_sigmoid leaky_relu relu scaled_tanh sigmoid softplus softsign tanh thresholded_relu"
)
ACTIVATION_CODES: Final[dict[str, int]] = ACTIVATION._asdict()

ACTIVATION_NUMBERS: Final = places("alpha beta zero one")


def activation_parameters(alpha: float, beta: float, dtype: Any) -> Any:
    """Return the `ACTIVATION_NUMBERS` that `kernels.activation.activate` reads."""
    return np.array([alpha, beta, 0, 1], dtype)

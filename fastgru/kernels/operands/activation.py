"""Codes of the activations, and the numbers that they read."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

__all__ = ["ACTIVATION_CODES", "activation_parameters"]

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


def activation_parameters(alpha: float, beta: float, dtype: Any) -> Any:
    """The words that `activate` reads."""
    return np.array([alpha, beta, 0, 1], dtype)

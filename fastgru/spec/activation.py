"""The activation functions of recurrent layers, with the names and defaults of the ONNX operators RNN, GRU and LSTM."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from fastgru.errors import SpecError
from fastgru.nearest import offered
from fastgru.records import dataclass

__all__ = ["ACTIVATIONS", "SIGMOID", "TAKES_ALPHA", "TAKES_BETA", "TANH", "Activation", "activation_from", "is_number"]

# kind -> (default alpha, default beta); eleven in all.
ACTIVATIONS: Final[Mapping[str, tuple[float, float]]] = {
    "affine": (1.0, 0.0),  # alpha * x + beta (ONNX gives no default; 1, 0 is the linear activation)
    "elu": (1.0, 0.0),  # x if x >= 0 else alpha * (exp(x) - 1)
    "hard_sigmoid": (0.2, 0.5),  # min(max(alpha * x + beta, 0), 1)
    "leaky_relu": (0.01, 0.0),  # x if x >= 0 else alpha * x
    "relu": (0.0, 0.0),  # max(x, 0)
    "scaled_tanh": (1.0, 1.0),  # alpha * tanh(beta * x)
    "sigmoid": (0.0, 0.0),  # 1 / (1 + exp(-x))
    "softplus": (0.0, 0.0),  # log(1 + exp(x))
    "softsign": (0.0, 0.0),  # x / (1 + |x|)
    "tanh": (0.0, 0.0),
    "thresholded_relu": (1.0, 0.0),  # x if x > alpha else 0
}


TAKES_ALPHA: Final = frozenset({"affine", "elu", "hard_sigmoid", "leaky_relu", "scaled_tanh", "thresholded_relu"})
TAKES_BETA: Final = frozenset({"affine", "hard_sigmoid", "scaled_tanh"})


def is_number(value: object) -> bool:
    """Return whether a value is an integer or a float, and no bool."""
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


@dataclass(frozen=True)
class Activation:
    """An activation function of a recurrent layer, with the names and defaults of the ONNX operator GRU.

    kind: "affine", "elu", "hard_sigmoid", "leaky_relu", "relu", "scaled_tanh", "sigmoid", "softplus", "softsign",
        "tanh" or "thresholded_relu". `fastgru.spec.ACTIVATIONS` has the defaults of alpha and beta.
    alpha, beta: the parameters of the formula. A parameter that the formula does not use becomes 0.

    Raises `SpecError` for another kind, or if a parameter is not a number.
    """

    kind: str
    alpha: float = float("nan")
    beta: float = float("nan")

    def __post_init__(self) -> None:
        if not isinstance(self.kind, str) or self.kind not in ACTIVATIONS:
            raise SpecError(f"activation {self.kind!r} does not exist; {offered(str(self.kind), sorted(ACTIVATIONS))}")
        if not (is_number(self.alpha) and is_number(self.beta)):
            raise SpecError(f"activation {self.kind!r}: alpha {self.alpha!r} and beta {self.beta!r} must be numbers")
        alpha, beta = ACTIVATIONS[self.kind]
        given_alpha = alpha if np.isnan(self.alpha) else float(self.alpha)
        given_beta = beta if np.isnan(self.beta) else float(self.beta)
        object.__setattr__(self, "alpha", given_alpha if self.kind in TAKES_ALPHA else 0.0)
        object.__setattr__(self, "beta", given_beta if self.kind in TAKES_BETA else 0.0)
        if not (np.isfinite(self.alpha) and np.isfinite(self.beta)):
            raise SpecError(f"activation {self.kind!r}: alpha {self.alpha} and beta {self.beta} must be finite")

    @property
    def complements(self) -> bool:
        """True if 1 - f(x) = f(-x). An update gate that replaces can then be converted exactly to one that keeps."""
        return self.kind == "sigmoid" or (self.kind == "hard_sigmoid" and self.beta == 0.5)


SIGMOID: Final = Activation("sigmoid")
TANH: Final = Activation("tanh")


def activation_from(data: object, what: str) -> Activation:
    """Return an `Activation` as it is, or make one from its plain data. Raises `SpecError`, which names `what`."""
    if isinstance(data, Activation):
        return data
    if not isinstance(data, Mapping) or not {"kind"} <= set(data) <= {"kind", "alpha", "beta"}:
        raise SpecError(f"{what} spec: activation {data!r}, expected kind, and alpha and beta or none")
    fields: Mapping[str, Any] = data
    return Activation(**fields)

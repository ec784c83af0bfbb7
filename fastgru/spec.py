"""What a GRU is, as frozen data: sizes, direction, reset mode, activations, clip.

Every convention of the field is reduced to this one form by the importers (`fastgru.importers`) and the
constructors of `fastgru.GRU`. With gates r (reset), z (update, keeps the old state), n (candidate):

    r = f(x Wr^T + h Rr^T + b_r)          z = f(x Wz^T + h Rz^T + b_z)
    reset after:   n = g(x Wn^T + b_in + r * (h Rn^T + b_hn))
    reset before:  n = g(x Wn^T + b_in + (r * h) Rn^T + b_hn)
    h' = z * h + (1 - z) * n

Cho et al. 2014 ("Learning Phrase Representations using RNN Encoder-Decoder") for reset before; the cuDNN
documentation for reset after. The names and defaults of the activations are those of the ONNX operator GRU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fastgru.errors import SpecError

__all__ = [
    "ACTIVATIONS",
    "DIRECTIONS",
    "TAKES_ALPHA",
    "TAKES_BETA",
    "Activation",
    "GRUSpec",
    "GRUWeights",
    "check_weights",
]

DIRECTIONS: Final = ("forward", "reverse", "bidirectional")

# kind -> (default alpha, default beta); the eleven that the ONNX operators RNN, GRU and LSTM name.
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


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


@dataclass(frozen=True)
class Activation:
    """One activation function: a kind of `ACTIVATIONS` and its two parameters.

    `Activation("hard_sigmoid")` takes the defaults of the ONNX operator; alpha and beta mean nothing to a
    kind whose formula does not name them, and are then stored as 0.
    """

    kind: str
    alpha: float = float("nan")
    beta: float = float("nan")

    def __post_init__(self) -> None:
        if not isinstance(self.kind, str) or self.kind not in ACTIVATIONS:
            raise SpecError(f"activation {self.kind!r} is not one of {', '.join(sorted(ACTIVATIONS))}")
        if not (_is_number(self.alpha) and _is_number(self.beta)):
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
        """True where 1 - f(x) == f(-x), so that an update gate that replaces converts exactly to one that keeps."""
        return self.kind == "sigmoid" or (self.kind == "hard_sigmoid" and self.beta == 0.5)


SIGMOID: Final = Activation("sigmoid")
TANH: Final = Activation("tanh")


@dataclass(frozen=True)
class GRUSpec:
    """One GRU layer, of one or two directions.

    input_size, hidden_size: I and H, at least 1.
    direction: "forward", "reverse" or "bidirectional".
    reset_after: where the reset gate acts, see the formulas of this module.
    gate_activations, candidate_activations: f and g, one `Activation` a direction.
    clip: preactivations are limited to [-clip, clip] before f and g; None for no limit.
    batch_first: x and y are (N, T, .) instead of (T, N, .); the states are (D, N, H) either way.
    mask_output: what y holds at a step that a mask hides: "carry" (the output before it; zeros before the
        first visible step) or "zero". Steps beyond a row's length are always zero.

    Raises `SpecError` with every contradiction listed.
    """

    input_size: int
    hidden_size: int
    direction: str = "forward"
    reset_after: bool = True
    gate_activations: tuple[Activation, ...] = field(default=())
    candidate_activations: tuple[Activation, ...] = field(default=())
    clip: float | None = None
    batch_first: bool = False
    mask_output: str = "carry"

    def __post_init__(self) -> None:
        faults = []
        for name in ("input_size", "hidden_size"):
            size = getattr(self, name)
            if not isinstance(size, int | np.integer) or isinstance(size, bool) or size < 1:
                faults.append(f"{name} is {size!r}, expected an integer of at least 1")
        if self.direction not in DIRECTIONS:
            faults.append(f"direction is {self.direction!r}, expected one of {', '.join(DIRECTIONS)}")
        for name in ("reset_after", "batch_first"):
            if not isinstance(getattr(self, name), bool | np.bool_):
                faults.append(f"{name} is {getattr(self, name)!r}, expected True or False")
            else:
                object.__setattr__(self, name, bool(getattr(self, name)))
        if self.clip is not None and not (_is_number(self.clip) and 0 < self.clip < float("inf")):
            faults.append(f"clip is {self.clip!r}, expected a positive number or None")
        if self.mask_output not in ("carry", "zero"):
            faults.append(f"mask_output is {self.mask_output!r}, expected 'carry' or 'zero'")
        for name, default in (("gate_activations", SIGMOID), ("candidate_activations", TANH)):
            given = getattr(self, name)
            if not isinstance(given, tuple | list) or not all(isinstance(a, Activation) for a in given):
                faults.append(f"{name} is {given!r}, expected an Activation for each direction")
                continue
            given = tuple(given) or (default,) * self.num_directions
            object.__setattr__(self, name, given)
            if len(given) != self.num_directions:
                faults.append(f"{name} has {len(given)} entries for {self.num_directions} direction(s)")
        if faults:
            raise SpecError("GRU spec: " + "; ".join(faults))
        object.__setattr__(self, "input_size", int(self.input_size))
        object.__setattr__(self, "hidden_size", int(self.hidden_size))

    @property
    def num_directions(self) -> int:
        return 2 if self.direction == "bidirectional" else 1

    @property
    def output_size(self) -> int:
        return self.num_directions * self.hidden_size

    def to_dict(self) -> dict[str, Any]:
        """Plain data that JSON can hold; `from_dict` is its inverse."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> GRUSpec:
        """The inverse of `to_dict`. Raises `SpecError` for what is missing, unknown or wrong."""
        if not isinstance(data, Mapping):
            raise SpecError(f"GRU spec: got {type(data).__name__}, expected fields and values")
        known = set(cls.__dataclass_fields__)
        if unknown := sorted(set(data) - known, key=str):
            raise SpecError(f"GRU spec: unknown fields {', '.join(map(str, unknown))}")
        if missing := sorted({"input_size", "hidden_size"} - set(data)):
            raise SpecError(f"GRU spec: missing fields {', '.join(missing)}")
        fields = dict(data)
        for name in ("gate_activations", "candidate_activations"):
            if isinstance(fields.get(name), list | tuple):
                fields[name] = tuple(_activation_from(a) for a in fields[name])
        return cls(**fields)


def _activation_from(data: object) -> Activation:
    if isinstance(data, Activation):
        return data
    if not isinstance(data, Mapping) or not {"kind"} <= set(data) <= {"kind", "alpha", "beta"}:
        raise SpecError(f"GRU spec: activation {data!r}, expected kind, and alpha and beta or none")
    return Activation(**data)


@dataclass(frozen=True)
class GRUWeights:
    """The arrays of one direction, gates in the order r, z, n along the first axis.

    weight_ih (3H, I), weight_hh (3H, H), bias_ih (3H,), bias_hh (3H,); a bias may be None for zeros.
    """

    weight_ih: NDArray[Any]
    weight_hh: NDArray[Any]
    bias_ih: NDArray[Any] | None = None
    bias_hh: NDArray[Any] | None = None


def check_weights(spec: GRUSpec, weights: Sequence[GRUWeights], *, what: str = "GRU") -> None:
    """Raise `SpecError` naming every array whose shape or dtype does not fit `spec`."""
    faults = []
    if len(weights) != spec.num_directions:
        faults.append(f"weights for {len(weights)} direction(s), expected {spec.num_directions}")
    H, I = spec.hidden_size, spec.input_size
    for d, w in enumerate(weights):
        expected = {"weight_ih": (3 * H, I), "weight_hh": (3 * H, H), "bias_ih": (3 * H,), "bias_hh": (3 * H,)}
        for name, shape in expected.items():
            array = getattr(w, name)
            if array is None:
                if name.startswith("weight"):
                    faults.append(f"direction {d}: {name} is missing")
            elif np.shape(array) != shape:
                faults.append(f"direction {d}: {name} has shape {np.shape(array)}, expected {shape}")
            elif np.asarray(array).dtype.kind != "f" and np.asarray(array).dtype.name != "bfloat16":
                faults.append(f"direction {d}: {name} has dtype {np.asarray(array).dtype}, expected a float")
    if faults:
        raise SpecError(f"{what}: " + "; ".join(faults))

"""The specification of a simple recurrent layer as frozen data (Elman 1990, "Finding Structure in Time"):

h' = g(x W^T + h R^T + b)
"""

from dataclasses import field

from fastgru.records import dataclass
from fastgru.spec.activation import TANH, Activation
from fastgru.spec.recurrent import RecurrentSpec, RecurrentWeights

__all__ = ["RNNSpec", "RNNWeights"]


@dataclass(frozen=True)
class RNNSpec(RecurrentSpec):
    """The definition of one simple recurrent layer, with one or two directions, without its weights.

    activations: g, one `Activation` for each direction. The other fields are those of `GRUSpec`.

    Raises `SpecError`, which lists every contradiction.
    """

    KIND = "RNN"
    GATES = 1
    FUNCTIONS = {"activations": TANH}  # noqa: RUF012

    input_size: int
    hidden_size: int
    direction: str = "forward"
    activations: tuple[Activation, ...] = field(default=())
    clip: float | None = None
    batch_first: bool = False
    mask_output: str = "carry"


@dataclass(frozen=True)
class RNNWeights(RecurrentWeights):
    """The weights of one direction: weight_ih (H, I), weight_hh (H, H), bias_ih and bias_hh (H,) or None for zeros."""

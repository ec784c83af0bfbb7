"""What a simple recurrent layer is, as frozen data (Elman 1990, "Finding Structure in Time"):

h' = g(x W^T + h R^T + b)
"""

from dataclasses import field

from fastgru.records import dataclass
from fastgru.spec.activation import TANH, Activation
from fastgru.spec.recurrent import RecurrentSpec, RecurrentWeights

__all__ = ["RNNSpec", "RNNWeights"]


@dataclass(frozen=True)
class RNNSpec(RecurrentSpec):
    """One simple recurrent layer, of one or two directions.

    activations: g, one `Activation` a direction. The other fields are those of `GRUSpec`.
    Raises `SpecError` with every contradiction listed.
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
    """weight_ih (H, I), weight_hh (H, H), bias_ih (H,), bias_hh (H,); a bias may be None for zeros."""

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

from dataclasses import field

from fastgru.records import dataclass
from fastgru.spec.activation import SIGMOID, TANH, Activation
from fastgru.spec.recurrent import RecurrentSpec, RecurrentWeights

__all__ = ["GRUSpec", "GRUWeights"]


@dataclass(frozen=True)
class GRUSpec(RecurrentSpec):
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

    KIND = "GRU"
    GATES = 3
    FUNCTIONS = {"gate_activations": SIGMOID, "candidate_activations": TANH}  # noqa: RUF012
    FLAGS = ("reset_after", "batch_first")

    input_size: int
    hidden_size: int
    direction: str = "forward"
    reset_after: bool = True
    gate_activations: tuple[Activation, ...] = field(default=())
    candidate_activations: tuple[Activation, ...] = field(default=())
    clip: float | None = None
    batch_first: bool = False
    mask_output: str = "carry"


@dataclass(frozen=True)
class GRUWeights(RecurrentWeights):
    """The arrays of one direction, gates in the order r, z, n along the first axis.

    weight_ih (3H, I), weight_hh (3H, H), bias_ih (3H,), bias_hh (3H,); a bias may be None for zeros.
    """

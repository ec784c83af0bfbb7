"""The specification of a GRU as frozen data: sizes, direction, reset mode, activations, clip.

The importers (`fastgru.importers`) and the constructors of `fastgru.GRU` convert every other convention to this form.
With gates r (reset), z (update, keeps the old state), n (candidate):

    r = f(x Wr^T + h Rr^T + b_r)          z = f(x Wz^T + h Rz^T + b_z)
    reset after:   n = g(x Wn^T + b_in + r * (h Rn^T + b_hn))
    reset before:  n = g(x Wn^T + b_in + (r * h) Rn^T + b_hn)
    h' = z * h + (1 - z) * n

Sources: Cho et al. 2014 ("Learning Phrase Representations using RNN Encoder-Decoder") for reset before, and the cuDNN
documentation for reset after. The names and defaults of the activations are those of the ONNX operator GRU.
"""

from dataclasses import field

from fastgru.records import dataclass
from fastgru.spec.activation import SIGMOID, TANH, Activation
from fastgru.spec.recurrent import RecurrentSpec, RecurrentWeights

__all__ = ["GRUSpec", "GRUWeights"]


@dataclass(frozen=True)
class GRUSpec(RecurrentSpec):
    """The definition of one GRU layer, with one or two directions, without its weights.

    With the gates r (reset), z (update) and n (candidate), one step is

        r = f(x Wr^T + h Rr^T + br)          z = f(x Wz^T + h Rz^T + bz)
        reset_after=True:   n = g(x Wn^T + b_in + r * (h Rn^T + b_hn))      (PyTorch, cuDNN)
        reset_after=False:  n = g(x Wn^T + b_in + (r * h) Rn^T + b_hn)      (Cho et al. 2014)
        h' = z * h + (1 - z) * n

    input_size, hidden_size: I and H, at least 1.
    direction: "forward", "reverse" or "bidirectional".
    reset_after: whether the reset gate acts after the matrix product, see the formulas.
    gate_activations, candidate_activations: f and g, one `Activation` for each direction. The defaults are sigmoid and
        tanh.
    clip: the arguments of f and g are limited to [-clip, clip]. None means no limit.
    batch_first: x and y are (N, T, .) instead of (T, N, .). The states are always (D, N, H).
    mask_output: y at a step that a mask hides: "carry" repeats the output before it (zeros before the first visible
        step), "zero" is zero. y is always zero after the length of a row.

    Raises `SpecError`, which lists every contradiction.
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
    """The weights of one direction of a GRU, with the gates in the order r, z, n along the first axis.

    weight_ih: (3H, I). weight_hh: (3H, H). bias_ih, bias_hh: (3H,), or None for zeros.
    """

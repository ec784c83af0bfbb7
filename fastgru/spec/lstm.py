"""The specification of an LSTM as frozen data: sizes, direction, activations, clip, coupled gates.

With gates i (input), o (output), f (forget), c (candidate of the cell), states h and c, and peepholes p:

    i = s(x Wi^T + h Ri^T + b_i + p_i * c)
    f = s(x Wf^T + h Rf^T + b_f + p_f * c)          with input_forget: f = 1 - i
    n = g(x Wc^T + h Rc^T + b_c)
    c' = f * c + i * n
    o = s(x Wo^T + h Ro^T + b_o + p_o * c')
    h' = o * k(c')

Hochreiter and Schmidhuber 1997 ("Long Short-Term Memory"), with the forget gate of Gers et al. 2000 and the peepholes
of Gers and Schmidhuber 2000 ("Recurrent Nets that Time and Count"). The order i, o, f, c is that of the ONNX operator.
"""

from dataclasses import field

from fastgru.arrays import Array
from fastgru.records import dataclass
from fastgru.spec.activation import SIGMOID, TANH, Activation
from fastgru.spec.recurrent import RecurrentSpec, RecurrentWeights

__all__ = ["LSTMSpec", "LSTMWeights"]


@dataclass(frozen=True)
class LSTMSpec(RecurrentSpec):
    """The definition of one LSTM layer, with one or two directions, without its weights.

    gate_activations, candidate_activations, cell_activations: s, g and k, one `Activation` for each direction.
    clip: the arguments of s and g are limited to [-clip, clip], but not those of k. None means no limit.
    input_forget: the forget gate is 1 minus the input gate, and its own rows of the weights are not read.

    The other fields are those of `GRUSpec`. Raises `SpecError`, which lists every contradiction.
    """

    KIND = "LSTM"
    GATES = 4
    STATES = ("h", "c")
    FUNCTIONS = {"gate_activations": SIGMOID, "candidate_activations": TANH, "cell_activations": TANH}  # noqa: RUF012
    FLAGS = ("input_forget", "batch_first")

    input_size: int
    hidden_size: int
    direction: str = "forward"
    gate_activations: tuple[Activation, ...] = field(default=())
    candidate_activations: tuple[Activation, ...] = field(default=())
    cell_activations: tuple[Activation, ...] = field(default=())
    clip: float | None = None
    input_forget: bool = False
    batch_first: bool = False
    mask_output: str = "carry"

    @property
    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        return {**super().weight_shapes, "peephole": (3 * self.hidden_size,)}


@dataclass(frozen=True)
class LSTMWeights(RecurrentWeights):
    """The weights of one direction of an LSTM, with the gates in the order i, o, f, c along the first axis.

    weight_ih: (4H, I). weight_hh: (4H, H). bias_ih, bias_hh: (4H,), or None for zeros. peephole: (3H,) in the order
    i, o, f, or None for zeros.
    """

    peephole: Array | None = None

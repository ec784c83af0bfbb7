"""LSTM in float64, or in the dtype of the inputs: the formulas of `fastgru.spec.lstm`, one step in each pass."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np

from fastgru.reference.attributes import Made
from fastgru.reference.gru import activate
from fastgru.reference.operator import Array, operator
from fastgru.reference.recurrent import as_dtype, limited, recurrent_facts, unroll, weights_of_each
from fastgru.spec import LSTMSpec, LSTMWeights

__all__ = ["lstm", "lstm_cell"]


def lstm_cell(
    spec: LSTMSpec, weights: LSTMWeights, x: Array, h: Array, c: Array, *, direction: int = 0
) -> tuple[Array, Array]:
    """Compute one step of one direction: x (N, I), h and c (N, H) -> h', c' (N, H)."""
    s, g, k = spec.functions(direction)
    full = as_dtype(weights, spec, np.result_type(x, h))
    W, R, b_i, b_h = (np.split(a, 4) for a in (full.weight_ih, full.weight_hh, full.bias_ih, full.bias_hh))
    peephole = None if full.peephole is None else np.split(full.peephole, 3)

    def gate(n: int, cell: Array | None = None) -> Array:
        a = x @ W[n].T + b_i[n] + h @ R[n].T + b_h[n]
        return limited(spec, a if peephole is None or cell is None else a + peephole[n] * cell)

    i = activate(s, gate(0, c))
    f = 1 - i if spec.input_forget else activate(s, gate(2, c))
    c_next = f * c + i * activate(g, gate(3))
    o = activate(s, gate(1, c_next))
    return o * activate(k, c_next), c_next


def lstm(
    spec: LSTMSpec,
    weights: Sequence[LSTMWeights],
    x: Array,
    h0: Array | None = None,
    lengths: Array | None = None,
    mask: Array | None = None,
    c0: Array | None = None,
) -> tuple[Array, Array, Array]:
    """Run a whole sequence, in every direction. Returns y, h_n and c_n (D, N, H).

    c0 (D, N, H), zeros if None. The other arguments are those of `fastgru.reference.gru.gru`. A row of length zero
    keeps both its states. Raises `ShapeError` or `SpecError`.
    """

    def cell(d: int, w: LSTMWeights, x_t: Array, states: tuple[Array, ...]) -> tuple[Array, ...]:
        return lstm_cell(spec, w, x_t, *states, direction=d)

    y, (h_n, c_n) = unroll(spec, weights, cell, x, (h0, c0), lengths, mask)
    return y, h_n, c_n


@operator("lstm", recurrent_facts(LSTMSpec))
def _lstm(
    x: Array,
    initial_h: Array | None = None,
    lengths: Array | None = None,
    mask: Array | None = None,
    initial_c: Array | None = None,
    *weights: Array | None,
    spec: Annotated[Mapping[str, Any], Made(LSTMSpec.from_dict)],
) -> tuple[Array, Array, Array]:
    """`lstm`, with the arrays of `LSTMWeights` of each direction, one after another."""
    form = LSTMSpec.from_dict(spec)
    return lstm(form, weights_of_each(LSTMWeights, form, weights), x, initial_h, lengths, mask, initial_c)

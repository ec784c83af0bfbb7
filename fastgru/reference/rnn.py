"""The simple recurrent layer in float64, or in the dtype of the inputs: h' = g(x W^T + b_i + h R^T + b_h)."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np

from fastgru.reference.attributes import Made
from fastgru.reference.gru import activate
from fastgru.reference.operator import Array, operator
from fastgru.reference.recurrent import limited, recurrent_facts, unroll, weights_of_each
from fastgru.spec import RNNSpec, RNNWeights

__all__ = ["rnn"]


def rnn(
    spec: RNNSpec,
    weights: Sequence[RNNWeights],
    x: Array,
    h0: Array | None = None,
    lengths: Array | None = None,
    mask: Array | None = None,
) -> tuple[Array, Array]:
    """Run a whole sequence, in every direction. Returns y and h_n, as `fastgru.reference.gru.gru` does.

    Raises `ShapeError` or `SpecError`.
    """

    def cell(d: int, w: RNNWeights, x_t: Array, states: tuple[Array, ...]) -> tuple[Array, ...]:
        (h,) = states
        a = limited(spec, x_t @ w.weight_ih.T + w.bias_ih + h @ w.weight_hh.T + w.bias_hh)
        return (np.asarray(activate(spec.activations[d], a)),)

    y, (h_n,) = unroll(spec, weights, cell, x, (h0,), lengths, mask)
    return y, h_n


@operator("rnn", recurrent_facts(RNNSpec))
def _rnn(
    x: Array,
    initial_h: Array | None = None,
    lengths: Array | None = None,
    mask: Array | None = None,
    *weights: Array | None,
    spec: Annotated[Mapping[str, Any], Made(RNNSpec.from_dict)],
) -> tuple[Array, Array]:
    """`rnn`, with the arrays of `RNNWeights` of each direction, one after another."""
    form = RNNSpec.from_dict(spec)
    return rnn(form, weights_of_each(RNNWeights, form, weights), x, initial_h, lengths, mask)

"""The simple recurrent layer, one direction: the tail of `kernels.recurrent` for one gate."""

from typing import Any

from fastgru.kernels.activation import activate, limit
from fastgru.kernels.operands.recurrent import RECURRENT
from fastgru.kernels.recurrent import RECURRENT_MICROKERNELS, RecurrentCell, make_recurrent
from fastgru.kernels.registry import handler, kernel
from fastgru.simd.memory import lanes_of, load, offset, store

__all__: list[str] = []  # the handlers are found in the table

_AT = RECURRENT.at


@kernel
def _tail(operands, parameters, peephole, sums, c, h_next, size, padded):
    lanes = lanes_of(c)
    for u in range(0, size, lanes):
        v = load(sums, u)
        if operands[_AT.clip] != 0:
            v = limit(offset(parameters, 4), v)
        store(h_next, u, activate(operands[_AT.codes], parameters, v))


@handler("rnn", "float32", "float64", microkernels=RECURRENT_MICROKERNELS)
def rnn(dtype: str) -> Any:
    """One direction, with any activation and clip."""
    return make_recurrent(dtype, RecurrentCell(1, _tail))

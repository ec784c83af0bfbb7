"""LSTM, one direction: the tails of `kernels.recurrent` for four gates, i, o, f and the candidate.

One handler is for sigmoid and tanh without clip, peepholes or coupled gates, the other for all other cases.
"""

from typing import Any

from fastgru.kernels.activation import activate, limit
from fastgru.kernels.operands.recurrent import RECURRENT
from fastgru.kernels.recurrent import RECURRENT_MICROKERNELS, RecurrentCell, make_recurrent
from fastgru.kernels.registry import handler, kernel
from fastgru.simd.math import sigmoid, tanh
from fastgru.simd.memory import broadcast, lanes_of, load, offset, store
from fastgru.simd.vector import fma

__all__: list[str] = []  # the handlers are found in the table

_AT = RECURRENT.at


@kernel
def _tail(operands, parameters, peephole, sums, c, h_next, size, padded):
    lanes = lanes_of(c)
    for u in range(0, size, lanes):
        i, f = sigmoid(load(sums, u)), sigmoid(load(sums, 2 * size + u))
        c_next = fma(f, load(c, u), i * tanh(load(sums, 3 * size + u)))
        store(c, u, c_next)
        store(h_next, u, sigmoid(load(sums, size + u)) * tanh(c_next))


@kernel
def _gate(operands, parameters, which, sums, size):
    """Apply activation `which` to `size` sums, in place. The input of the last one, of the cell, is not clipped."""
    lanes = lanes_of(sums)
    code, own = operands[_AT.codes + which], offset(parameters, 4 * which)
    for u in range(0, size, lanes):
        v = load(sums, u)
        if operands[_AT.clip] != 0 and which != 2:
            v = limit(offset(parameters, 12), v)
        store(sums, u, activate(code, own, v))


@kernel
def _tail_general(operands, parameters, peephole, sums, c, h_next, size, padded):
    lanes = lanes_of(c)
    i, o, f, n = sums, offset(sums, size), offset(sums, 2 * size), offset(sums, 3 * size)
    peepholes = operands[_AT.peepholes] != 0  # zeros would not do for absent ones: the cell may hold an infinity
    for u in range(0, size if peepholes else 0, lanes):
        store(i, u, fma(load(peephole, u), load(c, u), load(i, u)))
        store(f, u, fma(load(peephole, 2 * padded + u), load(c, u), load(f, u)))
    for k in range(5):
        # First i, f and n; then, with the new cell state, o and the activation of the cell, which replaces n.
        which = 1 if k == 2 else 2 if k == 4 else 0
        if k == 3:
            one = broadcast(parameters, 3)
            for u in range(0, size, lanes):
                keep = load(f, u)
                if operands[_AT.input_forget] != 0:
                    keep = one - load(i, u)
                c_next = fma(keep, load(c, u), load(i, u) * load(n, u))
                store(c, u, c_next)
                store(n, u, c_next)
                if peepholes:
                    store(o, u, fma(load(peephole, padded + u), c_next, load(o, u)))
        at = i if k == 0 else f if k == 1 else o if k == 3 else n
        _gate(operands, parameters, which, at, size)
    for u in range(0, size, lanes):
        store(h_next, u, load(o, u) * load(n, u))


@handler("lstm", "float32", "float64", microkernels=RECURRENT_MICROKERNELS)
def lstm(dtype: str) -> Any:
    """One direction, with sigmoid and tanh."""
    return make_recurrent(dtype, RecurrentCell(4, _tail))


@handler("lstm_general", "float32", "float64", microkernels=RECURRENT_MICROKERNELS)
def lstm_general(dtype: str) -> Any:
    """One direction, with any activations, clip, peepholes and coupled gates."""
    return make_recurrent(dtype, RecurrentCell(4, _tail_general))

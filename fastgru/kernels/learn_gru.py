"""Learning of a GRU: the forward pass, which keeps the gates, and the backward pass through time.

Python calls each pass with the address of its words (`GRU_STEPS`) and a range of the rows of a batch, so that threads
can share the work; rows do not depend on each other. Nothing is allocated here. One form is for sigmoid and tanh
without a clip: it keeps r, z and n, from which their slopes follow. The general form, for all other functions, keeps
the inputs of the functions, and the backward pass computes r, z and n again.
"""

from typing import Any, Final

import numpy as np

from fastgru.kernels.activation import activate, limit, slope
from fastgru.kernels.learn import DTYPES
from fastgru.kernels.operands.activation import ACTIVATION_NUMBERS as NUMBERS
from fastgru.kernels.operands.learn import GRU_STEPS, HIDDEN, RESET
from fastgru.kernels.registry import called_by_python, inlined, kernel
from fastgru.simd.control import RUNNING, exchange_mode
from fastgru.simd.math import sigmoid, tanh
from fastgru.simd.memory import broadcast, call_native, lanes_of, load, offset, pointer, store
from fastgru.simd.vector import fma, select, splat, vec_abs

_CLIP: Final = 8  # its place among the parameters
GATE, CANDIDATE = GRU_STEPS.gate, GRU_STEPS.candidate


@kernel
def _has(words, t, n, flag):
    flags = words[GRU_STEPS.flags]
    return flags != 0 and (np.int64(pointer(flags, "uint8")[t * words[GRU_STEPS.N] + n]) & flag) != 0


@kernel
def _row(words, t, n):
    """Return the offset of row n of step t among the states. Its offset among the kept gates is four times that."""
    return (t * words[GRU_STEPS.N] + n) * words[GRU_STEPS.padded]


@kernel
def _step_of(words, i):
    return words[GRU_STEPS.last] - 1 - i if words[GRU_STEPS.backward] != 0 else words[GRU_STEPS.first] + i


@inlined
def _sigmoid(words, parameters, a):
    return sigmoid(a)


@inlined
def _tanh(words, parameters, a):
    return tanh(a)


@inlined
def _output(a, y):
    return y


@inlined
def _input(a, y):
    return a


@inlined
def _as_kept(words, parameters, kept):
    return kept


@inlined
def _sigmoid_slope(words, parameters, kept, y, one):
    return y * (one - y)


@inlined
def _tanh_slope(words, parameters, kept, y, one):
    return one - y * y


@inlined
def _limited(words, parameters, a):
    return limit(offset(parameters, _CLIP), a) if words[GRU_STEPS.clip] != 0 else a


@inlined
def _gate(words, parameters, a):
    return activate(words[GATE], parameters, _limited(words, parameters, a))


@inlined
def _candidate(words, parameters, a):
    return activate(words[CANDIDATE], offset(parameters, 4), _limited(words, parameters, a))


@inlined
def _free(words, parameters, a, found):
    """Return a slope, or zero where the clip limits the input of the function."""
    if words[GRU_STEPS.clip] != 0:
        found = select(vec_abs(a) <= broadcast(parameters, _CLIP), found, broadcast(parameters, NUMBERS.zero))
    return found


@inlined
def _gate_slope(words, parameters, a, y, one):
    held = _limited(words, parameters, a)
    return _free(words, parameters, a, slope(words[GATE], parameters, held, y))


@inlined
def _candidate_slope(words, parameters, a, y, one):
    held = _limited(words, parameters, a)
    return _free(words, parameters, a, slope(words[CANDIDATE], offset(parameters, 4), held, y))


# forward: the functions of gates and of the candidate, and what is kept of each: its output or its input
_AHEAD: Final = {"": (_sigmoid, _tanh, _output), "_general": (_gate, _candidate, _input)}
# backward: gates and candidate, and the slopes of both, from what was kept
_BACK: Final = {
    "": (_as_kept, _as_kept, _sigmoid_slope, _tanh_slope),
    "_general": (_gate, _candidate, _gate_slope, _candidate_slope),
}


def _ahead(dtype: str, functions: Any) -> Any:
    """Return the forward pass of rows `first` to `last` - 1 through the steps."""
    zero_value = np.dtype(dtype).type(0)
    gate, candidate_of, keep = functions
    fills = keep is _input  # lanes after the last unit hold f(0), which may not be zero and may grow with every step

    @inlined
    def show(states, at, u, H, value):
        store(states, at + u, value)
        if fills:
            for i in range(max(H, u), u + lanes_of(states)):
                states[at + i] = zero_value

    def run(at, first, last):
        words, mode = pointer(at, "int64"), exchange_mode(RUNNING)
        padded, H, rows, after = words[GRU_STEPS.padded], words[GRU_STEPS.H], last - first, words[GRU_STEPS.reset_after]
        kept, source = pointer(words[GRU_STEPS.kept], dtype), pointer(words[GRU_STEPS.source], dtype)
        before, target = pointer(words[GRU_STEPS.before], dtype), pointer(words[GRU_STEPS.target], dtype)
        bias, weights = pointer(words[GRU_STEPS.bias], dtype), pointer(words[GRU_STEPS.weights], dtype)
        parameters = pointer(words[GRU_STEPS.parameters], dtype)
        sums = offset(pointer(words[GRU_STEPS.sums], dtype), first * 3 * padded)
        lanes, zero = lanes_of(kept), splat(zero_value)
        for i in range(words[GRU_STEPS.last] - words[GRU_STEPS.first]):
            t = _step_of(words, i)
            begin = _row(words, t, first)
            h = offset(before, begin)
            if words[GRU_STEPS.before] != words[GRU_STEPS.source]:
                for n in range(rows):
                    reset = _has(words, t, first + n, RESET)
                    for u in range(0, padded, lanes):
                        store(h, n * padded + u, zero if reset else load(source, begin + n * padded + u))
            call_native(
                words[GRU_STEPS.gemm], h, padded, 1, weights, 3 * padded, H,
                (3 if after != 0 else 2) * padded, bias, 0, rows, sums, 3 * padded,
            )  # fmt: skip
            for n in range(rows):
                here = _row(words, t, first + n)
                g, s, own = offset(kept, 4 * here), offset(sums, 3 * n * padded), offset(h, n * padded)
                x = g
                if words[GRU_STEPS.ids] != 0:
                    row = pointer(words[GRU_STEPS.ids], "int64")[t * words[GRU_STEPS.N] + first + n]
                    x = offset(pointer(words[GRU_STEPS.table], dtype), 3 * row * padded)
                if _has(words, t, first + n, HIDDEN):  # the state passes through, as its gradient does backward
                    for u in range(0, padded, lanes):
                        store(g, 3 * padded + u, zero)
                        store(target, here + u, load(own, u))
                    continue
                for u in range(0, padded, lanes):
                    a_r = load(x, padded + u) + load(s, u)
                    a_z = load(x, 2 * padded + u) + load(s, padded + u)
                    r, z = gate(words, parameters, a_r), gate(words, parameters, a_z)
                    held = load(own, u)
                    store(g, padded + u, keep(a_r, r))
                    store(g, 2 * padded + u, keep(a_z, z))
                    if after != 0:
                        q = load(s, 2 * padded + u)
                        a_n = fma(r, q, load(x, u))
                        candidate = candidate_of(words, parameters, a_n)
                        store(g, 3 * padded + u, q)
                        store(g, u, keep(a_n, candidate))
                        show(target, here, u, H, fma(z, held - candidate, candidate))
                    else:
                        store(g, 3 * padded + u, r * held)
                        store(g, u, load(x, u))
                        store(s, padded + u, z)
            if after == 0:
                q = offset(kept, 4 * begin + 3 * padded)
                call_native(
                    words[GRU_STEPS.gemm], q, 4 * padded, 1, offset(weights, 2 * padded), 3 * padded, H, padded,
                    offset(bias, 2 * padded), 0, rows, offset(sums, 2 * padded), 3 * padded,
                )  # fmt: skip
                for n in range(rows):
                    if _has(words, t, first + n, HIDDEN):
                        continue
                    here = _row(words, t, first + n)
                    g, s, own = offset(kept, 4 * here), offset(sums, 3 * n * padded), offset(h, n * padded)
                    for u in range(0, padded, lanes):
                        a_n = load(g, u) + load(s, 2 * padded + u)
                        candidate = candidate_of(words, parameters, a_n)
                        store(g, u, keep(a_n, candidate))
                        show(target, here, u, H, fma(load(s, padded + u), load(own, u) - candidate, candidate))
        exchange_mode(mode)
        return 0

    return run


def _back(dtype: str, functions: Any) -> Any:
    """Return the backward pass of rows `first` to `last` - 1 through the steps."""
    one_value, zero_value = np.dtype(dtype).type(1), np.dtype(dtype).type(0)
    gate, candidate_of, gate_slope, candidate_slope = functions

    def run(at, first, last):
        words, mode = pointer(at, "int64"), exchange_mode(RUNNING)
        padded, rows, after = words[GRU_STEPS.padded], last - first, words[GRU_STEPS.reset_after]
        kept, before = pointer(words[GRU_STEPS.kept], dtype), pointer(words[GRU_STEPS.before], dtype)
        back, zeros = pointer(words[GRU_STEPS.back], dtype), pointer(words[GRU_STEPS.zeros], dtype)
        carry = offset(pointer(words[GRU_STEPS.carry], dtype), first * padded)
        sums = offset(pointer(words[GRU_STEPS.sums], dtype), first * 3 * padded)
        up, parameters = pointer(words[GRU_STEPS.up], dtype), pointer(words[GRU_STEPS.parameters], dtype)
        lanes = lanes_of(kept)
        zero, one = splat(zero_value), splat(one_value)
        steps = words[GRU_STEPS.last] - words[GRU_STEPS.first]
        for i in range(steps):
            t = _step_of(words, steps - 1 - i)
            begin = _row(words, t, first)
            for n in range(rows):
                g, h = offset(kept, 4 * (begin + n * padded)), offset(before, begin + n * padded)
                dh = offset(carry, n * padded)
                dy = offset(up, t * words[GRU_STEPS.up_step] + (first + n) * words[GRU_STEPS.up_row])
                if _has(words, t, first + n, HIDDEN):
                    for u in range(0, padded, lanes):
                        store(dh, u, load(dh, u) + load(dy, u))
                    for u in range(0, 4 * padded, lanes):
                        store(g, u, zero)
                    continue
                for u in range(0, padded, lanes):
                    kept_n, kept_z = load(g, u), load(g, 2 * padded + u)
                    candidate, z = candidate_of(words, parameters, kept_n), gate(words, parameters, kept_z)
                    d = load(dh, u) + load(dy, u)
                    da_n = d * (one - z) * candidate_slope(words, parameters, kept_n, candidate, one)
                    da_z = d * (load(h, u) - candidate) * gate_slope(words, parameters, kept_z, z, one)
                    store(g, u, da_n)
                    store(g, 2 * padded + u, da_z)
                    store(dh, u, d * z)
                    if after != 0:
                        kept_r, q = load(g, padded + u), load(g, 3 * padded + u)
                        r = gate(words, parameters, kept_r)
                        store(g, padded + u, da_n * q * gate_slope(words, parameters, kept_r, r, one))
                        store(g, 3 * padded + u, da_n * r)
            if after != 0:
                call_native(
                    words[GRU_STEPS.gemm], offset(kept, 4 * begin + padded), 4 * padded, 1, back, padded,
                    3 * padded, padded, carry, padded, rows, carry, padded,
                )  # fmt: skip
            else:
                call_native(
                    words[GRU_STEPS.gemm], offset(kept, 4 * begin), 4 * padded, 1, offset(back, 2 * padded * padded),
                    padded, padded, padded, zeros, 0, rows, sums, 3 * padded,
                )  # fmt: skip
                for n in range(rows):
                    if _has(words, t, first + n, HIDDEN):
                        continue
                    g, h = offset(kept, 4 * (begin + n * padded)), offset(before, begin + n * padded)
                    dh, through = offset(carry, n * padded), offset(sums, 3 * n * padded)
                    for u in range(0, padded, lanes):
                        kept_r, d = load(g, padded + u), load(through, u)
                        r = gate(words, parameters, kept_r)
                        store(dh, u, fma(d, r, load(dh, u)))
                        store(g, padded + u, d * load(h, u) * gate_slope(words, parameters, kept_r, r, one))
                call_native(
                    words[GRU_STEPS.gemm], offset(kept, 4 * begin + padded), 4 * padded, 1, back, padded,
                    2 * padded, padded, carry, padded, rows, carry, padded,
                )  # fmt: skip
            if words[GRU_STEPS.before] != words[GRU_STEPS.source]:
                for n in range(rows):
                    if _has(words, t, first + n, RESET):
                        for u in range(0, padded, lanes):
                            store(carry, n * padded + u, zero)
        exchange_mode(mode)
        return 0

    return run


for _dtype in DTYPES:
    for _form in _AHEAD:
        called_by_python(f"learn_gru_ahead{_form}_{_dtype}", "iii")(_ahead(_dtype, _AHEAD[_form]))
        called_by_python(f"learn_gru_back{_form}_{_dtype}", "iii")(_back(_dtype, _BACK[_form]))

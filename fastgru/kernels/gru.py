"""GRU over a sequence, one direction: input products of many steps at a time, then the recurrence step by step.

The steps are those of `kernels.gru_step`. Each reset form has a handler for f = sigmoid, g = tanh and no clip, and one
for the rest ("general"). Rows that a step does not reach (lengths, mask) keep their state by selection. The state lies
in scratch as two padded copies that take turns.

A team shares the units, each member with its own part of the weights, meeting after every step; or the rows, meeting
never. Any shape, number of rows, chunking or team gives a row the same bits: products are those of `kernels.product`,
and the tail works lane by lane.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from fastgru.kernels.activation import activate, limit
from fastgru.kernels.gru_step import SUM_VECTORS, make_step_after, make_step_before
from fastgru.kernels.product import panel_count, panel_first, panel_width, product_panels
from fastgru.kernels.registry import LENGTH_OUT_OF_RANGE, PARTS, fail, handler, kernel, tensor
from fastgru.kernels.team import TEAM_WORDS, barrier, share
from fastgru.simd.cpu import LANES, cache_sizes
from fastgru.simd.math import sigmoid, tanh
from fastgru.simd.memory import call_native, lanes_of, load, load_tail, offset, pointer, store, store_tail
from fastgru.simd.vector import splat

__all__ = ["ALONE", "ROWS", "UNITS", "chunk_steps", "scratch_elements"]

# Instruction words: tensors take two.
_X, _Y, _H0, _HN, _WIH, _WHH, _BX, _BN, _LENGTHS, _MASK, _PARAMETERS, _SCRATCH = range(0, 24, 2)
_T, _N, _I, _H, _XT, _XN, _YT, _YN, _MT, _MN, _REVERSE, _CARRY, _CHUNK, _GATE, _CANDIDATE, _CLIP, _SPLIT = range(24, 41)

_PARTS: Final = ("product_panel", "product_gates")
_PANEL, _GATES = PARTS["product_panel"], PARTS["product_gates"]

# How a team shares the instruction: one member does it, each its rows, each its units.
ALONE: Final = 0
ROWS: Final = 1
UNITS: Final = 2


def chunk_steps(T: int, N: int, H: int, itemsize: int) -> int:
    """Steps whose input products are made at once: what a quarter of the L2 holds, at least one."""
    row = 3 * (H + 15) * itemsize * max(N, 1)
    return max(1, min(T, cache_sizes()["l2"] // 4 // row))


def scratch_elements(N: int, H: int, chunk: int, dtype: str, members: int) -> int:
    """Elements of scratch: the state twice, r * h and z, the gate sums of each member, input products, a flag a row."""
    lanes = LANES[dtype]
    padded = -(-H // lanes) * lanes
    return 4 * N * padded + members * SUM_VECTORS * lanes + 3 * chunk * N * padded + N


@kernel
def _visible(operands, lengths, mask, t, n):
    """0: beyond the row's length, 1: hidden by the mask, 2: taken."""
    if lengths != 0 and t >= pointer(lengths, "int64")[n]:
        return 0
    if mask != 0 and pointer(mask, "bool")[t * operands[_MT] + n * operands[_MN]] == 0:
        return 1
    return 2


@kernel
def _project(part, gates_part, operands, x, w, bias, out, first, steps, padded, rows, panels):
    """Input products of `steps` steps from `first`, in ascending time, into rows (t - first) * N + n of `out`."""
    N, I, x_t, x_n = operands[_N], operands[_I], operands[_XT], operands[_XN]
    lanes = lanes_of(x)
    vectors, row = padded // lanes, 3 * padded
    if steps * N == 1:
        for p in range(panels[0], panels[1]):
            v = panel_first(vectors, p)
            width = panel_width(vectors - v)
            at = 3 * v * lanes
            last = offset(bias, at + 2 * width * lanes)
            call_native(
                gates_part, offset(x, first * x_t), offset(w, at * I), I, width, offset(bias, at), last, offset(out, at)
            )
        return
    count, stride, passes = rows[1] - rows[0], x_n, steps
    if N == 1:
        count, stride, passes = steps, x_t, 1
    elif count == N and x_t == N * x_n:
        count, passes = steps * N, 1
    for t in range(passes):
        product_panels(
            part, offset(x, (first + t) * x_t + rows[0] * x_n), stride, count, w, I, vectors, 3, panels[0], panels[1],
            bias, 0, offset(out, (t * N + rows[0]) * row), row,
        )  # fmt: skip


@kernel
def _copy_row(source, target, first, last, end):
    """target[first:last] = source[first:last], vector by vector; `end` is where target ends."""
    lanes = lanes_of(source)
    i = first
    while i + lanes <= end and i < last:
        store(target, i, load(source, i))
        i += lanes
    if i < last:
        store_tail(target, i, load_tail(source, i, end - i), end - i)


@kernel
def _clear_row(zero, target, first, last, end):
    lanes = lanes_of(target)
    i = first
    while i + lanes <= end and i < last:
        store(target, i, zero)
        i += lanes
    if i < last:
        store_tail(target, i, zero, end - i)


def _make_handler(dtype: str, step: Any) -> Any:
    zero_value = np.dtype(dtype).type(0)

    def handle(operands, bases, team):
        T, N, H = operands[_T], operands[_N], operands[_H]
        x, y = pointer(tensor(bases, operands, _X), dtype), tensor(bases, operands, _Y)
        h0, hn = tensor(bases, operands, _H0), tensor(bases, operands, _HN)
        w_ih, w_hh = pointer(tensor(bases, operands, _WIH), dtype), pointer(tensor(bases, operands, _WHH), dtype)
        bias_x, bias_n = pointer(tensor(bases, operands, _BX), dtype), pointer(tensor(bases, operands, _BN), dtype)
        parameters = pointer(tensor(bases, operands, _PARAMETERS), dtype)
        panel_part, gates_part = bases[_PANEL], bases[_GATES]
        lengths, mask = tensor(bases, operands, _LENGTHS), tensor(bases, operands, _MASK)
        if lengths != 0:
            for n in range(N):
                length = pointer(lengths, "int64")[n]
                if length < 0 or length > T:
                    fail(bases, LENGTH_OUT_OF_RANGE, length, T)
                    return

        lanes = lanes_of(x)
        vectors = (H + lanes - 1) // lanes
        padded = vectors * lanes
        count = panel_count(vectors)
        rows, panels = (0, N, N), (0, count)
        if operands[_SPLIT] == ROWS:
            rows = (share(N, team[0], team[1]), share(N, team[0] + 1, team[1]), N)
        elif operands[_SPLIT] == UNITS:
            panels = (share(count, team[0], team[1]), share(count, team[0] + 1, team[1]))
        together = operands[_SPLIT] == UNITS
        meeting = team if together or team[1] == 1 else offset(team, TEAM_WORDS)
        first, last = panel_first(vectors, panels[0]) * lanes, panel_first(vectors, panels[1]) * lanes

        h = pointer(tensor(bases, operands, _SCRATCH), dtype)
        h_next, held = offset(h, N * padded), offset(h, 2 * N * padded)
        seen = offset(h, 4 * N * padded)
        sums = offset(seen, N)
        projected = offset(sums, team[1] * SUM_VECTORS * lanes)
        sums = offset(sums, team[0] * SUM_VECTORS * lanes)
        zero = splat(zero_value)

        for n in range(rows[0], rows[1]):
            seen[n] = 0
            _clear_row(zero, offset(h, n * padded), first, last, padded)
            if h0 != 0:
                source, target = offset(pointer(h0, dtype), n * H), offset(h, n * padded)
                for i in range(first, min(last, H)):
                    target[i] = source[i]
        barrier(meeting)

        done = 0
        while done < T:
            steps = min(operands[_CHUNK], T - done)
            start = T - done - steps if operands[_REVERSE] != 0 else done
            _project(panel_part, gates_part, operands, x, w_ih, bias_x, projected, start, steps, padded, rows, panels)
            for s in range(steps):
                local = steps - 1 - s if operands[_REVERSE] != 0 else s
                t = start + local
                step(
                    operands, parameters, panel_part, gates_part, meeting, offset(projected, 3 * local * N * padded), w_hh, bias_n,
                    h, h_next, held, sums, padded, H, rows, panels, t,
                )  # fmt: skip
                for n in range(rows[0], rows[1]):
                    state = 2
                    if lengths != 0 or mask != 0:
                        state = _visible(operands, lengths, mask, t, n)
                        if state == 2:
                            seen[n] = 1
                        else:
                            _copy_row(offset(h, n * padded), offset(h_next, n * padded), first, last, padded)
                    if y != 0:
                        row = offset(pointer(y, dtype), t * operands[_YT] + n * operands[_YN])
                        if state == 2 or (state == 1 and operands[_CARRY] != 0 and seen[n] != 0):
                            _copy_row(offset(h_next, n * padded), row, first, last, H)
                        else:
                            _clear_row(zero, row, first, last, H)
                h, h_next = h_next, h
                barrier(meeting)
            done += steps

        if hn != 0:
            for n in range(rows[0], rows[1]):
                _copy_row(offset(h, n * padded), offset(pointer(hn, dtype), n * H), first, last, H)

    return handle


@kernel
def _sigmoid_gate(operands, parameters, v):
    return sigmoid(v)


@kernel
def _tanh_candidate(operands, parameters, v):
    return tanh(v)


@kernel
def _general_gate(operands, parameters, v):
    if operands[_CLIP] != 0:
        v = limit(offset(parameters, 8), v)
    return activate(operands[_GATE], parameters, v)


@kernel
def _general_candidate(operands, parameters, v):
    if operands[_CLIP] != 0:
        v = limit(offset(parameters, 8), v)
    return activate(operands[_CANDIDATE], offset(parameters, 4), v)


_after = make_step_after(_sigmoid_gate, _tanh_candidate)
_after_general = make_step_after(_general_gate, _general_candidate)
_before = make_step_before(_sigmoid_gate, _tanh_candidate)
_before_general = make_step_before(_general_gate, _general_candidate)


@handler("gru_reset_after", "float32", "float64", parts=_PARTS)
def gru_reset_after(dtype: str) -> Any:
    """One direction, reset after the recurrent product, sigmoid and tanh."""
    return _make_handler(dtype, _after)


@handler("gru_reset_after_general", "float32", "float64", parts=_PARTS)
def gru_reset_after_general(dtype: str) -> Any:
    """One direction, reset after the recurrent product, any activations, clip."""
    return _make_handler(dtype, _after_general)


@handler("gru_reset_before", "float32", "float64", parts=_PARTS)
def gru_reset_before(dtype: str) -> Any:
    """One direction, reset before the recurrent product, sigmoid and tanh."""
    return _make_handler(dtype, _before)


@handler("gru_reset_before_general", "float32", "float64", parts=_PARTS)
def gru_reset_before_general(dtype: str) -> Any:
    """One direction, reset before the recurrent product, any activations, clip."""
    return _make_handler(dtype, _before_general)

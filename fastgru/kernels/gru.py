"""GRU over a sequence, one direction: input products of many steps at a time, then the recurrence step by step.

The steps are those of `kernels.gru_step`, the input products those of `kernels.gru_input`. Each reset form has a
handler for f = sigmoid, g = tanh and no clip, and one for the rest ("general"), for weights of each precision. The
state lies in scratch as two padded copies that take turns.

A ragged batch is worked through in the order of falling lengths, so that the rows that a step reaches lie side by side
and no work is done on the others; their state stays in the copy that they left it in. A row that a mask hides is
carried along, and its old state selected.

A team shares the units, each member with its own part of the weights, meeting after every step; or the rows, meeting
never. Any shape, number of rows, chunking or team gives a row the same bits: products are those of `kernels.gemm`,
and the tail works lane by lane.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from fastgru.kernels.activation import activate, limit
from fastgru.kernels.gemm import panel_count, panel_first
from fastgru.kernels.gru_input import FORMS, Form, clear_row, copy_row
from fastgru.kernels.gru_step import in_turn, make_step_after, make_step_before
from fastgru.kernels.operands.gru import GRU, ROWS, SUM_VECTORS, UNITS, gru_rows, gru_scratch, input_rows
from fastgru.kernels.operands.team import LOOK_WORK, TEAM
from fastgru.kernels.registry import handler, kernel, tensor
from fastgru.kernels.team import barrier, look_out, meet, share
from fastgru.simd.math import sigmoid, tanh
from fastgru.simd.memory import lanes_of, offset, pointer
from fastgru.simd.vector import splat

__all__: list[str] = []  # its handlers are found in the table

AT = GRU.at
GATE, CANDIDATE = AT.codes, AT.codes + 1

_scratch, _rows, _input_rows = kernel(gru_scratch), kernel(gru_rows), kernel(input_rows)


@kernel
def _by_length(lengths, N, T, me, members, order, counts):
    """(rows, rows of the members before) of one member; `order` holds its rows, longest first, dealt in turn."""
    for i in range(T + 2):
        counts[i] = 0
    for n in range(N):
        counts[T - lengths[n] + 1] += 1
    for i in range(T + 1):
        counts[i + 1] += counts[i]
    mine = 0
    for n in range(N):
        place = counts[T - lengths[n]]
        counts[T - lengths[n]] += 1
        if place % members == me:
            order[place // members] = n
            mine += 1
    before = 0
    for m in range(me):
        before += (N - m + members - 1) // members
    return mine, before


def _make_handler(dtype: str, step: Any, form: Form, *, panelwise: bool) -> Any:
    """panelwise: a panel's step needs no other panel's input products, so a single step can take them as they come."""
    zero_value = np.dtype(dtype).type(0)
    element = dtype if form.weights is None else form.weights
    depth_of, row_of, state_of, ready, project = form.depth, form.row, form.state, form.ready, form.project
    rows_at, panel_at, gates_at = form.bases

    def handle(operands, bases, team):
        T, N, H = operands[AT.T], operands[AT.N], operands[AT.H]
        x, y = pointer(tensor(bases, operands, AT.x), dtype), tensor(bases, operands, AT.y)
        h0, hn = tensor(bases, operands, AT.h0), tensor(bases, operands, AT.hn)
        w_ih, w_hh = (
            pointer(tensor(bases, operands, AT.weight_ih), element),
            pointer(tensor(bases, operands, AT.weight_hh), element),
        )
        bias_x, bias_n = (
            pointer(tensor(bases, operands, AT.bias_x), dtype),
            pointer(tensor(bases, operands, AT.bias_n), dtype),
        )
        parameters = pointer(tensor(bases, operands, AT.parameters), dtype)
        parts = bases[rows_at], bases[panel_at], bases[gates_at]
        depth_x, depth_h = depth_of(operands[AT.I]), depth_of(H)
        lengths, mask = tensor(bases, operands, AT.lengths), tensor(bases, operands, AT.mask)

        lanes = lanes_of(x)
        vectors = (H + lanes - 1) // lanes
        padded, panel_total = vectors * lanes, panel_count(vectors)
        me, members, together = 0, 1, operands[AT.split] == UNITS
        row, count, panels = 0, N, (0, panel_total)
        if operands[AT.split] == ROWS:
            me, members = team[TEAM.number], team[TEAM.members]
            row, count = share(N, team)
            count -= row
        elif together:
            panels = share(panel_total, team)
        meeting = team if together or team[TEAM.members] == 1 else offset(team, TEAM.words)
        first, last = panel_first(vectors, panels[0]) * lanes, panel_first(vectors, panels[1]) * lanes
        reverse, chunk = operands[AT.reverse] != 0, operands[AT.chunk]

        ragged = lengths != 0
        words = _rows(T, N, chunk)
        order = offset(pointer(tensor(bases, operands, AT.order), "int64"), team[TEAM.number] * words.total)
        starts = offset(order, words.starts)
        room = _input_rows(N, chunk, row_of(operands[AT.I]), state_of(H))
        gathered = offset(pointer(tensor(bases, operands, AT.gathered), element), team[TEAM.number] * room.total)
        buffer_h = offset(gathered, room.states)
        if ragged:
            count, row = _by_length(pointer(lengths, "int64"), N, T, me, members, order, offset(order, words.counts))

        even = pointer(tensor(bases, operands, AT.scratch), dtype)
        regions = _scratch(N, padded, chunk, lanes, team[TEAM.members])
        odd, held, seen = offset(even, regions.odd), offset(even, regions.held), offset(even, regions.seen)
        projected = offset(even, regions.projected + 3 * row * chunk * padded)
        sums = offset(even, regions.sums + team[TEAM.number] * SUM_VECTORS * lanes)
        zero = splat(zero_value)

        for p in range(row, row + count):
            seen[p] = 0
            n = order[p - row] if ragged else p
            clear_row(zero, offset(even, p * padded), first, last, padded)
            if h0 != 0:
                source, target = offset(pointer(h0, dtype), n * H), offset(even, p * padded)
                for i in range(first, min(last, H)):
                    target[i] = source[i]
            if ragged:
                copy_row(offset(even, p * padded), offset(odd, p * padded), first, last, padded)
        barrier(meeting)

        h, h_next = even, odd
        done, left, work = 0, np.int64(LOOK_WORK), operands[AT.work]
        while done < T:
            steps = min(chunk, T - done)
            start = T - done - steps if reverse else done
            if panelwise and T == 1 and not ragged:
                rows_h, stride_h = ready(parts[0], h, row, count, padded, H, buffer_h)
                for i in range(panels[0], panels[1]):
                    one = in_turn(i, panels[0], panels[1], team[TEAM.parity])
                    project(
                        parts, operands, x, w_ih, depth_x, bias_x, projected, done, T, padded, row, count,
                        (one, one + 1), False, order, starts, gathered, i == panels[0],
                    )  # fmt: skip
                    step(
                        operands, parameters, parts, meeting, offset(projected, -3 * row * padded), w_hh,
                        depth_h, bias_n, rows_h, stride_h, h, h_next, held, sums, padded, H, (row, row + count, N),
                        (one, one + 1), done,
                    )  # fmt: skip
            else:
                if ragged:
                    active, starts[0] = count, 0
                    for s in range(steps):
                        while active > 0 and pointer(lengths, "int64")[order[active - 1]] <= start + s:
                            active -= 1
                        starts[s + 1] = starts[s] + active
                project(
                    parts, operands, x, w_ih, depth_x, bias_x, projected, start, steps, padded, row, count, panels,
                    ragged, order, starts, gathered, True,
                )  # fmt: skip
            for s in range(steps):
                local = steps - 1 - s if reverse else s
                t = start + local
                active, at = count, local * count
                if ragged:
                    active, at = starts[local + 1] - starts[local], starts[local]
                if not panelwise or T > 1 or ragged:
                    rows_h, stride_h = ready(parts[0], h, row, active, padded, H, buffer_h)
                    step(
                        operands, parameters, parts, meeting, offset(projected, 3 * (at - row) * padded), w_hh,
                        depth_h, bias_n, rows_h, stride_h, h, h_next, held, sums, padded, H, (row, row + active, N),
                        panels, team[TEAM.parity] + done + s,
                    )  # fmt: skip
                for p in range(row, row + count):
                    n = order[p - row] if ragged else p
                    shown = p < row + active
                    if shown and mask != 0:
                        if pointer(mask, "bool")[t * operands[AT.mask_t] + n * operands[AT.mask_n]] != 0:
                            seen[p] = 1
                        else:
                            copy_row(offset(h, p * padded), offset(h_next, p * padded), first, last, padded)
                            shown = operands[AT.carry] != 0 and seen[p] != 0
                    if y != 0:
                        target = offset(pointer(y, dtype), t * operands[AT.y_t] + n * operands[AT.y_n])
                        if shown:
                            copy_row(offset(h_next, p * padded), target, first, last, H)
                        else:
                            clear_row(zero, target, first, last, H)
                h, h_next = h_next, h
                barrier(meeting)
                left -= work
                if left <= 0:  # after the same steps in every member
                    look_out(team, bases)
                    if meet(meeting, bases) != 0:
                        return
                    left = np.int64(LOOK_WORK)
            done += steps

        if hn != 0:
            for p in range(row, row + count):
                n, source = p, h
                if ragged:
                    n = order[p - row]
                    if not reverse:  # the row has been left where its last step wrote it
                        source = odd if pointer(lengths, "int64")[n] % 2 == 1 else even
                copy_row(offset(source, p * padded), offset(pointer(hn, dtype), n * H), first, last, H)

    return handle


@kernel
def _sigmoid_gate(operands, parameters, v):
    return sigmoid(v)


@kernel
def _tanh_candidate(operands, parameters, v):
    return tanh(v)


@kernel
def _general_gate(operands, parameters, v):
    if operands[AT.clip] != 0:
        v = limit(offset(parameters, 8), v)
    return activate(operands[GATE], parameters, v)


@kernel
def _general_candidate(operands, parameters, v):
    if operands[AT.clip] != 0:
        v = limit(offset(parameters, 8), v)
    return activate(operands[CANDIDATE], offset(parameters, 4), v)


_ACTIVATIONS: Final = {"": (_sigmoid_gate, _tanh_candidate), "_general": (_general_gate, _general_candidate)}


def _enter(name: str, doc: str, make_step: Any, *, panelwise: bool) -> None:
    """The handlers of a reset form: with the usual activations and any, with weights of every precision."""
    for activations, functions in _ACTIVATIONS.items():
        for weights, form in FORMS.items():

            def factory(dtype: str, functions: Any = functions, form: Form = form) -> Any:
                return _make_handler(dtype, make_step(*functions, form.value, form.ready), form, panelwise=panelwise)

            factory.__doc__ = (
                f"One direction, {doc}, {'any activations, clip' if activations else 'sigmoid and tanh'}"
                f"{f', weights in {weights}' if weights else ''}."
            )
            op = f"{name}{activations}{f'_{weights}' if weights else ''}"
            dtypes = ("float32",) if weights else ("float32", "float64")
            handler(op, *dtypes, microkernels=tuple(filter(None, form.parts)))(factory)


_enter("gru_reset_after", "reset after the recurrent product", make_step_after, panelwise=True)
_enter("gru_reset_before", "reset before the recurrent product", make_step_before, panelwise=False)

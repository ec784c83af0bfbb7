"""GRU over a sequence, one direction: the input GEMM of many steps at a time, then the recurrence step by step.

`kernels.gru_step` computes steps, `kernels.gru_input` the input GEMMs, and `kernels.gru_rows` handles the rows of a
batch. For each reset form and precision of weights there is a handler for f = sigmoid, g = tanh and no clip, and one
for all other cases ("general"). The same handlers exist for a single step, whose input GEMM is computed panel by panel.
The state lies in scratch as two padded copies; each step reads one and writes the other.

A team shares the units, and then each member has its own part of the weights, and all meet after every step; or it
shares the rows, and members never meet. A row has the same bits with any shape, number of rows, chunk size or team: the
GEMMs are those of `kernels.gemm`, and the gate tail works lane by lane.
"""

from typing import Any, Final

import numpy as np

from fastgru.kernels.activation import activate, limit
from fastgru.kernels.gemm import panel_count, panel_first
from fastgru.kernels.gru_input import PRECISIONS, GRUPrecision, make_project, make_project_panel
from fastgru.kernels.gru_rows import batch_rows, copy_units, first_state, last_state, reach, rows_of_member, show
from fastgru.kernels.gru_step import GRUDirection, make_step_after, make_step_before
from fastgru.kernels.operands.gru import GRU, UNITS, gru_scratch, input_rows
from fastgru.kernels.operands.team import LOOK_WORK, MEMBER, TEAM
from fastgru.kernels.registry import BASES, handler, inlined, kernel, tensor
from fastgru.kernels.team import barrier, look_out, meet, share
from fastgru.simd.math import sigmoid, tanh
from fastgru.simd.memory import address, lanes_of, offset, pointer
from fastgru.simd.vector import splat

AT = GRU.at
GATE, CANDIDATE = AT.codes, AT.codes + 1

_scratch, _input_rows = kernel(gru_scratch), kernel(input_rows)


def _make_begin(dtype: str, precision: GRUPrecision) -> Any:
    """Return begin(operands, bases, team, row, count), which returns a `GRUDirection` and two copies of the state."""
    element = dtype if precision.element is None else precision.element
    depth_of, input_row, state_row = precision.depth, precision.input_row, precision.state_row
    step_rows = precision.step_rows
    quantise_at, gemm_at, gates_at = (getattr(BASES, name or "arena") for name in precision.microkernels)

    @inlined
    def begin(operands, bases, team, row, count):
        N, I, H, chunk = operands[AT.N], operands[AT.I], operands[AT.H], operands[AT.chunk]
        even = pointer(tensor(bases, operands, AT.scratch), dtype)
        lanes = lanes_of(even)
        vectors = (H + lanes - 1) // lanes
        padded, first_panel, last_panel = vectors * lanes, 0, panel_count(vectors)
        together = operands[AT.split] == UNITS
        if together:
            first_panel, last_panel = share(last_panel, team)
        meeting = team if together or team[TEAM.members] == 1 else offset(team, MEMBER.alone)
        regions = _scratch(N, padded, chunk, lanes, team[TEAM.members], step_rows)
        room = _input_rows(N, chunk, input_row(I), state_row(H))
        inputs = offset(pointer(tensor(bases, operands, AT.gathered), element), team[TEAM.number] * room.total)
        return (
            GRUDirection(
                operands=operands,
                parameters=pointer(tensor(bases, operands, AT.parameters), dtype),
                team=meeting,
                quantise=bases[quantise_at],
                gemm=bases[gemm_at],
                gates=bases[gates_at],
                x=pointer(tensor(bases, operands, AT.x), dtype),
                w_ih=pointer(tensor(bases, operands, AT.weight_ih), element),
                w_hh=pointer(tensor(bases, operands, AT.weight_hh), element),
                bias_x=pointer(tensor(bases, operands, AT.bias_x), dtype),
                bias_n=pointer(tensor(bases, operands, AT.bias_n), dtype),
                depth_x=depth_of(I),
                depth_h=depth_of(H),
                I=I,
                H=H,
                padded=padded,
                row=row,
                count=count,
                first_panel=first_panel,
                last_panel=last_panel,
                first=panel_first(vectors, first_panel) * lanes,
                last=panel_first(vectors, last_panel) * lanes,
                held=offset(even, regions.held),
                update=offset(even, regions.update),
                sums=offset(even, regions.sums + team[TEAM.number] * regions.own_sums),
                projected=offset(even, regions.projected + 3 * row * chunk * padded),
                inputs=inputs,
                states=offset(inputs, room.states),
            ),
            offset(even, regions.even),
            offset(even, regions.odd),
        )

    return begin


def _make_sequence(dtype: str, make_step: Any, functions: Any, precision: GRUPrecision) -> Any:
    """Return the handler for any number of steps of any batch."""
    begin, project, zero_value = _make_begin(dtype, precision), make_project(precision), np.dtype(dtype).type(0)

    @inlined
    def enter(gru, panel, rows_x, stride_x, rows):
        pass

    step = make_step(*functions, precision, enter)

    def handle(operands, bases, team):
        batch = batch_rows(operands, bases, team)
        gru, even, odd = begin(operands, bases, team, batch.row, batch.count)
        T, reverse, zero = operands[AT.T], operands[AT.reverse] != 0, splat(zero_value)
        h0 = pointer(tensor(bases, operands, AT.h0), dtype)
        y, hn = pointer(tensor(bases, operands, AT.y), dtype), pointer(tensor(bases, operands, AT.hn), dtype)
        for q in range(batch.count):
            first_state(gru, zero, h0, batch.order[q], batch.row + q, even)
            if batch.ragged:
                first_state(gru, zero, h0, batch.order[q], batch.row + q, odd)
        barrier(gru.team)

        h, h_next = even, odd
        done, left, parity = 0, np.int64(LOOK_WORK), team[TEAM.parity]
        while done < T:
            steps = min(operands[AT.chunk], T - done)
            start = T - done - steps if reverse else done
            reach(batch, start, steps)
            project(gru, batch, start, steps)
            for s in range(steps):
                t = steps - 1 - s if reverse else s
                rows, x = batch.starts[t + 1] - batch.starts[t], 3 * batch.starts[t] * gru.padded
                step(gru, gru.inputs, 0, offset(gru.projected, x), h, h_next, rows, parity + done + s)
                show(gru, batch, zero, y, h, h_next, rows, start + t)
                h, h_next = h_next, h
                barrier(gru.team)
                left -= operands[AT.work]
                if left <= 0:  # every member gets here after the same steps
                    look_out(team, bases)
                    if meet(gru.team, bases) != 0:
                        return
                    left = np.int64(LOOK_WORK)
            done += steps
        if address(hn) != 0:
            last_state(gru, batch, h, even, odd, hn)

    return handle


def _make_one(dtype: str, make_step: Any, functions: Any, precision: GRUPrecision) -> Any:
    """Return the handler for one step without lengths or mask: the input GEMM of a panel just precedes its step."""
    begin, zero_value = _make_begin(dtype, precision), np.dtype(dtype).type(0)
    gather, row_of, in_place = precision.gather, precision.input_row, precision.element is None
    project_panel = make_project_panel(precision)

    @inlined
    def enter(gru, panel, rows_x, stride_x, rows):
        project_panel(gru, panel, rows_x, stride_x, rows, gru.projected)

    step = make_step(*functions, precision, enter)

    def handle(operands, bases, team):
        row, count = rows_of_member(operands, team)
        gru, h, h_next = begin(operands, bases, team, row, count)
        zero, h0 = splat(zero_value), pointer(tensor(bases, operands, AT.h0), dtype)
        y, hn = pointer(tensor(bases, operands, AT.y), dtype), pointer(tensor(bases, operands, AT.hn), dtype)
        if address(h0) != 0 and gru.padded == gru.H:
            h = h0  # all members read it in place, so they need not meet before
        else:
            for n in range(row, row + count):
                first_state(gru, zero, h0, n, n, h)
            barrier(gru.team)
        x, stride = offset(gru.x, row * operands[AT.x_n]), operands[AT.x_n]
        if in_place:
            step(gru, x, stride, gru.projected, h, h_next, count, team[TEAM.parity])
        else:
            gather(gru, x, stride, count, gru.inputs)
            step(gru, gru.inputs, row_of(gru.I), gru.projected, h, h_next, count, team[TEAM.parity])
        for n in range(row, row + count):
            if address(y) != 0:
                copy_units(gru, h_next, n, offset(y, n * operands[AT.y_n]))
            if address(hn) != 0:
                copy_units(gru, h_next, n, offset(hn, n * gru.H))

    return handle


@inlined
def _sigmoid_gate(gru, v):
    return sigmoid(v)


@inlined
def _tanh_candidate(gru, v):
    return tanh(v)


@inlined
def _general_gate(gru, v):
    if gru.operands[AT.clip] != 0:
        v = limit(offset(gru.parameters, 8), v)
    return activate(gru.operands[GATE], gru.parameters, v)


@inlined
def _general_candidate(gru, v):
    if gru.operands[AT.clip] != 0:
        v = limit(offset(gru.parameters, 8), v)
    return activate(gru.operands[CANDIDATE], offset(gru.parameters, 4), v)


_STEPS: Final = {"after": make_step_after, "before": make_step_before}
_ACTIVATIONS: Final = {"": (_sigmoid_gate, _tanh_candidate), "_general": (_general_gate, _general_candidate)}


def _enter(make: Any, form: str, activations: str, weights: str) -> None:
    """Register the handler of a reset form, for the usual activations or any others, and a precision of weights."""
    precision = PRECISIONS[weights]

    def factory(dtype: str) -> Any:
        return make(dtype, _STEPS[form], _ACTIVATIONS[activations], precision)

    one = make is _make_one
    factory.__doc__ = (
        f"One {'step of one' if one else ''} direction, reset {form} the recurrent product, "
        f"{'any activations, clip' if activations else 'sigmoid and tanh'}"
        f"{f', weights in {weights}' if weights else ''}."
    )
    op = f"gru{'_step' if one else ''}_reset_{form}{activations}{f'_{weights}' if weights else ''}"
    dtypes = ("float32",) if weights else ("float32", "float64")
    microkernels = tuple(filter(None, precision.microkernels))
    handler(op, *dtypes, microkernels=microkernels, uses=precision.uses)(factory)


for _make in (_make_sequence, _make_one):
    for _form in _STEPS:
        for _activations in _ACTIVATIONS:
            for _weights in PRECISIONS:
                _enter(_make, _form, _activations, _weights)

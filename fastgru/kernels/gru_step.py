"""One time step of a GRU: the recurrent products of a panel of units, and the gate tail while they are in L1.

    reset after:   r = f(x_r + h Rr^T)  z = f(x_z + h Rz^T)  n = g(x_n + r * (b_hn + h Rn^T))
    reset before:  r and z of every unit first, then n = g(x_n + (r * h) Rn^T)
    h' = n + z * (h - n)

where x_* = x W*^T + biases is given, and the products take h (or r * h) as `ready` makes it. The two forms are two
functions. A member of a team has its own panels of units, or its own rows; `h` and `h_next` are (N, padded), of all.
Panels are walked forward on even steps and backward on odd ones, so that what a step left in the cache is what the
next one begins with.
"""

from __future__ import annotations

from typing import Any

from fastgru.kernels.gemm import panel_first, panel_width
from fastgru.kernels.operands.recurrent import STEP_ROWS
from fastgru.kernels.registry import inlined, kernel
from fastgru.kernels.team import barrier
from fastgru.simd.memory import call_native, lanes_of, load, offset, store
from fastgru.simd.vector import fma

__all__ = ["in_turn", "make_step_after", "make_step_before"]


@kernel
def in_turn(p, first, last, step):
    """The p-th panel of this step: ascending on even steps, descending on odd."""
    return first + last - 1 - p if step % 2 == 1 else p


def make_step_after(gate: Any, candidate: Any, value: Any, ready: Any) -> Any:
    """The step with the reset gate after the recurrent product.

    gate, candidate: functions (operands, parameters, vector). value: what the gates take of a sum. ready: rows of the
    state as the products want them, see `kernels.gru`; here `rows_h` are already.
    """

    @kernel
    def tail(operands, parameters, sums, x_n, h, h_next, size):
        lanes = lanes_of(h)
        for u in range(0, size, lanes):
            r = gate(operands, parameters, value(load(sums, u)))
            z = gate(operands, parameters, value(load(sums, size + u)))
            n = candidate(operands, parameters, fma(r, load(sums, 2 * size + u), load(x_n, u)))
            store(h_next, u, fma(z, load(h, u) - n, n))

    @inlined
    def step(
        operands,
        parameters,
        parts,
        team,
        x_row,
        w,
        depth,
        bias_n,
        rows_h,
        stride_h,
        h,
        h_next,
        held,
        sums,
        padded,
        H,
        rows,
        panels,
        t,
    ):
        lanes = lanes_of(h)
        vectors = padded // lanes
        panel_part, gates_part = parts[1], parts[2]
        for p in range(panels[0], panels[1]):
            v = panel_first(vectors, in_turn(p, panels[0], panels[1], t))
            width = panel_width(vectors - v)
            size, first = width * lanes, v * lanes
            panel, bias = offset(w, 3 * first * depth), offset(bias_n, first)
            m = rows[0]
            while m < rows[1]:
                some = min(STEP_ROWS, rows[1] - m)
                here = m * padded + first
                hs, xs = offset(rows_h, (m - rows[0]) * stride_h), offset(x_row, 3 * (m * padded + first))
                if some == 1:
                    call_native(gates_part, hs, panel, H, width, xs, bias, sums)
                else:
                    for g in range(2):
                        call_native(
                            panel_part, hs, stride_h, some, offset(panel, g * size * depth), H, width,
                            offset(xs, g * size), 3 * padded, offset(sums, g * size), 3 * size,
                        )  # fmt: skip
                    call_native(
                        panel_part, hs, stride_h, some, offset(panel, 2 * size * depth), H, width,
                        bias, 0, offset(sums, 2 * size), 3 * size,
                    )  # fmt: skip
                for i in range(some):
                    at = here + i * padded
                    x_n = offset(xs, 3 * i * padded + 2 * size)
                    tail(operands, parameters, offset(sums, 3 * i * size), x_n, offset(h, at), offset(h_next, at), size)
                m += some

    return step


def make_step_before(gate: Any, candidate: Any, value: Any, ready: Any) -> Any:
    """The step with the reset gate before the recurrent product; `held` is (2, N, padded): r * h and z."""

    @kernel
    def gates_tail(operands, parameters, sums, h, reset, update, size):
        lanes = lanes_of(h)
        for u in range(0, size, lanes):
            store(reset, u, gate(operands, parameters, value(load(sums, u))) * load(h, u))
            store(update, u, gate(operands, parameters, value(load(sums, size + u))))

    @kernel
    def candidate_tail(operands, parameters, sums, update, h, h_next, size):
        lanes = lanes_of(h)
        for u in range(0, size, lanes):
            n = candidate(operands, parameters, value(load(sums, u)))
            store(h_next, u, fma(load(update, u), load(h, u) - n, n))

    @inlined
    def step(
        operands,
        parameters,
        parts,
        team,
        x_row,
        w,
        depth,
        bias_n,
        rows_h,
        stride_h,
        h,
        h_next,
        held,
        sums,
        padded,
        H,
        rows,
        panels,
        t,
    ):
        lanes = lanes_of(h)
        vectors = padded // lanes
        update = offset(held, rows[2] * padded)
        source, stride = rows_h, stride_h
        for phase in range(2):
            if phase == 1:
                source, stride = ready(parts[0], held, rows[0], rows[1] - rows[0], padded, H, rows_h)
            for p in range(panels[0], panels[1]):
                v = panel_first(vectors, in_turn(p, panels[0], panels[1], t + phase))
                width = panel_width(vectors - v)
                size, first = width * lanes, v * lanes
                panel = offset(w, 3 * first * depth)
                m = rows[0]
                while m < rows[1]:
                    some = min(STEP_ROWS, rows[1] - m)
                    xs = offset(x_row, 3 * (m * padded + first))
                    for g in range(2 * phase, 2 + phase):
                        call_native(
                            parts[1], offset(source, (m - rows[0]) * stride), stride, some,
                            offset(panel, g * size * depth), H, width,
                            offset(xs, g * size), 3 * padded, offset(sums, (g % 2) * size), 2 * size,
                        )  # fmt: skip
                    for i in range(some):
                        at = (m + i) * padded + first
                        row = offset(sums, 2 * i * size)
                        if phase == 0:
                            gates_tail(
                                operands, parameters, row, offset(h, at), offset(held, at), offset(update, at), size
                            )
                        else:
                            candidate_tail(
                                operands, parameters, row, offset(update, at), offset(h, at), offset(h_next, at), size
                            )
                    m += some
            if phase == 0:
                barrier(team)

    return step

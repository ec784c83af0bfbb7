"""One time step of a GRU: the recurrent GEMM of a panel of units, then its gate tail while the sums are in L1.

    reset after:   r = f(x_r + h Rr^T)  z = f(x_z + h Rz^T)  n = g(x_n + r * (b_hn + h Rn^T))
    reset before:  r and z of every unit first, then n = g(x_n + (r * h) Rn^T)
    h' = n + z * (h - n)

where x_* = x W*^T + biases. The two forms are two functions. Panels are read forward on even steps and backward on odd
ones, so a step begins with the panels that the step before has left in the cache.
"""

from typing import Any, NamedTuple

from fastgru.kernels.gemm import by_parity, panel_first, panel_width
from fastgru.kernels.registry import inlined
from fastgru.kernels.team import barrier
from fastgru.simd.memory import address, call_native, lanes_of, load, offset, store
from fastgru.simd.vector import fma

__all__ = [
    "GRUDirection", "Matrix", "Panel", "Rows", "by_gate", "by_panels", "make_step_after", "make_step_before",
    "panel_at",
]  # fmt: skip


class GRUDirection(NamedTuple):
    """The part of one direction that one member of a team computes: `count` rows from `row`, and some panels.

    first_panel, last_panel: the range of panels, as `panel_at` takes them; they hold the units `first` to `last`.

    team: the members that meet. quantise, gemm, gates: addresses of microkernels. depth_x, depth_h: elements of an
    output in the weights. padded: H rounded up to whole vectors. The rest is scratch: held and update, r * h and z
    (N, padded); sums, the gate sums of a block; projected, the outputs of the input GEMM (chunk * count, 3 padded);
    inputs and states, gathered or quantised rows of x and of the state.
    """

    operands: Any
    parameters: Any
    team: Any
    quantise: Any
    gemm: Any
    gates: Any
    x: Any
    w_ih: Any
    w_hh: Any
    bias_x: Any
    bias_n: Any
    depth_x: Any
    depth_h: Any
    I: Any
    H: Any
    padded: Any
    row: Any
    count: Any
    first_panel: Any
    last_panel: Any
    first: Any
    last: Any
    held: Any
    update: Any
    sums: Any
    projected: Any
    inputs: Any
    states: Any


class Panel(NamedTuple):
    """Units `first` to `first` + `size`: `width` vectors."""

    first: Any
    size: Any
    width: Any


class Rows(NamedTuple):
    """`count` rows of a factor, `stride` elements apart."""

    first: Any
    stride: Any
    count: Any


class Matrix(NamedTuple):
    """The weights of a panel, gate after gate: K inputs, `depth` elements for each output."""

    w: Any
    K: Any
    depth: Any


@inlined
def by_gate(gru, panel, rows, matrix, groups, start, start_stride, last, out, out_stride):
    """out = start + rows W^T for `groups` gates of a panel, `panel.size` apart; the last one starts from row `last`.

    If `last` is `start` itself, the last gate starts like the others.
    """
    size, w, own = panel.size, matrix.w, address(last) != address(start)
    for g in range(groups):
        begin, step = offset(start, g * size), start_stride
        if own and g == groups - 1:
            begin, step = last, 0
        call_native(
            gru.gemm, rows.first, rows.stride, rows.count, offset(w, g * size * matrix.depth), matrix.K, panel.width,
            begin, step, offset(out, g * size), out_stride,
        )  # fmt: skip


@inlined
def by_panels(gru, panel, rows, matrix, groups, start, start_stride, last, out, out_stride):
    """Compute the same as `by_gate` in one call (`kernels.tiles`)."""
    call_native(
        gru.gemm, rows.first, rows.stride, rows.count, groups, matrix.w, matrix.K, panel.width, start, start_stride,
        last, out, out_stride,
    )  # fmt: skip


@inlined
def panel_at(gru, p, parity):
    lanes = lanes_of(gru.held)
    vectors = gru.padded // lanes
    v = panel_first(vectors, by_parity(p, gru.first_panel, gru.last_panel, parity))
    width = panel_width(vectors - v)
    return Panel(v * lanes, width * lanes, width)


def make_step_after(gate: Any, candidate: Any, precision: Any, enter: Any) -> Any:
    """Return step(gru, rows_x, stride_x, x, h, h_next, rows, parity), with the reset gate after the recurrent GEMM.

    gate, candidate: functions (gru, vector). enter(gru, panel, rows_x, stride_x, rows): called before each panel.
    x: the outputs of the input GEMM of the step. h, h_next: the states of all rows. rows: the number of this member's
    rows that the step reaches.
    """
    value, quantise, multiply, most = precision.value, precision.quantise, precision.multiply, precision.step_rows

    @inlined
    def tail(gru, sums, x_n, h, h_next, size):
        lanes = lanes_of(h)
        for u in range(0, size, lanes):
            r = gate(gru, value(load(sums, u)))
            z = gate(gru, value(load(sums, size + u)))
            n = candidate(gru, fma(r, load(sums, 2 * size + u), load(x_n, u)))
            store(h_next, u, fma(z, load(h, u) - n, n))

    @inlined
    def step(gru, rows_x, stride_x, x, h, h_next, rows, parity):
        padded = gru.padded
        source, stride = quantise(gru, h, rows)
        for p in range(gru.first_panel, gru.last_panel):
            panel = panel_at(gru, p, parity)
            enter(gru, panel, rows_x, stride_x, rows)
            size, sums = panel.size, gru.sums
            w, bias = offset(gru.w_hh, 3 * panel.first * gru.depth_h), offset(gru.bias_n, panel.first)
            m = 0
            while m < rows:
                some = min(most, rows - m)
                hs, xs = offset(source, m * stride), offset(x, 3 * (m * padded + panel.first))
                if some == 1:
                    call_native(gru.gates, hs, w, gru.H, panel.width, xs, bias, sums)
                else:
                    matrix = Matrix(w, gru.H, gru.depth_h)
                    multiply(gru, panel, Rows(hs, stride, some), matrix, 3, xs, 3 * padded, bias, sums, 3 * size)
                for i in range(some):
                    at = (gru.row + m + i) * padded + panel.first
                    x_n = offset(xs, 3 * i * padded + 2 * size)
                    tail(gru, offset(sums, 3 * i * size), x_n, offset(h, at), offset(h_next, at), size)
                m += some

    return step


def make_step_before(gate: Any, candidate: Any, precision: Any, enter: Any) -> Any:
    """Return a step as `make_step_after` does, with the reset gate before the recurrent GEMM."""
    value, quantise, multiply, most = precision.value, precision.quantise, precision.multiply, precision.step_rows

    @inlined
    def gates_tail(gru, sums, h, reset, update, size):
        lanes = lanes_of(h)
        for u in range(0, size, lanes):
            store(reset, u, gate(gru, value(load(sums, u))) * load(h, u))
            store(update, u, gate(gru, value(load(sums, size + u))))

    @inlined
    def candidate_tail(gru, sums, update, h, h_next, size):
        lanes = lanes_of(h)
        for u in range(0, size, lanes):
            n = candidate(gru, value(load(sums, u)))
            store(h_next, u, fma(load(update, u), load(h, u) - n, n))

    @inlined
    def gates(gru, panel, x, source, stride, m, some, first, count):
        """Multiply `some` rows from row m by `count` gates of the panel from gate `first`, and add the input GEMM."""
        w = offset(gru.w_hh, (3 * panel.first + first * panel.size) * gru.depth_h)
        xs = offset(x, 3 * (m * gru.padded + panel.first) + first * panel.size)
        rows, matrix = Rows(offset(source, m * stride), stride, some), Matrix(w, gru.H, gru.depth_h)
        multiply(gru, panel, rows, matrix, count, xs, 3 * gru.padded, xs, gru.sums, 2 * panel.size)

    @inlined
    def step(gru, rows_x, stride_x, x, h, h_next, rows, parity):
        source, stride = quantise(gru, h, rows)
        for p in range(gru.first_panel, gru.last_panel):
            panel = panel_at(gru, p, parity)
            enter(gru, panel, rows_x, stride_x, rows)
            m = 0
            while m < rows:
                some = min(most, rows - m)
                gates(gru, panel, x, source, stride, m, some, 0, 2)
                for i in range(some):
                    at = (gru.row + m + i) * gru.padded + panel.first
                    sums, held, update = (
                        offset(gru.sums, 2 * i * panel.size),
                        offset(gru.held, at),
                        offset(gru.update, at),
                    )
                    gates_tail(gru, sums, offset(h, at), held, update, panel.size)
                m += some
        barrier(gru.team)
        source, stride = quantise(gru, gru.held, rows)
        for p in range(gru.first_panel, gru.last_panel):
            panel = panel_at(gru, p, parity + 1)
            m = 0
            while m < rows:
                some = min(most, rows - m)
                gates(gru, panel, x, source, stride, m, some, 2, 1)
                for i in range(some):
                    at = (gru.row + m + i) * gru.padded + panel.first
                    sums, update = offset(gru.sums, 2 * i * panel.size), offset(gru.update, at)
                    candidate_tail(gru, sums, update, offset(h, at), offset(h_next, at), panel.size)
                m += some

    return step

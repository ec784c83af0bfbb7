"""GRU over a sequence, one direction: input products of many steps at a time, then the recurrence step by step.

For each panel of units the recurrent products of the three gates are made while the panel's part of the state is hot,
and the gate tail follows at once:

    reset after:   r = f(x_r + h Rr^T)  z = f(x_z + h Rz^T)  n = g(x_n + r * (b_hn + h Rn^T))
    reset before:  r and z of every unit first, then n = g(x_n + (r * h) Rn^T)
    h' = n + z * (h - n)

where x_* = x W*^T + biases. The two forms are two handlers. Each has a variant for f = sigmoid, g = tanh and no clip,
and one for the rest ("general"). Rows that a step does not reach (lengths, mask) keep their state by selection.

The state lives in scratch as two padded copies that take turns. Any shape, number of rows or chunking gives a row the
same bits: products are those of `kernels.product`, and the tail works lane by lane.
"""

from __future__ import annotations

from typing import Any, Final

from fastgru.kernels.activation import activate, limit
from fastgru.kernels.product import panel_width, product_panel, product_rows
from fastgru.kernels.registry import LENGTH_OUT_OF_RANGE, fail, handler, kernel, tensor
from fastgru.simd.cpu import LANES, cache_sizes
from fastgru.simd.math import sigmoid, tanh
from fastgru.simd.memory import lanes_of, load, offset, pointer, store
from fastgru.simd.vector import fma

__all__ = ["OPERANDS", "chunk_steps", "scratch_elements"]

# Instruction words. Tensors take two.
OPERANDS: Final = (
    "x:2 y:2 h0:2 hn:2 weight_ih:2 weight_hh:2 bias_x:2 bias_n:2 lengths:2 mask:2 parameters:2 scratch:2"
    " T N I H x_t x_n y_t y_n mask_t mask_n reverse carry chunk gate candidate clip"
)
_X, _Y, _H0, _HN, _WIH, _WHH, _BX, _BN, _LENGTHS, _MASK, _PARAMETERS, _SCRATCH = range(0, 24, 2)
_T, _N, _I, _H, _XT, _XN, _YT, _YN, _MT, _MN, _REVERSE, _CARRY, _CHUNK, _GATE, _CANDIDATE, _CLIP = range(24, 40)

# Rows whose three gate sums are kept between the products and the tail.
TAIL_ROWS: Final = 12
_GATE_VECTORS: Final = 3 * 4 * TAIL_ROWS


def chunk_steps(T: int, N: int, H: int, itemsize: int) -> int:
    """Steps whose input products are made at once: what a quarter of the L2 holds, at least one."""
    row = 3 * (H + 15) * itemsize * max(N, 1)
    return max(1, min(T, cache_sizes()["l2"] // 4 // row))


def scratch_elements(N: int, H: int, chunk: int, dtype: str) -> int:
    """Elements of scratch: state twice, r * h and z, the gate sums of a panel, the input products, a flag a row."""
    lanes = LANES[dtype]
    padded = -(-H // lanes) * lanes
    return 4 * N * padded + _GATE_VECTORS * lanes + chunk * N * 3 * padded + N


@kernel
def _visible(operands, lengths, mask, t, n):
    """0: beyond the row's length, 1: hidden by the mask, 2: taken."""
    if lengths != 0 and t >= pointer(lengths, "int64")[n]:
        return 0
    if mask != 0 and pointer(mask, "bool")[t * operands[_MT] + n * operands[_MN]] == 0:
        return 1
    return 2


@kernel
def _project(operands, x, w, bias, out, first, steps, padded):
    """Input products of `steps` steps from `first`, in ascending time, into rows (t - first) * N + n of `out`."""
    N, I, x_t, x_n = operands[_N], operands[_I], operands[_XT], operands[_XN]
    vectors = padded // lanes_of(x)
    row = 3 * padded
    start = offset(x, first * x_t)
    if N == 1:
        product_rows(start, x_t, steps, w, I, vectors, 3, bias, 0, out, row)
    elif x_t == N * x_n:
        product_rows(start, x_n, steps * N, w, I, vectors, 3, bias, 0, out, row)
    else:
        for t in range(steps):
            product_rows(offset(start, t * x_t), x_n, N, w, I, vectors, 3, bias, 0, offset(out, t * N * row), row)


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


def _make_step_after(gate: Any, candidate: Any) -> Any:
    @kernel
    def step(operands, parameters, x_row, w, bias_n, h, h_next, held, sums, padded):
        """One step of every row, reset after the product: h and h_next are (N, padded)."""
        N, H = operands[_N], operands[_H]
        lanes = lanes_of(h)
        vectors = padded // lanes
        v = 0
        while v < vectors:
            width = panel_width(vectors - v)
            size = width * lanes
            first = v * lanes
            panel = offset(w, 3 * first * H)
            m = 0
            while m < N:
                rows = min(TAIL_ROWS, N - m)
                hs = offset(h, m * padded)
                xs = offset(x_row, m * 3 * padded + 3 * first)
                for g in range(2):
                    product_panel(
                        hs, padded, rows, offset(panel, g * size * H), H, width,
                        offset(xs, g * size), 3 * padded, offset(sums, g * size), 3 * size,
                    )  # fmt: skip
                product_panel(
                    hs, padded, rows, offset(panel, 2 * size * H), H, width,
                    offset(bias_n, first), 0, offset(sums, 2 * size), 3 * size,
                )  # fmt: skip
                for i in range(rows):
                    at = i * 3 * size
                    for u in range(0, size, lanes):
                        r = gate(operands, parameters, load(sums, at + u))
                        z = gate(operands, parameters, load(sums, at + size + u))
                        x_n = load(xs, i * 3 * padded + 2 * size + u)
                        n = candidate(operands, parameters, fma(r, load(sums, at + 2 * size + u), x_n))
                        here = (m + i) * padded + first + u
                        store(h_next, here, fma(z, load(h, here) - n, n))
                m += rows
            v += width

    return step


def _make_step_before(gate: Any, candidate: Any) -> Any:
    @kernel
    def step(operands, parameters, x_row, w, bias_n, h, h_next, held, sums, padded):
        """One step of every row, reset before the product; `held` is (2, N, padded): r * h and z."""
        N, H = operands[_N], operands[_H]
        lanes = lanes_of(h)
        vectors = padded // lanes
        update = offset(held, N * padded)
        v = 0
        while v < vectors:
            width = panel_width(vectors - v)
            size = width * lanes
            first = v * lanes
            m = 0
            while m < N:
                rows = min(TAIL_ROWS, N - m)
                for g in range(2):
                    product_panel(
                        offset(h, m * padded), padded, rows, offset(w, (3 * first + g * size) * H), H, width,
                        offset(x_row, m * 3 * padded + 3 * first + g * size), 3 * padded, offset(sums, g * size), 3 * size,
                    )  # fmt: skip
                for i in range(rows):
                    at = i * 3 * size
                    for u in range(0, size, lanes):
                        here = (m + i) * padded + first + u
                        store(held, here, gate(operands, parameters, load(sums, at + u)) * load(h, here))
                        store(update, here, gate(operands, parameters, load(sums, at + size + u)))
                m += rows
            v += width
        v = 0
        while v < vectors:
            width = panel_width(vectors - v)
            size = width * lanes
            first = v * lanes
            m = 0
            while m < N:
                rows = min(TAIL_ROWS, N - m)
                product_panel(
                    offset(held, m * padded), padded, rows, offset(w, (3 * first + 2 * size) * H), H, width,
                    offset(x_row, m * 3 * padded + 3 * first + 2 * size), 3 * padded, sums, 3 * size,
                )  # fmt: skip
                for i in range(rows):
                    for u in range(0, size, lanes):
                        here = (m + i) * padded + first + u
                        n = candidate(operands, parameters, load(sums, i * 3 * size + u))
                        store(h_next, here, fma(load(update, here), load(h, here) - n, n))
                m += rows
            v += width

    return step


def _make_handler(dtype: str, step: Any) -> Any:
    def handle(operands, bases, team):
        T, N, H = operands[_T], operands[_N], operands[_H]
        x, y = pointer(tensor(bases, operands, _X), dtype), tensor(bases, operands, _Y)
        h0, hn = tensor(bases, operands, _H0), tensor(bases, operands, _HN)
        w_ih, w_hh = pointer(tensor(bases, operands, _WIH), dtype), pointer(tensor(bases, operands, _WHH), dtype)
        bias_x, bias_n = pointer(tensor(bases, operands, _BX), dtype), pointer(tensor(bases, operands, _BN), dtype)
        parameters = pointer(tensor(bases, operands, _PARAMETERS), dtype)
        lengths, mask = tensor(bases, operands, _LENGTHS), tensor(bases, operands, _MASK)
        ragged = lengths != 0 or mask != 0
        if lengths != 0:
            for n in range(N):
                length = pointer(lengths, "int64")[n]
                if length < 0 or length > T:
                    fail(bases, LENGTH_OUT_OF_RANGE, length, T)
                    return

        lanes = lanes_of(x)
        padded = (H + lanes - 1) // lanes * lanes
        h = pointer(tensor(bases, operands, _SCRATCH), dtype)
        h_next = offset(h, N * padded)
        held = offset(h, 2 * N * padded)
        sums = offset(h, 4 * N * padded)
        seen = offset(sums, _GATE_VECTORS * lanes)
        projected = offset(seen, N)

        for n in range(N):
            seen[n] = 0
            for i in range(padded):
                h[n * padded + i] = pointer(h0, dtype)[n * H + i] if h0 != 0 and i < H else 0

        done = 0
        while done < T:
            steps = min(operands[_CHUNK], T - done)
            first = T - done - steps if operands[_REVERSE] != 0 else done
            _project(operands, x, w_ih, bias_x, projected, first, steps, padded)
            for s in range(steps):
                local = steps - 1 - s if operands[_REVERSE] != 0 else s
                t = first + local
                step(
                    operands, parameters, offset(projected, local * N * 3 * padded), w_hh, bias_n, h, h_next, held,
                    sums, padded,
                )  # fmt: skip
                for n in range(N):
                    state = 2
                    if ragged:
                        state = _visible(operands, lengths, mask, t, n)
                    if state == 2:
                        seen[n] = 1
                    else:
                        for i in range(0, padded, lanes):
                            store(h_next, n * padded + i, load(h, n * padded + i))
                    if y != 0:
                        shown = state == 2 or (state == 1 and operands[_CARRY] != 0 and seen[n] != 0)
                        row = offset(pointer(y, dtype), t * operands[_YT] + n * operands[_YN])
                        if shown:
                            for i in range(H):
                                row[i] = h_next[n * padded + i]
                        else:
                            for i in range(H):
                                row[i] = 0
                h, h_next = h_next, h
            done += steps

        if hn != 0:
            for n in range(N):
                for i in range(H):
                    pointer(hn, dtype)[n * H + i] = h[n * padded + i]

    return handle


_after = _make_step_after(_sigmoid_gate, _tanh_candidate)
_after_general = _make_step_after(_general_gate, _general_candidate)
_before = _make_step_before(_sigmoid_gate, _tanh_candidate)
_before_general = _make_step_before(_general_gate, _general_candidate)


@handler("gru_reset_after", "float32", "float64")
def gru_reset_after(dtype: str) -> Any:
    """One direction, reset after the recurrent product, sigmoid and tanh."""
    return _make_handler(dtype, _after)


@handler("gru_reset_after_general", "float32", "float64")
def gru_reset_after_general(dtype: str) -> Any:
    """One direction, reset after the recurrent product, any activations, clip."""
    return _make_handler(dtype, _after_general)


@handler("gru_reset_before", "float32", "float64")
def gru_reset_before(dtype: str) -> Any:
    """One direction, reset before the recurrent product, sigmoid and tanh."""
    return _make_handler(dtype, _before)


@handler("gru_reset_before_general", "float32", "float64")
def gru_reset_before_general(dtype: str) -> Any:
    """One direction, reset before the recurrent product, any activations, clip."""
    return _make_handler(dtype, _before_general)

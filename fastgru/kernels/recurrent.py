"""A recurrent layer over a sequence, one direction, for cells whose gates come from one GEMM of h: LSTM and RNN.

First comes the input GEMM of many steps; then, step by step, the recurrent GEMM of a block of units and, while its sums
are in L1, the cell's own arithmetic (its tail). A block is `runs` adjacent panels of one width: the gates of the same
units or, for a cell of one gate, twice as many units. The cell's state, if it has one, is updated in place. h lies in
two copies; each step reads one and writes the other.

Every row is multiplied at every step. The tail skips rows that have ended or that a mask hides, and their states do not
change. A row has the same bits with any number of rows and any chunk size: the GEMMs are those of `kernels.gemm`, and
the tail works lane by lane.
"""

from typing import Any, Final, NamedTuple

import numpy as np

from fastgru.kernels.gemm import by_parity, panel_count, panel_first, panel_width
from fastgru.kernels.operands.recurrent import RECURRENT, STEP_ROWS, recurrent_scratch
from fastgru.kernels.operands.team import LOOK_WORK, TEAM
from fastgru.kernels.registry import BASES, inlined, kernel, tensor
from fastgru.kernels.rows import clear_row, copy_row
from fastgru.kernels.team import spend
from fastgru.simd.memory import call_native, lanes_of, offset, pointer
from fastgru.simd.vector import splat

__all__ = ["RECURRENT_MICROKERNELS", "RecurrentCell", "make_recurrent"]

AT = RECURRENT.at

_scratch = kernel(recurrent_scratch)

RECURRENT_MICROKERNELS: Final = ("gemm_panel", "gemm_pair")


class RecurrentCell(NamedTuple):
    """A kind of cell. groups: the number of gates.

    tail(operands, parameters, peephole, sums, c, h_next, size, padded): updates the cells of `size` units in place and
    writes their outputs to h_next. `peephole` (3, padded) and `c` start at the first of these units.
    """

    groups: int
    tail: Any


class RecurrentDirection(NamedTuple):
    """One direction: its operands, the addresses of its microkernels, weights, and scratch.

    c, sums: the cell states, and the sums of a block. visible: the rows that a step reaches.
    """

    operands: Any
    parameters: Any
    gemm: Any
    pair: Any
    x: Any
    w_ih: Any
    w_hh: Any
    bias: Any
    peephole: Any
    c: Any
    sums: Any
    visible: Any
    padded: Any


def make_recurrent(dtype: str, cell: RecurrentCell) -> Any:
    """Return the handler of one kind of cell."""
    zero = np.dtype(dtype).type(0)
    groups, tail = cell

    if groups == 1:

        @kernel
        def block_count(vectors):
            return vectors // 8 + panel_count(vectors % 8)

        @kernel
        def block(vectors, b):
            """Return (first vector, vectors of a run, runs) of block b."""
            pairs = vectors // 8
            if b < pairs:
                return 8 * b, 4, 2
            rest = vectors - 8 * pairs
            v = panel_first(rest, b - pairs)
            return 8 * pairs + v, panel_width(rest - v), 1

    else:

        @kernel
        def block_count(vectors):
            return panel_count(vectors)

        @kernel
        def block(vectors, b):
            v = panel_first(vectors, b)
            return v, panel_width(vectors - v), groups

    @kernel
    def multiply(gemm, pair, x, x_stride, rows, w, K, block, start, start_stride, out, out_stride):
        """Multiply `rows` rows by the runs of one block. block: the tuple that the function `block` returns."""
        width, runs = block[1], block[2]
        size = width * lanes_of(w)
        g = 0
        while rows == 1 and g + 2 <= runs:
            first, weights = offset(start, g * size), offset(w, g * size * K)
            call_native(pair, x, weights, K, width, first, offset(first, size), offset(out, g * size))
            g += 2
        while g < runs:
            call_native(
                gemm, x, x_stride, rows, offset(w, g * size * K), K, width,
                offset(start, g * size), start_stride, offset(out, g * size), out_stride,
            )  # fmt: skip
            g += 1

    @inlined
    def project(layer, out, first, steps):
        """Compute the input GEMM of `steps` steps from `first`, in ascending time."""
        operands, width_out = layer.operands, groups * layer.padded
        N, I, x_t, x_n = operands[AT.N], operands[AT.I], operands[AT.x_t], operands[AT.x_n]
        lanes = lanes_of(out)
        vectors, start = layer.padded // lanes, offset(layer.x, first * x_t)
        rows, stride, passes = N, x_n, steps
        if N == 1:
            rows, stride, passes = steps, x_t, 1
        elif x_t == N * x_n:
            rows, passes = steps * N, 1
        for t in range(passes):
            for b in range(block_count(vectors)):
                this = block(vectors, b)
                at = groups * this[0] * lanes
                multiply(
                    layer.gemm, layer.pair, offset(start, t * x_t), stride, rows, offset(layer.w_ih, at * I), I, this,
                    offset(layer.bias, at), np.int64(0), offset(out, t * N * width_out + at), width_out,
                )  # fmt: skip

    @inlined
    def step(layer, x_row, h, h_next, parity):
        """Compute one step of every row."""
        lanes, operands, padded = lanes_of(h), layer.operands, layer.padded
        N, H, vectors = operands[AT.N], operands[AT.H], padded // lanes
        blocks = block_count(vectors)
        for i in range(blocks):
            this = block(vectors, by_parity(i, np.int64(0), blocks, parity))
            first, stride = this[0] * lanes, this[1] * this[2] * lanes
            m = 0
            while m < N:
                some = min(STEP_ROWS, N - m)
                here = m * padded + first
                multiply(
                    layer.gemm, layer.pair, offset(h, m * padded), padded, some, offset(layer.w_hh, groups * first * H),
                    H, this, offset(x_row, groups * here), groups * padded, layer.sums, stride,
                )  # fmt: skip
                for row in range(some):
                    at = here + row * padded
                    if layer.visible[m + row] != 0:
                        tail(
                            operands, layer.parameters, offset(layer.peephole, first), offset(layer.sums, row * stride),
                            offset(layer.c, at), offset(h_next, at), stride // groups, padded,
                        )  # fmt: skip
                    else:
                        copy_row(offset(h, at), offset(h_next, at), stride // groups)
                m += some

    @kernel
    def look(operands, lengths, mask, visible, t):
        """Set `visible` for the rows that step t reaches."""
        for n in range(operands[AT.N]):
            within = lengths == 0 or t < pointer(lengths, "int64")[n]
            if within and mask != 0:
                within = pointer(mask, "bool")[t * operands[AT.mask_t] + n * operands[AT.mask_n]] != 0
            visible[n] = 1 if within else 0

    @kernel
    def begin(initial, state, n, H, padded):
        """Set the row `state` to the initial state of row n, or to zeros if none is given."""
        clear_row(splat(zero), state, padded)
        if initial != 0:
            copy_row(offset(pointer(initial, dtype), n * H), state, H)

    def handle(operands, bases, team):
        T, N, H = operands[AT.T], operands[AT.N], operands[AT.H]
        y = tensor(bases, operands, AT.y)
        h0, c0 = tensor(bases, operands, AT.h0), tensor(bases, operands, AT.c0)
        hn, cn = tensor(bases, operands, AT.hn), tensor(bases, operands, AT.cn)
        lengths, mask = tensor(bases, operands, AT.lengths), tensor(bases, operands, AT.mask)

        h = pointer(tensor(bases, operands, AT.scratch), dtype)
        lanes = lanes_of(h)
        padded = (H + lanes - 1) // lanes * lanes
        reverse, chunk = operands[AT.reverse] != 0, operands[AT.chunk]
        regions = _scratch(N, padded, groups, chunk, lanes)
        h_next, c, projected = offset(h, regions.odd), offset(h, regions.c), offset(h, regions.projected)
        visible = pointer(tensor(bases, operands, AT.visible), "int64")
        layer = RecurrentDirection(
            operands=operands,
            parameters=pointer(tensor(bases, operands, AT.parameters), dtype),
            gemm=bases[BASES.gemm_panel],
            pair=bases[BASES.gemm_pair],
            x=pointer(tensor(bases, operands, AT.x), dtype),
            w_ih=pointer(tensor(bases, operands, AT.weight_ih), dtype),
            w_hh=pointer(tensor(bases, operands, AT.weight_hh), dtype),
            bias=pointer(tensor(bases, operands, AT.bias), dtype),
            peephole=pointer(tensor(bases, operands, AT.peephole), dtype),
            c=c,
            sums=offset(h, regions.sums),
            visible=visible,
            padded=padded,
        )
        seen = offset(visible, N)
        for n in range(N):
            seen[n] = 0
            begin(h0, offset(h, n * padded), n, H, padded)
            begin(c0, offset(c, n * padded), n, H, padded)

        done, left = 0, np.int64(LOOK_WORK)
        while done < T:
            steps = min(chunk, T - done)
            start = T - done - steps if reverse else done
            project(layer, projected, start, steps)
            for s in range(steps):
                local = steps - 1 - s if reverse else s
                t = start + local
                look(operands, lengths, mask, visible, t)
                x_row = offset(projected, groups * local * N * padded)
                step(layer, x_row, h, h_next, team[TEAM.parity] + done + s)
                for n in range(N):
                    if visible[n] != 0:
                        seen[n] = 1
                    if y != 0:
                        target = offset(pointer(y, dtype), t * operands[AT.y_t] + n * operands[AT.y_n])
                        held = mask != 0 and operands[AT.carry] != 0 and seen[n] != 0
                        if lengths != 0:
                            held = held and t < pointer(lengths, "int64")[n]
                        if visible[n] != 0 or held:
                            copy_row(offset(h_next, n * padded), target, H)
                        else:
                            clear_row(splat(zero), target, H)
                h, h_next = h_next, h
                left = spend(left, operands[AT.work], team, bases)
                if left < 0:
                    return
            done += steps

        for n in range(N):
            if hn != 0:
                copy_row(offset(h, n * padded), offset(pointer(hn, dtype), n * H), H)
            if cn != 0:
                copy_row(offset(c, n * padded), offset(pointer(cn, dtype), n * H), H)

    return handle

"""The input GEMM of a GRU, many steps at a time, and the preparation of rows for weights of each precision.

With weights of the model's own dtype, rows are read where they lie. Low-precision weights need quantised rows
(`kernels.lowp`). Each member of a team quantises for itself, because that takes less time than meeting.
"""

from typing import Any, Final, NamedTuple

import numpy as np

from fastgru.kernels.gru_step import Matrix, Rows, by_gate, by_panels, panel_at
from fastgru.kernels.lowp import WEIGHTS, LowpWeights
from fastgru.kernels.operands.gru import GRU
from fastgru.kernels.operands.lowp import LOWP_STEP_ROWS
from fastgru.kernels.operands.recurrent import STEP_ROWS
from fastgru.kernels.registry import inlined, kernel
from fastgru.kernels.rows import copy_row
from fastgru.simd.memory import call_native, offset
from fastgru.simd.target import AMX

__all__ = ["PRECISIONS", "GRUPrecision", "make_project", "make_project_panel"]

AT = GRU.at


class GRUPrecision(NamedTuple):
    """The parts of a GRU's handlers that depend on the precision of its weights.

    element: the element type of packed weights and of quantised rows, None for that of the model.
    microkernels: the names of (quantise, panel, gates), the first "" if rows are not quantised. uses: as in a recipe.
    depth(K): elements of an output in the weights. input_row(K): elements of a gathered or quantised row of x.
    state_row(K): elements of a quantised row of the state. value(v): converts a sum for the gates.
    quantise(gru, source, rows): prepares this member's first `rows` rows of a state for the GEMM; (pointer, stride).
    gather(gru, source, stride, rows, target): brings rows of x, `stride` apart, to where the GEMM reads them.
    multiply: `gru_step.by_gate` or `gru_step.by_panels`. step_rows: rows of a step whose gate sums are kept at once.
    """

    element: str | None
    microkernels: tuple[str, str, str]
    uses: tuple[str, ...]
    depth: Any
    input_row: Any
    state_row: Any
    value: Any
    quantise: Any
    gather: Any
    multiply: Any
    step_rows: int


def make_project_panel(precision: GRUPrecision) -> Any:
    """Return project_panel(gru, panel, rows_x, stride_x, rows, out), the input GEMM of one panel for `rows` rows."""
    multiply = precision.multiply

    @inlined
    def project_panel(gru, panel, rows_x, stride_x, rows, out):
        at, size = 3 * panel.first, panel.size
        w, bias, target = offset(gru.w_ih, at * gru.depth_x), offset(gru.bias_x, at), offset(out, at)
        if rows == 1:
            call_native(gru.gates, rows_x, w, gru.I, panel.width, bias, offset(bias, 2 * size), target)
            return
        matrix = Matrix(w, gru.I, gru.depth_x)
        multiply(gru, panel, Rows(rows_x, stride_x, rows), matrix, 3, bias, 0, bias, target, 3 * gru.padded)

    return project_panel


def make_project(precision: GRUPrecision) -> Any:
    """Return project(gru, batch, start, steps), the input GEMM of `steps` steps from `start`, in ascending time.

    The outputs of step t become rows batch.starts[t] to batch.starts[t + 1].
    """
    row_of, gather, in_place = precision.input_row, precision.gather, precision.element is None
    project_panel = make_project_panel(precision)

    @inlined
    def project(gru, batch, start, steps):
        x_t, x_n, starts = gru.operands[AT.x_t], gru.operands[AT.x_n], batch.starts
        source = offset(gru.x, start * x_t)
        rows_x, stride, rows, passes = gru.inputs, row_of(gru.I), starts[steps], 1
        if batch.ragged:
            for t in range(steps):
                for p in range(starts[t + 1] - starts[t]):
                    row = offset(source, t * x_t + batch.order[p] * x_n)
                    gather(gru, row, x_n, np.int64(1), offset(gru.inputs, (starts[t] + p) * stride))
        elif in_place:
            rows_x, stride, rows, passes = offset(source, gru.row * x_n), x_n, gru.count, steps
            if gru.count == 1:
                stride, rows, passes = x_t, steps, 1
            elif x_t == gru.count * x_n:
                rows, passes = steps * gru.count, 1
        elif gru.count == 1:
            gather(gru, offset(source, gru.row * x_n), x_t, steps, gru.inputs)
        else:
            for t in range(steps):
                row = offset(source, t * x_t + gru.row * x_n)
                gather(gru, row, x_n, gru.count, offset(gru.inputs, t * gru.count * stride))
        for t in range(passes):
            out = offset(gru.projected, t * rows * 3 * gru.padded)
            for p in range(gru.first_panel, gru.last_panel):
                project_panel(gru, panel_at(gru, p, 0), offset(rows_x, t * x_t), stride, rows, out)

    return project


@kernel
def _same(K):
    return K


@kernel
def _none(K):
    return 0


@kernel
def _value(v):
    return v


@inlined
def _quantise_nothing(gru, source, rows):
    return offset(source, gru.row * gru.padded), gru.padded


@inlined
def _copy_rows(gru, source, stride, rows, target):
    for m in range(rows):
        copy_row(offset(source, m * stride), offset(target, m * gru.I), gru.I)


def _lowp(weights: LowpWeights) -> GRUPrecision:
    row_of = weights.row

    @inlined
    def quantise(gru, source, rows):
        stride = row_of(gru.H)
        call_native(
            gru.quantise, offset(source, gru.row * gru.padded), gru.padded, rows, gru.H, gru.states, stride
        )  # fmt: skip
        return gru.states, stride

    @inlined
    def gather(gru, source, stride, rows, target):
        call_native(gru.quantise, source, stride, rows, gru.I, target, row_of(gru.I))

    return GRUPrecision(
        "uint8", weights.microkernels, weights.uses, weights.depth, row_of, row_of, weights.value, quantise, gather,
        by_panels if AMX else by_gate, LOWP_STEP_ROWS,
    )  # fmt: skip


PRECISIONS: Final = {
    "": GRUPrecision(
        None,
        ("", "gemm_panel", "gemm_gates"),
        (),
        _same,
        _same,
        _none,
        _value,
        _quantise_nothing,
        _copy_rows,
        by_gate,
        STEP_ROWS,
    ),
    **{name: _lowp(weights) for name, weights in WEIGHTS.items()},
}

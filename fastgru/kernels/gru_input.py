"""The input products of a GRU, many steps at a time, and what weights of a precision ask of the rows they multiply.

With weights of the model's own dtype rows are taken where they lie; smaller weights want rows made ready
(`kernels.lowp`), which a member of a team does for itself: that costs less than meeting.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from fastgru.kernels.gemm import panel_first, panel_width, product_panels
from fastgru.kernels.lowp import WEIGHTS, LowpWeights
from fastgru.kernels.operands.gru import GRU
from fastgru.kernels.registry import BASES, kernel
from fastgru.simd.memory import call_native, lanes_of, load, load_tail, offset, store, store_tail

__all__ = ["FORMS", "Form", "clear_row", "copy_row"]

AT = GRU.at


class Form(NamedTuple):
    """What the handlers of a GRU do by the precision of their weights.

    weights: name of the element type of packed weights and of rows that are ready, None for that of the model.
    parts: (rows, panel, gates), names; the first "" where there is nothing to do. depth(K): elements of an output in
    the weights. row(K): elements of a gathered input row. state(K): of a row of the state that is ready.
    value(v): a sum, as the gates take it.
    ready(part, source, first, count, padded, H, buffer): (pointer, stride) of rows of the state for the products.
    project(...): input products of `steps` steps from `first`, in ascending time, `count` rows from `row`, step by
        step; of a ragged batch those of step t become rows starts[t] to starts[t + 1]. `fresh` is false where the
        rows have been gathered already.
    """

    weights: str | None
    parts: tuple[str, str, str]
    depth: Any
    row: Any
    state: Any
    value: Any
    ready: Any
    project: Any

    @property
    def bases(self) -> tuple[int, int, int]:
        """Where the addresses of the parts stand; what stands for a part that there is not is never called."""
        rows, panel, gates = (getattr(BASES, name or "arena") for name in self.parts)
        return rows, panel, gates


@kernel
def copy_row(source, target, first, last, end):
    """target[first:last] = source[first:last], vector by vector; `end` is where target ends."""
    lanes = lanes_of(source)
    i = first
    while i + lanes <= end and i < last:
        store(target, i, load(source, i))
        i += lanes
    if i < last:
        store_tail(target, i, load_tail(source, i, end - i), end - i)


@kernel
def clear_row(zero, target, first, last, end):
    """target[first:last] = zero, vector by vector."""
    lanes = lanes_of(target)
    i = first
    while i + lanes <= end and i < last:
        store(target, i, zero)
        i += lanes
    if i < last:
        store_tail(target, i, zero, end - i)


@kernel
def _one_row(gates_part, x, w, depth, bias, out, I, vectors, panels):
    lanes = lanes_of(out)
    for p in range(panels[0], panels[1]):
        v = panel_first(vectors, p)
        width = panel_width(vectors - v)
        at = 3 * v * lanes
        last = offset(bias, at + 2 * width * lanes)
        call_native(gates_part, x, offset(w, at * depth), I, width, offset(bias, at), last, offset(out, at))


@kernel
def _same(K):
    return K


@kernel
def _none(K):
    return 0


@kernel
def _value(v):
    return v


@kernel
def _ready_as_they_are(part, source, first, count, padded, H, buffer):
    return offset(source, first * padded), padded


@kernel
def _project_as_they_are(
    parts, operands, x, w, depth, bias, out, first, steps, padded, row, count, panels, ragged, order, starts, gathered,
    fresh,
):  # fmt: skip
    batch, width_in, x_t, x_n = operands[AT.N], operands[AT.I], operands[AT.x_t], operands[AT.x_n]
    vectors, width_out = padded // lanes_of(x), 3 * padded
    start = offset(x, first * x_t + row * x_n)
    if ragged:
        for t in range(steps):
            for p in range(starts[t + 1] - starts[t]):
                source = offset(x, (first + t) * x_t + order[p] * x_n)
                copy_row(source, offset(gathered, (starts[t] + p) * width_in), np.int64(0), width_in, width_in)
    elif steps * batch == 1:
        _one_row(parts[2], start, w, depth, bias, out, width_in, vectors, panels)
        return
    rows, stride, passes = count, x_n, steps
    if ragged:
        start, rows, stride, passes = gathered, starts[steps], width_in, 1
    elif batch == 1:
        rows, stride, passes = steps, x_t, 1
    elif count == batch and x_t == batch * x_n:
        rows, passes = steps * batch, 1
    for t in range(passes):
        product_panels(
            parts[1], offset(start, t * x_t), stride, rows, w, width_in, depth, vectors, 3, panels[0], panels[1],
            bias, 0, offset(out, t * count * width_out), width_out,
        )  # fmt: skip


def _plain_form() -> Form:
    parts = ("", "gemm_panel", "gemm_gates")
    return Form(None, parts, _same, _same, _none, _value, _ready_as_they_are, _project_as_they_are)


def _lowp_form(weights: LowpWeights) -> Form:
    row_of = weights.row

    @kernel
    def ready(part, source, first, count, padded, H, buffer):
        stride = row_of(H)
        call_native(part, offset(source, first * padded), padded, count, H, buffer, stride)
        return buffer, stride

    @kernel
    def project(
        parts, operands, x, w, depth, bias, out, first, steps, padded, row, count, panels, ragged, order, starts,
        gathered, fresh,
    ):  # fmt: skip
        batch, width_in, x_t, x_n = operands[AT.N], operands[AT.I], operands[AT.x_t], operands[AT.x_n]
        vectors, stride = padded // lanes_of(x), row_of(width_in)
        rows = starts[steps] if ragged else steps * count
        if fresh and ragged:
            for t in range(steps):
                for p in range(starts[t + 1] - starts[t]):
                    source = offset(x, (first + t) * x_t + order[p] * x_n)
                    target = offset(gathered, (starts[t] + p) * stride)
                    call_native(parts[0], source, x_n, np.int64(1), width_in, target, stride)
        elif fresh:
            start = offset(x, first * x_t + row * x_n)
            if batch == 1:
                call_native(parts[0], start, x_t, steps, width_in, gathered, stride)
            else:
                for t in range(steps):
                    target = offset(gathered, t * count * stride)
                    call_native(parts[0], offset(start, t * x_t), x_n, count, width_in, target, stride)
        if rows == 1:
            _one_row(parts[2], gathered, w, depth, bias, out, width_in, vectors, panels)
            return
        product_panels(
            parts[1], gathered, stride, rows, w, width_in, depth, vectors, 3, panels[0], panels[1], bias, 0, out,
            3 * padded,
        )  # fmt: skip

    return Form("uint8", weights.parts, weights.depth, row_of, row_of, weights.value, ready, project)


FORMS: Final = {"": _plain_form(), **{name: _lowp_form(weights) for name, weights in WEIGHTS.items()}}

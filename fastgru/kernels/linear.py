"""y = x W^T + b: the GEMM of `kernels.gemm`, panel by panel, which writes to y directly if whole vectors fit."""

from typing import Any, NamedTuple

import numpy as np

from fastgru.kernels.gemm import panel_count, panel_first, panel_width
from fastgru.kernels.lowp import WEIGHTS
from fastgru.kernels.operands.linear import EDGE_ROWS, LINEAR, LOWP_LINEAR
from fastgru.kernels.operands.team import LOOK_WORK, TEAM
from fastgru.kernels.registry import BASES, handler, kernel, tensor
from fastgru.kernels.team import share, spend
from fastgru.simd.memory import call_native, lanes_of, load, offset, pointer, store, store_tail

__all__ = ["Affine", "affine", "make_lowp_linear"]

AT = LINEAR.at
LOWP_AT = LOWP_LINEAR.at


class Affine(NamedTuple):
    """Panels `first` to `last` of a linear layer.

    gemm: the address of the microkernel "gemm_panel" or of one for another precision. depth: elements of an output in
    w. start: the bias, padded. edge: room for a panel that is wider than the rest of y.
    """

    gemm: Any
    w: Any
    K: Any
    depth: Any
    O: Any
    first: Any
    last: Any
    start: Any
    edge: Any


@kernel
def affine(team, bases, layer, x, x_stride, rows, y):
    """y (rows, O) = start + x W^T. Returns False if the run ends before that is done."""
    lanes, K, O = lanes_of(y), layer.K, layer.O
    vectors = (O + lanes - 1) // lanes
    left = np.int64(LOOK_WORK)
    for p in range(layer.first, layer.last):
        v = panel_first(vectors, p)
        width = panel_width(vectors - v)
        first, size = v * lanes, width * lanes
        panel, bias, out = offset(layer.w, first * layer.depth), offset(layer.start, first), offset(y, first)
        whole = first + size <= O
        most = (LOOK_WORK // (K * size + 1) // EDGE_ROWS + 1) * EDGE_ROWS if whole else EDGE_ROWS
        m = 0
        while m < rows:
            some = min(most, rows - m)
            source, target = offset(x, m * x_stride), offset(out, m * O)
            if whole:
                call_native(layer.gemm, source, x_stride, some, panel, K, width, bias, 0, target, O)
            else:
                call_native(layer.gemm, source, x_stride, some, panel, K, width, bias, 0, layer.edge, size)
                for i in range(some):
                    row = offset(target, i * O)
                    u = 0
                    while first + u + lanes <= O:
                        store(row, u, load(layer.edge, i * size + u))
                        u += lanes
                    if first + u < O:
                        store_tail(row, u, load(layer.edge, i * size + u), O - first - u)
            m += some
            left = spend(left, some * K * size, team, bases)
            if left < 0:
                return False
    return True


@handler("linear", "float32", "float64", microkernels=("gemm_panel",))
def linear(dtype: str) -> Any:
    """y = x W^T + b for rows of x that have one stride."""

    def handle(operands, bases, team):
        x, w = pointer(tensor(bases, operands, AT.x), dtype), pointer(tensor(bases, operands, AT.weight), dtype)
        start, y = pointer(tensor(bases, operands, AT.start), dtype), pointer(tensor(bases, operands, AT.y), dtype)
        edge = pointer(tensor(bases, operands, AT.edge), dtype)
        K, O = operands[AT.K], operands[AT.O]
        first, last = 0, panel_count((O + lanes_of(y) - 1) // lanes_of(y))
        if operands[AT.shared] != 0:
            first, last = share(last, team)
        layer = Affine(bases[BASES.gemm_panel], w, K, K, O, first, last, start, edge)
        affine(team, bases, layer, x, operands[AT.x_stride], operands[AT.rows], y)

    return handle


def make_lowp_linear(dtype: str, precision: str, quantise: Any) -> Any:
    """Return the handler for rows of `dtype` and weights in `precision`: it quantises and multiplies rows in blocks.

    quantise(bases, x, x_stride, rows, K, out, out_stride): converts rows to the format that the weights need.
    """
    depth_of, row_of = WEIGHTS[precision].depth, WEIGHTS[precision].row
    panel_at = getattr(BASES, f"{precision}_panel")

    def handle(operands, bases, team):
        x = pointer(tensor(bases, operands, LOWP_AT.x), dtype)
        w = pointer(tensor(bases, operands, LOWP_AT.weight), "uint8")
        start = pointer(tensor(bases, operands, LOWP_AT.start), "float32")
        y = pointer(tensor(bases, operands, LOWP_AT.y), "float32")
        edge = pointer(tensor(bases, operands, LOWP_AT.edge), "float32")
        quantised = pointer(tensor(bases, operands, LOWP_AT.quantised), "uint8")
        rows, K, O = operands[LOWP_AT.rows], operands[LOWP_AT.K], operands[LOWP_AT.O]
        x_stride, block, stride = operands[LOWP_AT.x_stride], operands[LOWP_AT.block], row_of(K)
        first, last = 0, panel_count((O + lanes_of(y) - 1) // lanes_of(y))
        if operands[LOWP_AT.shared] != 0:
            first, last = share(last, team)
            quantised = offset(quantised, team[TEAM.number] * block * stride)
        layer = Affine(bases[panel_at], w, K, depth_of(K), O, first, last, start, edge)
        m = 0
        while m < rows:
            some = min(block, rows - m)
            quantise(bases, offset(x, m * x_stride), x_stride, some, K, quantised, stride)
            if not affine(team, bases, layer, quantised, stride, some, offset(y, m * O)):
                return
            m += some

    return handle


def _enter(precision: str) -> None:
    """Register the handler for weights of a precision."""
    quantise_at = getattr(BASES, f"{precision}_quantise")

    @kernel
    def quantise(bases, x, x_stride, rows, K, out, out_stride):
        call_native(bases[quantise_at], x, x_stride, rows, K, out, out_stride)

    def factory(dtype: str) -> Any:
        return make_lowp_linear(dtype, precision, quantise)

    factory.__doc__ = f"y = x W^T + b with weights in {precision}, the rows of x quantised a block at a time."
    microkernels = (f"{precision}_quantise", f"{precision}_panel")
    handler(f"linear_{precision}", "float32", microkernels=microkernels, uses=WEIGHTS[precision].uses)(factory)


_enter("bfloat16")
_enter("int8")

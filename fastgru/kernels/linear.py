"""y = x W^T + b: `kernels.product` panel by panel, straight into y where whole vectors fit."""

from __future__ import annotations

from typing import Any, Final

from fastgru.kernels.operands.linear import EDGE_ROWS
from fastgru.kernels.product import panel_count, panel_first, panel_width
from fastgru.kernels.registry import PARTS, handler, kernel, tensor
from fastgru.kernels.small import WEIGHTS
from fastgru.kernels.team import share
from fastgru.simd.memory import call_native, lanes_of, load, offset, pointer, store, store_tail

__all__ = ["affine"]

_PANEL: Final = PARTS["product_panel"]


@kernel
def affine(part, x, x_stride, rows, w, K, depth, O, begin, end, start, y, scratch):
    """Panels `begin` to `end` of y (rows, O) = start + x W^T.

    `part` is the address of the part "product_panel" or of one of its like, `depth` the elements of w of an output.
    """
    lanes = lanes_of(y)
    vectors = (O + lanes - 1) // lanes
    for p in range(begin, end):
        v = panel_first(vectors, p)
        width = panel_width(vectors - v)
        first, size = v * lanes, width * lanes
        panel, bias, out = offset(w, first * depth), offset(start, first), offset(y, first)
        if first + size <= O:
            call_native(part, x, x_stride, rows, panel, K, width, bias, 0, out, O)
        else:
            m = 0
            while m < rows:
                some = min(EDGE_ROWS, rows - m)
                call_native(part, offset(x, m * x_stride), x_stride, some, panel, K, width, bias, 0, scratch, size)
                for i in range(some):
                    row = offset(out, (m + i) * O)
                    u = 0
                    while first + u + lanes <= O:
                        store(row, u, load(scratch, i * size + u))
                        u += lanes
                    if first + u < O:
                        store_tail(row, u, load(scratch, i * size + u), O - first - u)
                m += some


@handler("linear", "float32", "float64", parts=("product_panel",))
def linear(dtype: str) -> Any:
    """y = x W^T + b for rows of x that lie at one stride.

    Operands: x, weight (panels), start (bias, padded), y (rows, O), scratch; rows, K, O, x_stride, whether a team
    shares the panels.
    """

    def handle(operands, bases, team):
        x, w = pointer(tensor(bases, operands, 0), dtype), pointer(tensor(bases, operands, 2), dtype)
        start, y = pointer(tensor(bases, operands, 4), dtype), pointer(tensor(bases, operands, 6), dtype)
        scratch = pointer(tensor(bases, operands, 8), dtype)
        rows, K, O, x_stride = operands[10], operands[11], operands[12], operands[13]
        begin, end = 0, panel_count((O + lanes_of(x) - 1) // lanes_of(x))
        if operands[14] != 0:
            begin, end = share(end, team[0], team[1]), share(end, team[0] + 1, team[1])
        affine(bases[_PANEL], x, x_stride, rows, w, K, K, O, begin, end, start, y, scratch)

    return handle


def _enter(precision: str) -> None:
    """The handler for weights of a precision."""
    weights = WEIGHTS[precision]
    depth_of, row_of = weights.depth, weights.row
    rows_at, panel_at = PARTS[weights.parts[0]], PARTS[weights.parts[1]]

    def factory(dtype: str) -> Any:
        def handle(operands, bases, team):
            x, w = pointer(tensor(bases, operands, 0), dtype), pointer(tensor(bases, operands, 2), "uint8")
            start, y = pointer(tensor(bases, operands, 4), dtype), pointer(tensor(bases, operands, 6), dtype)
            scratch, ready = pointer(tensor(bases, operands, 8), dtype), pointer(tensor(bases, operands, 10), "uint8")
            rows, K, O, x_stride = operands[12], operands[13], operands[14], operands[15]
            block, depth, stride = operands[17], depth_of(operands[13]), row_of(operands[13])
            begin, end = 0, panel_count((O + lanes_of(x) - 1) // lanes_of(x))
            if operands[16] != 0:
                begin, end = share(end, team[0], team[1]), share(end, team[0] + 1, team[1])
                ready = offset(ready, team[0] * block * stride)
            m = 0
            while m < rows:
                some = min(block, rows - m)
                call_native(bases[rows_at], offset(x, m * x_stride), x_stride, some, K, ready, stride)
                affine(
                    bases[panel_at], ready, stride, some, w, K, depth, O, begin, end, start, offset(y, m * O), scratch
                )
                m += some

        return handle

    factory.__doc__ = f"""y = x W^T + b with weights in {precision}, the rows of x made ready a block at a time.

    Operands: as for "linear", the last tensor being room for the rows of each member; then the rows of a block.
    """
    handler(f"linear_{precision}", "float32", parts=weights.parts[:2])(factory)


_enter("bfloat16")
_enter("int8")

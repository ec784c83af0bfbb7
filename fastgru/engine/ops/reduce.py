"""Reductions: the axes that go are brought to the end, so that every output is one contiguous row."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from fastgru.engine.buffers import Constant, Value, View, contiguous_strides
from fastgru.engine.builder import PlanBuilder
from fastgru.engine.lowering import lowering
from fastgru.engine.ops.cast import as_dtype
from fastgru.engine.ops.elementwise import wide
from fastgru.engine.ops.softmax import last_axis, permuted
from fastgru.errors import ShapeError, UnsupportedModelError
from fastgru.graph import Node
from fastgru.kernels.operands import reduce as kernel
from fastgru.reference import evaluate
from fastgru.reference.shape import normal_axis

__all__ = ["lower_arg", "lower_cumsum", "lower_reduce", "reduced"]


@lowering("reduce")
def lower_reduce(builder: PlanBuilder, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    """x reduced over `axes`, over all when there are none."""
    value = inputs[0]
    assert value is not None
    kind, keepdims = node.attrs["kind"], node.attrs["keepdims"]
    gone = sorted({normal_axis(a, value.ndim) for a in node.attrs["axes"]}) or list(range(value.ndim))
    dtype = builder.dtype(value)
    if kind in ("all", "any") and dtype != "bool":
        raise ShapeError(f"{kind}: x has dtype {dtype}, expected bool")
    if prod(value.shape[i] for i in gone) == 0:  # the same number everywhere, which does not depend on the data
        return [Constant(evaluate(node, [np.empty(value.shape, dtype)])[0])]
    return [reduced(builder, builder.view(value), kind, gone, keepdims=keepdims)]


def reduced(builder: PlanBuilder, x: View, kind: str, gone: Sequence[int], *, keepdims: bool) -> View:
    """x reduced over the axes `gone`, counted from 0."""
    kept = [i for i in range(x.ndim) if i not in gone]
    n = prod(x.shape[i] for i in gone)
    shape = tuple(1 if i in gone else s for i, s in enumerate(x.shape) if keepdims or i in kept)
    rows = builder.contiguous(permuted(x, [*kept, *gone]))
    return _shaped(_reduced(builder, rows, kind, prod(shape), n), shape)


def _reduced(builder: PlanBuilder, x: View, kind: str, rows: int, n: int) -> View:
    """The x (rows, n) -> (rows,), by the kernel of its dtype."""
    if x.dtype == "bool":
        if kind not in ("all", "any", *kernel.BOOL_CODES):
            raise UnsupportedModelError(f"{kind} of bool: cast it to a number before")
        return _emit(builder, "reduce", x, rows, n, kernel.BOOL_CODES[kind])
    if x.dtype == builder.float_dtype:
        if kind in kernel.SUM_CODES:
            return _emit(builder, "reduce_sum", x, rows, n, kernel.SUM_CODES[kind])
        return _emit(builder, "reduce_extreme", x, rows, n, kernel.EXTREME_CODES[kind])
    if kind in kernel.INTEGER_CODES:
        result = _emit(builder, "reduce", as_dtype(builder, x, "int64"), rows, n, kernel.INTEGER_CODES[kind])
        return as_dtype(builder, result, x.dtype)
    # What is not an integer is computed in float64 and cut off at the end.
    real = as_dtype(builder, x, "float64")
    if kind in kernel.SUM_CODES:
        result = _emit(builder, "reduce_sum", real, rows, n, kernel.SUM_CODES[kind])
    else:
        result = _emit(builder, "reduce_extreme", real, rows, n, kernel.EXTREME_CODES[kind])
    return as_dtype(builder, result, x.dtype)


def _emit(builder: PlanBuilder, op: str, x: View, rows: int, n: int, code: int) -> View:
    y = builder.new((rows,), x.dtype)
    if rows:
        builder.emit(op, x.dtype, [x, y], [rows, n, code], writes=1)
    return y


def _shaped(view: View, shape: tuple[int, ...]) -> View:
    return View(view.buffer, view.offset, shape, contiguous_strides(shape), view.dtype)


@lowering("arg")
def lower_arg(builder: PlanBuilder, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    """Where the largest or smallest element along an axis is."""
    assert inputs[0] is not None
    axis, kind = normal_axis(node.attrs["axis"], inputs[0].ndim), node.attrs["kind"]
    if inputs[0].shape[axis] == 0:
        raise ShapeError(f"arg{kind}: axis {axis} of shape {inputs[0].shape} is empty")
    x, _ = last_axis(builder, wide(builder, inputs[0]), axis)
    y = builder.new(x.shape[:-1], "int64")
    if y.size:
        words = [y.size, x.shape[-1], kind == "min", bool(node.attrs["select_last"])]
        builder.emit("arg", x.dtype, [x, y], words)
    shape = tuple(1 if i == axis else n for i, n in enumerate(inputs[0].shape))
    return [_shaped(y, shape if node.attrs["keepdims"] else x.shape[:-1])]


@lowering("cumsum")
@lowering("cumprod")
def lower_cumsum(builder: PlanBuilder, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    """The running sum or product along an axis."""
    assert inputs[0] is not None
    dtype = builder.dtype(inputs[0])
    if dtype == "bool":
        raise UnsupportedModelError(f"{node.op} of bool: cast it to a number before")
    x, back = last_axis(builder, wide(builder, inputs[0]), node.attrs["axis"])
    y = builder.new(x.shape, x.dtype)
    if x.size:
        words = [prod(x.shape[:-1]), x.shape[-1], bool(node.attrs["exclusive"]), bool(node.attrs["reverse"])]
        words.append(node.op == "cumprod")
        builder.emit("cumsum", x.dtype, [x, y], words)
    return [as_dtype(builder, permuted(y, back), dtype)]

"""Reductions: the reduced axes are moved to the end, so that every output comes from one contiguous row."""

from collections.abc import Sequence
from math import prod

import numpy as np

from fastgru.engine.buffers import contiguous_strides
from fastgru.engine.lowering import Constant, Node, PlanBuilder, Value, View, lowering
from fastgru.engine.ops.cast import as_dtype
from fastgru.engine.ops.elementwise import wide
from fastgru.engine.ops.softmax import last_axis, permuted
from fastgru.errors import ShapeError, UnsupportedModelError
from fastgru.kernels.operands import reduce as kernel
from fastgru.reference import evaluate
from fastgru.reference.shape import normal_axis

__all__ = ["lower_arg", "lower_cumsum", "lower_reduce", "reduced"]


@lowering("reduce", kinds={*kernel.SUMS._fields, *kernel.EXTREMES._fields, *kernel.BOOL_CODES})
def lower_reduce(builder: PlanBuilder, node: Node, value: Value) -> list[Value]:
    """Reduce x over `axes`, or over all axes if none are given."""
    kind, keepdims = node.attrs["kind"], node.attrs["keepdims"]
    gone = sorted({normal_axis(a, value.ndim) for a in node.attrs["axes"]}) or list(range(value.ndim))
    dtype = builder.dtype(value)
    if kind in ("all", "any") and dtype != "bool":
        raise ShapeError(f"{kind}: x has dtype {dtype}, expected bool")
    if prod(value.shape[i] for i in gone) == 0:  # nothing is reduced, so every output is the same known number
        return [Constant(evaluate(node, [np.empty(value.shape, dtype)])[0])]
    return [reduced(builder, builder.view(value), kind, gone, keepdims=keepdims)]


def reduced(builder: PlanBuilder, x: View, kind: str, gone: Sequence[int], *, keepdims: bool) -> View:
    """Return x reduced over the axes `gone`, which are not negative."""
    kept = [i for i in range(x.ndim) if i not in gone]
    n = prod(x.shape[i] for i in gone)
    shape = tuple(1 if i in gone else s for i, s in enumerate(x.shape) if keepdims or i in kept)
    rows = builder.contiguous(permuted(x, [*kept, *gone]))
    return _shaped(_reduced(builder, rows, kind, prod(shape), n), shape)


def _reduced(builder: PlanBuilder, x: View, kind: str, rows: int, n: int) -> View:
    """Reduce x (rows, n) to (rows,) with the kernel of its dtype."""
    if x.dtype == "bool":
        if kind not in kernel.BOOL_CODES:
            raise UnsupportedModelError(f"{kind} of bool is not implemented; cast the bool to a number first")
        return _emit(builder, "reduce", x, rows, n, kernel.BOOL_CODES[kind])
    if x.dtype == builder.float_dtype:
        return _of_floats(builder, x, kind, rows, n)
    if kind in kernel.INTEGER._fields:
        code = getattr(kernel.INTEGER, kind)
        return as_dtype(builder, _emit(builder, "reduce", as_dtype(builder, x, "int64"), rows, n, code), x.dtype)
    # The result of such a reduction is not an integer: it is computed in float64 and truncated at the end.
    return as_dtype(builder, _of_floats(builder, as_dtype(builder, x, "float64"), kind, rows, n), x.dtype)


def _of_floats(builder: PlanBuilder, x: View, kind: str, rows: int, n: int) -> View:
    op, codes = ("sum", kernel.SUMS) if kind in kernel.SUMS._fields else ("extreme", kernel.EXTREMES)
    return _emit(builder, f"reduce_{op}", x, rows, n, getattr(codes, kind))


def _emit(builder: PlanBuilder, op: str, x: View, rows: int, n: int, code: int) -> View:
    y = builder.new((rows,), x.dtype)
    if rows:
        builder.emit(op, x.dtype, kernel.REDUCE, {"x": x, "y": y, "rows": rows, "n": n, "code": code}, writes="y")
    return y


def _shaped(view: View, shape: tuple[int, ...]) -> View:
    return view.as_strided(shape, contiguous_strides(shape))


@lowering("arg", kinds=("max", "min"))
def lower_arg(builder: PlanBuilder, node: Node, value: Value) -> list[Value]:
    """The position of the largest or smallest element along an axis."""
    axis, kind = normal_axis(node.attrs["axis"], value.ndim), node.attrs["kind"]
    if value.shape[axis] == 0:
        raise ShapeError(f"arg{kind}: axis {axis} of shape {value.shape} is empty")
    x, _ = last_axis(builder, wide(builder, value), axis)
    y = builder.new(x.shape[:-1], "int64")
    if y.size:
        builder.emit("arg", x.dtype, kernel.ARG, {
            "x": x, "y": y, "rows": y.size, "n": x.shape[-1], "smallest": kind == "min",
            "last": bool(node.attrs["select_last"]),
        })  # fmt: skip
    shape = tuple(1 if i == axis else n for i, n in enumerate(value.shape))
    return [_shaped(y, shape if node.attrs["keepdims"] else x.shape[:-1])]


@lowering("cumsum")
@lowering("cumprod")
def lower_cumsum(builder: PlanBuilder, node: Node, value: Value) -> list[Value]:
    """The running sum or product along an axis."""
    dtype = builder.dtype(value)
    if dtype == "bool":
        raise UnsupportedModelError(f"{node.op} of bool is not implemented; cast the bool to a number first")
    x, back = last_axis(builder, wide(builder, value), node.attrs["axis"])
    y = builder.new(x.shape, x.dtype)
    if x.size:
        builder.emit("cumsum", x.dtype, kernel.CUMSUM, {
            "x": x, "y": y, "rows": prod(x.shape[:-1]), "n": x.shape[-1], "product": node.op == "cumprod",
            "exclusive": bool(node.attrs["exclusive"]), "reverse": bool(node.attrs["reverse"]),
        })  # fmt: skip
    return [as_dtype(builder, permuted(y, back), dtype)]

"""Operators that make masks or indices (triangles, classes, non-zero elements), or select elements by them.

Masks are comparisons of positions, which are folded into constants if the shapes are known.
"""

import numpy as np

from fastgru.graphbuilder import Value
from fastgru.importers.onnx.builder import OnnxGraphBuilder
from fastgru.importers.onnx.ops.softmax import from_axis_on
from fastgru.importers.onnx.registry import OnnxNode, operator, same
from fastgru.importers.onnx.tensors import dtype_name


def _count(build: OnnxGraphBuilder, size: Value) -> Value:
    """Return 0, 1, ..., size - 1. size: of shape (1,) or ()."""
    limit = build.emit("reshape", size, build.integers([]))
    return build.emit("range", build.constant(0, dtype="int64"), limit, build.constant(1, dtype="int64"))


def _diagonals(x: Value, build: OnnxGraphBuilder) -> Value:
    """Return column minus row for each position in the last two axes."""
    rows = _count(build, build.emit("shape", x, start=-2, end=-1))
    columns = _count(build, build.emit("shape", x, start=-1))
    return build.emit("binary", columns, build.emit("unsqueeze", rows, axes=[1]), kind="sub")


@operator("Trilu", versions=(14,), inputs=(1, 2), sizes=(1,))
def _trilu(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    x, k = node.input(0), node.optional(1) or build.integers([0])
    kind = "greater_equal" if node.attrs.flag("upper", True) else "less_equal"
    kept = build.emit("compare", _diagonals(x, build), build.emit("reshape", k, build.integers([])), kind=kind)
    return build.emit("where", kept, x, build.scalar(0, x))


@operator("EyeLike", versions=(9, 22), inputs=(1, 1))
def _eye_like(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    x, k = node.input(0), node.attrs.integer("k", 0)
    to = dtype_name(node.attrs.integer("dtype"), node.what) if "dtype" in node.attrs else x.dtype
    if to is None:
        raise node.unsupported("the element type of its input does not follow from the file", "give attribute 'dtype'")
    ones = build.emit("compare", _diagonals(x, build), build.constant(k, dtype="int64"), kind="equal")
    return build.emit("cast", ones, to=to)


def _along(positions: Value, axis: int, rank: int | None, node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    """Reshape a vector so that it broadcasts along `axis` of a tensor of `rank` axes."""
    if axis >= 0 and rank is None:
        raise node.unsupported("the number of axes of its input does not follow from the file", "give a negative axis")
    after = -axis - 1 if axis < 0 else (rank or 0) - axis - 1
    if after < 0:
        raise node.invalid(f"attribute 'axis' is {axis} for {rank} axes")
    return build.emit("unsqueeze", positions, axes=list(range(1, after + 1))) if after else positions


@operator("OneHot", versions=(9, 11, 28), inputs=(3, 3), sizes=(1,))
def _one_hot(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    """Encode class indices; from version 11 on, -depth to -1 count from the end. Other indices match no class."""
    indices, depth, values = (node.input(i) for i in range(3))
    axis = node.attrs.integer("axis", -1)
    indices = build.emit("cast", indices, to="int64")
    depth = build.emit("reshape", build.emit("cast", depth, to="int64"), build.integers([]))
    zero = build.constant(0, dtype="int64")
    below = build.emit("compare", indices, zero, kind="less")
    if node.version >= 11:
        wrapped = build.emit("binary", indices, depth, kind="add")
        indices = build.emit("where", below, wrapped, indices)
    rank = None if indices.rank is None else indices.rank + 1
    classes = _along(_count(build, depth), axis, rank, node, build)
    hit = build.emit("compare", build.emit("unsqueeze", indices, axes=[axis]), classes, kind="equal")
    off, on = (build.emit("gather", values, build.constant(i, dtype="int64"), axis=0) for i in (0, 1))
    return build.emit("where", hit, on, off)


@operator("Hardmax", versions=(1, 11, 13), inputs=(1, 1))
def _hardmax(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    return from_axis_on(node, build, lambda x, axis: _hit(x, axis, node, build))


def _hit(x: Value, axis: int, node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    if x.dtype is None:
        raise node.unsupported("the element type of its input does not follow from the file", "declare it")
    top = build.emit("arg", x, kind="max", axis=axis, keepdims=True, select_last=False)
    stop = {} if axis == -1 else {"end": axis + 1}
    places = _along(_count(build, build.emit("shape", x, start=axis, **stop)), axis, x.rank, node, build)
    return build.emit("cast", build.emit("compare", top, places, kind="equal"), to=x.dtype)


operator("NonZero", versions=(9, 13), inputs=(1, 1), sizes=(0,))(same("nonzero"))


@operator("Compress", versions=(9, 11, 28), inputs=(2, 2), constants={1: "condition"})
def _compress(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    x, condition = node.input(0), node.constant(1)
    if condition.dtype != np.bool_ or condition.ndim != 1:
        raise node.invalid(f"condition is {condition.dtype} {condition.shape}, expected a vector of bool")
    kept = build.integers(np.flatnonzero(condition).tolist())
    if "axis" in node.attrs:
        return build.emit("gather", x, kept, axis=node.attrs.integer("axis"))
    return build.emit("gather", build.emit("reshape", x, build.integers([-1])), kept, axis=0)


@operator("Unique", versions=(11, 28), inputs=(1, 1), outputs=4, constants={0: "X"})
def _unique(node: OnnxNode, build: OnnxGraphBuilder) -> tuple[Value, ...]:
    x = node.constant(0)
    in_order = node.attrs.flag("sorted", True)
    axis = node.attrs.integer("axis") if "axis" in node.attrs else None
    if axis is not None and not -x.ndim <= axis < x.ndim:
        raise node.invalid(f"attribute 'axis' is {axis} for {x.ndim} axes")
    y, first, back, counts = np.unique(x, return_index=True, return_inverse=True, return_counts=True, axis=axis)
    back = back.reshape(-1)
    if not in_order:
        order = np.argsort(first, kind="stable")
        y, first, counts = np.take(y, order, axis=0 if axis is None else axis), first[order], counts[order]
        back = np.argsort(order, kind="stable")[back]
    numbers = (build.constant(a, dtype="int64") for a in (first, back, counts))
    return (build.constant(y), *numbers)


@operator("GatherND", versions=(11, 12, 13), inputs=(2, 2))
def _gather_nd(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    lead = node.attrs.integer("batch_dims", 0) if node.version >= 12 else 0
    return build.emit("gather_nd", node.input(0), node.input(1), batch_dims=lead)


operator("ReverseSequence", versions=(10, 28), inputs=(2, 2))(
    same("reverse_sequence", {"time_axis": 0, "batch_axis": 1})
)

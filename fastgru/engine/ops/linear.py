"""Linear layers, and lookups in a table of rows."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from math import prod

import numpy as np

from fastgru.engine.builder import Builder
from fastgru.engine.lowering import lowering
from fastgru.engine.ops.cast import as_dtype
from fastgru.engine.sharing import LINEAR_FLOPS_S
from fastgru.engine.view import Known, Value, View, itemsize
from fastgru.errors import ShapeError, UnsupportedModelError
from fastgru.graph import Node
from fastgru.kernels.linear import scratch_elements
from fastgru.kernels.run import EVERYONE
from fastgru.packing.panels import pack_matrices, pack_vectors, padded
from fastgru.simd.cpu import LANES

__all__ = ["lower_embedding", "lower_linear"]


@lowering("linear")
def lower_linear(builder: Builder, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    """y = x W^T + b over the last axis."""
    x_value, weight, bias = [*inputs, None][:3]
    assert x_value is not None
    if not isinstance(weight, Known) or not (bias is None or isinstance(bias, Known)):
        raise UnsupportedModelError(f"{node}: a weight that is computed from the inputs; use matmul")
    O, K = weight.shape
    x = builder.view(x_value)
    if x.ndim < 1 or x.shape[-1] != K:
        raise ShapeError(f"{node}: x has shape {x.shape}, expected a last axis of {K}")
    if bias is not None and bias.shape != (O,):
        raise ShapeError(f"{node}: bias has shape {bias.shape}, expected {(O,)}")
    rows = prod(x.shape[:-1])
    x, row_stride = _rows(builder, x)
    y = builder.new((*x.shape[:-1], O))
    dtype = builder.float_dtype
    packed = builder.packed((node.inputs[1], "panels"), lambda: pack_matrices([weight.array], dtype))
    start = builder.packed(
        (*node.inputs[2:3], str(O), "start"),
        lambda: pack_vectors([None if bias is None else bias.array.astype(dtype)], O, dtype),
    )
    scratch = builder.new((scratch_elements(O, dtype),))
    seconds = 2.0 * rows * K * O / LINEAR_FLOPS_S
    shared = builder.members > 1 and padded(O, dtype) >= 8 * LANES[dtype] and seconds > 1e-6
    builder.gain_s += seconds * (1 - 1 / builder.members) if shared else 0.0
    words = [rows, K, O, row_stride, shared]
    builder.emit("linear", dtype, [x, packed, start, y, scratch], words, lane=EVERYONE if shared else 0)
    return [y]


def _rows(builder: Builder, x: View) -> tuple[View, int]:
    """x, and the one stride that leads from each row to the next; copied where there is no such stride."""
    row_stride = x.shape[-1]
    if x.strides[-1] == 1 or x.shape[-1] == 1:
        outer = [(n, s) for n, s in zip(x.shape[:-1], x.strides[:-1], strict=True) if n != 1]
        if not outer:
            return x, row_stride
        if all(a[1] == b[1] * b[0] for a, b in itertools.pairwise(outer)):
            return x, outer[-1][1]
    return builder.contiguous(x), row_stride


@lowering("embedding")
def lower_embedding(builder: Builder, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    """Rows of a table by id; an id outside the table is an error when it comes."""
    ids_value, table = inputs[0], inputs[1]
    assert ids_value is not None
    assert table is not None
    ids = builder.contiguous(as_dtype(builder, ids_value, "int64"))
    rows = (
        builder.packed((node.inputs[1], "table"), lambda: np.ascontiguousarray(table.array.astype(builder.float_dtype)))
        if isinstance(table, Known)
        else builder.contiguous(table)
    )
    V, D = rows.shape
    y = builder.new((*ids.shape, D))
    words = [1, ids.size, V, D * itemsize(builder.float_dtype), False]
    builder.emit("gather", "int64", [rows, ids, y], words)
    return [y]

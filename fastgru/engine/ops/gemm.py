"""GEMM: rows times a constant matrix, which is packed once for all plans."""

import itertools
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgru.engine.lowering import Constant, PlanBuilder, Value, View
from fastgru.engine.sharing import LINEAR_FLOPS_S
from fastgru.kernels.operands.linear import LINEAR, LOWP_LINEAR, edge_elements
from fastgru.kernels.operands.lowp import quantised_block
from fastgru.kernels.run import EVERYONE
from fastgru.packing.lowp import pack_bytes, pack_lowp
from fastgru.packing.panels import pack_matrices, pack_vectors, padded
from fastgru.precisions import WEIGHT_BYTES
from fastgru.simd.target import LANES

__all__ = ["byte_gemm", "gemm"]


def gemm(
    builder: PlanBuilder,
    value: Value,
    weight: Constant,
    bias: Constant | None,
    key: tuple[str, ...],
    bias_key: str = "",
    lowp: str | None = None,
) -> View:
    """Return x W^T + b (..., O) for x (..., K), weight (O, K) and bias (O,).

    key, bias_key: the names of weight and bias among the packs. lowp: "bfloat16" or "int8", the precision of the
    weights, or None for that of the plan.
    """
    O, dtype, x = weight.shape[0], builder.float_dtype, builder.view(value)
    if lowp is None:
        panels = builder.packed((*key, "panels"), lambda: pack_matrices([weight.array], dtype), [weight])
    else:
        panels = builder.packed((*key, lowp, "panels"), lambda: pack_lowp([weight.matrix], lowp), [weight])
    start = builder.packed(
        (bias_key, str(O), "start"),
        lambda: pack_vectors([None if bias is None else bias.array.astype(dtype)], O, dtype),
        [bias],
    )
    return _linear(builder, f"linear_{lowp}" if lowp else "linear", dtype, x, panels, start, O, lowp)


def byte_gemm(
    builder: PlanBuilder,
    x: View,
    O: int,
    weight: Callable[[], NDArray[np.int8]],
    key: tuple[str, ...],
    sources: Sequence[Value | None],
) -> View:
    """Return x W^T (..., O) in float32 for x (..., K) of int8 or uint8 and weight (O, K) of int8.

    The kernel subtracts 128 from uint8. No sum of products may exceed 2^24. key: the name of the weight among the
    packs. sources: the values that the weight is made of.
    """
    panels = builder.packed((*key, "bytes", "panels"), lambda: pack_bytes(weight()), sources)
    start = builder.packed(("", str(O), "start"), lambda: pack_vectors([None], O, "float32"))
    return _linear(builder, "linear_bytes", "float32", x, panels, start, O, "int8")


def _linear(
    builder: PlanBuilder, op: str, dtype: str, x: View, panels: View, start: View, O: int, lowp: str | None
) -> View:
    """Return y (..., O) of `dtype`; the sums are over the last axis of x."""
    x, x_stride = _rows(builder, x)
    y = builder.new((*x.shape[:-1], O), dtype)
    if y.size == 0:
        return y
    K, rows = x.shape[-1], prod(x.shape[:-1])
    edge = builder.new((edge_elements(O, dtype),), dtype)
    shared = _shared(builder, rows, K, O, lowp)
    given: dict[str, Any] = {"x": x, "weight": panels, "start": start, "y": y, "edge": edge}
    given |= {"rows": rows, "K": K, "O": O, "x_stride": x_stride, "shared": shared}
    if lowp is not None:
        block, size = quantised_block(rows, K, lowp)
        room = builder.new(((builder.members if shared else 1) * size,), "uint8")
        given |= {"quantised": room, "block": block}
    declared = LINEAR if lowp is None else LOWP_LINEAR
    builder.emit(op, x.dtype, declared, given, member=EVERYONE if shared else 0, writes="y")
    return y


def _shared(builder: PlanBuilder, rows: int, K: int, O: int, lowp: str | None) -> bool:
    """Return whether a team shares the panels, by an estimate of the time, and add the seconds that it saves."""
    dtype = builder.float_dtype
    seconds = 2.0 * rows * K * O / LINEAR_FLOPS_S * WEIGHT_BYTES[lowp or "float32"] / 4
    shared = builder.members > 1 and padded(O, dtype) >= 8 * LANES[dtype] and seconds > 1e-6
    builder.gain_s += seconds * (1 - 1 / builder.members) if shared else 0.0
    return shared


def _rows(builder: PlanBuilder, x: View) -> tuple[View, int]:
    """Return x and the one stride from each row to the next; x is copied if there is no such stride."""
    row_stride = x.shape[-1]
    if x.strides[-1] == 1 or x.shape[-1] == 1:
        outer = [(n, s) for n, s in zip(x.shape[:-1], x.strides[:-1], strict=True) if n != 1]
        if not outer:
            return x, row_stride
        if all(a[1] == b[1] * b[0] for a, b in itertools.pairwise(outer)):
            return x, outer[-1][1]
    return builder.contiguous(x), row_stride

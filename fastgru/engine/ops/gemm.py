"""The product of rows and a constant matrix, packed once for all plans."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from fastgru.engine.buffers import Constant, Value, View
from fastgru.engine.builder import PlanBuilder
from fastgru.engine.sharing import LINEAR_FLOPS_S, WEIGHT_BYTES
from fastgru.kernels.operands.linear import scratch_elements
from fastgru.kernels.operands.lowp import ready_block
from fastgru.kernels.run import EVERYONE
from fastgru.packing.lowp import pack_bytes, pack_lowp
from fastgru.packing.panels import pack_matrices, pack_vectors, padded
from fastgru.simd.cpu import LANES

__all__ = ["byte_product", "product"]


def product(
    builder: PlanBuilder,
    value: Value,
    weight: Constant,
    bias: Constant | None,
    key: tuple[str, ...],
    bias_key: str = "",
    lowp: str | None = None,
) -> View:
    """x (..., K), weight (O, K), bias (O,) -> x W^T + b (..., O). The keys name weight and bias among the packs.

    lowp: "bfloat16" or "int8", the precision of the weights, None for that of the plan.
    """
    O, K = weight.shape
    dtype = builder.float_dtype
    x, row_stride = _rows(builder, builder.view(value))
    y = builder.new((*x.shape[:-1], O))
    if y.size == 0:
        return y
    if lowp is None:
        panels = builder.packed((*key, "panels"), lambda: pack_matrices([weight.array], dtype), [weight])
    else:
        panels = builder.packed((*key, lowp, "panels"), lambda: pack_lowp([weight.matrix], lowp), [weight])
    start = builder.packed(
        (bias_key, str(O), "start"),
        lambda: pack_vectors([None if bias is None else bias.array.astype(dtype)], O, dtype),
        [bias],
    )
    scratch = builder.new((scratch_elements(O, dtype),))
    rows = prod(x.shape[:-1])
    shared = _shared(builder, rows, K, O, lowp)
    words, member = [rows, K, O, row_stride, shared], EVERYONE if shared else 0
    if lowp is None:
        builder.emit("linear", dtype, [x, panels, start, y, scratch], words, member=member, writes=3)
    else:
        block, size = ready_block(rows, K, lowp)
        ready = builder.new(((builder.members if shared else 1) * size,), "uint8")
        tensors = [x, panels, start, y, scratch, ready]
        builder.emit(f"linear_{lowp}", dtype, tensors, [*words, block], member=member, writes=3)
    return y


def byte_product(
    builder: PlanBuilder,
    x: View,
    O: int,
    weight: Callable[[], NDArray[np.int8]],
    key: tuple[str, ...],
    sources: Sequence[Value | None],
) -> View:
    """x (..., K) of int8, or of uint8 less 128; weight (O, K) of int8 -> x W^T (..., O) in float32.

    No sum of products may pass 2^24. The key names the weight among the packs, sources are what it is made of.
    """
    K = x.shape[-1]
    x, row_stride = _rows(builder, x)
    y = builder.new((*x.shape[:-1], O), "float32")
    if y.size == 0:
        return y
    panels = builder.packed((*key, "bytes", "panels"), lambda: pack_bytes(weight()), sources)
    start = builder.packed(("", str(O), "start"), lambda: pack_vectors([None], O, "float32"))
    scratch = builder.new((scratch_elements(O, "float32"),), "float32")
    rows = prod(x.shape[:-1])
    shared = _shared(builder, rows, K, O, "int8")
    block, size = ready_block(rows, K, "int8")
    ready = builder.new(((builder.members if shared else 1) * size,), "uint8")
    words, member = [rows, K, O, row_stride, shared, block], EVERYONE if shared else 0
    builder.emit("linear_bytes", x.dtype, [x, panels, start, y, scratch, ready], words, member=member, writes=3)
    return y


def _shared(builder: PlanBuilder, rows: int, K: int, O: int, lowp: str | None) -> bool:
    """Whether a team shares the panels, by the time that it takes."""
    dtype = builder.float_dtype
    seconds = 2.0 * rows * K * O / LINEAR_FLOPS_S * WEIGHT_BYTES.get(lowp or "", 4.0) / 4
    shared = builder.members > 1 and padded(O, dtype) >= 8 * LANES[dtype] and seconds > 1e-6
    builder.gain_s += seconds * (1 - 1 / builder.members) if shared else 0.0
    return shared


def _rows(builder: PlanBuilder, x: View) -> tuple[View, int]:
    """x, and the one stride that leads from each row to the next; copied where there is no such stride."""
    row_stride = x.shape[-1]
    if x.strides[-1] == 1 or x.shape[-1] == 1:
        outer = [(n, s) for n, s in zip(x.shape[:-1], x.strides[:-1], strict=True) if n != 1]
        if not outer:
            return x, row_stride
        if all(a[1] == b[1] * b[0] for a, b in itertools.pairwise(outer)):
            return x, outer[-1][1]
    return builder.contiguous(x), row_stride

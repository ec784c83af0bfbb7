"""Pools over one or two spatial axes."""

import functools
from math import prod

import numpy as np

from fastgru.engine.lowering import Constant, Node, PlanBuilder, Value, lowering
from fastgru.engine.ops.cast import as_dtype
from fastgru.engine.ops.elementwise import apply_binary
from fastgru.engine.windows import sliding, window_words
from fastgru.errors import ShapeError, UnsupportedModelError
from fastgru.kernels.operands import pool as kernel
from fastgru.kernels.operands.windows import COLLECT, PAD
from fastgru.reference.pool import seen_counts
from fastgru.reference.windows import slide
from fastgru.simd.target import LANES


@lowering("pool")
def _lower_pool(builder: PlanBuilder, node: Node, value: Value) -> list[Value]:
    """x (N, C, D1, ...) -> (N, C, E1, ...)."""
    attrs, kind, dtype = node.attrs, node.attrs["kind"], builder.float_dtype
    given = builder.dtype(value)
    if kind == "max" and given in ("int8", "uint8"):  # floats hold all of their values exactly
        value = as_dtype(builder, value, dtype)
    elif given != dtype:
        raise UnsupportedModelError(f"a pool of {given} is not implemented; cast its input to float32 first")
    if value.ndim < 3:
        raise ShapeError(f"x has shape {value.shape}, expected (N, C, D1, ...)")
    x = builder.rows(value)
    spatial = x.shape[2:]
    ceil = bool(attrs.get("ceil_mode", False))
    windows = slide(spatial, attrs["kernel"], attrs["strides"], attrs["dilations"], attrs["pads"], ceil_mode=ceil)
    N, C = x.shape[:2]
    y = builder.new((N, C, *windows.sizes))
    if y.size == 0:
        return [as_dtype(builder, y, given)]
    window = window_words(x, sliding(spatial, windows), C, 1, C, LANES[dtype])
    (phase,) = window.phase_words
    scratch = builder.new((window.x_channel + LANES[dtype],)) if window.padded else None
    stage = builder.new((window.stage,)) if window.staged else None
    code = kernel.POOLS.max if kind == "max" else kernel.POOLS.sum
    builder.emit("pool", dtype, kernel.POOL, {
        "x": x, "y": y, "scratch": scratch, "stage": stage, "taps": builder.constant(window.tables[0]), "images": N,
        "channels": C, "x_image": x.strides[0], "x_channel": x.strides[1], "y_channel": window.y_channel,
        "y_image": prod(y.shape[1:]), "padded": window.padded, "staged": window.staged, "code": code,
        "K": prod(windows.taps), **{name: phase[name] for name in ("rows", "pixels", "x_row", "y_row")},
        "pad": PAD.encode(window.pad), "collect": COLLECT.encode(window.collect),
    })  # fmt: skip
    if kind == "average":
        along = seen_counts(spatial, windows, include_padding=bool(attrs.get("count_include_pad", False)))
        return [apply_binary(builder, "div", y, Constant(functools.reduce(np.multiply.outer, along).astype(dtype)))]
    return [as_dtype(builder, y, given)]

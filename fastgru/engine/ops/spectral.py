"""Fourier transforms as GEMMs with a matrix of cosines and sines, which is made once for all plans.

The frames of a signal are a view that overlaps itself, and a constant window is multiplied into the matrix. A
short-time transform of one signal is therefore a single GEMM, without a copy.
"""

from typing import Final

import numpy as np

from fastgru.engine.lowering import Constant, Node, PlanBuilder, Value, View, lowering
from fastgru.engine.ops.elementwise import apply_binary, same_dtype
from fastgru.engine.ops.gemm import gemm
from fastgru.engine.ops.shape import reshaped
from fastgru.engine.ops.softmax import permuted
from fastgru.errors import UnsupportedModelError
from fastgru.reference.spectral import check_stft, dft_sizes, dft_table

# The most numbers of the matrix, enough for 8192 real points: a larger one takes too long to make and to read.
_MOST_ELEMENTS: Final = 1 << 26


@lowering("dft")
def _lower_dft(builder: PlanBuilder, node: Node, x: Value) -> list[Value]:
    """Transform x along an axis."""
    length, onesided = node.attrs.get("length"), bool(node.attrs.get("onesided", False))
    return [_transform(builder, x, node.attrs["axis"], length, onesided, bool(node.attrs.get("inverse", False)))]


def _transform(
    builder: PlanBuilder, value: Value, axis: int, length: int | None, onesided: bool, inverse: bool,
    window: Constant | None = None,
) -> View:  # fmt: skip
    x = builder.floats(value)
    axis, n, taken, out = dft_sizes(x.shape, axis, length, onesided=onesided, inverse=inverse)
    parts, parts_out = x.shape[-1], 1 if onesided and inverse else 2
    if taken * parts * out * parts_out > _MOST_ELEMENTS:
        raise UnsupportedModelError(
            f"a Fourier transform of {n} points, here a product by {taken * parts} x {out * parts_out} numbers,"
            f" at most {_MOST_ELEMENTS} are supported: transform shorter frames"
        )

    order = [*(i for i in range(x.ndim) if i not in (axis, x.ndim - 1)), axis, x.ndim - 1]
    rows = permuted(x, order)
    rows = rows.as_strided((*rows.shape[:-2], taken, parts), rows.strides)
    flat = reshaped(builder, rows, (*rows.shape[:-2], taken * parts))
    # A matrix of this name is the same in every plan, unless the window belongs to this plan alone.
    name = f"dft {n} {taken} {out} {parts} {onesided} {inverse} window {'' if window is None else window.name!r}"
    made = dft_table(n, taken, out, complex_in=parts == 2, onesided=onesided, inverse=inverse)
    if window is not None:
        made = made * np.repeat(window.array.astype(np.float64), parts)[:, None]
    own = window is not None and not window.name
    y = gemm(builder, flat, Constant(made.T, "" if own else name), None, (name,))
    y = reshaped(builder, y, (*flat.shape[:-1], out, parts_out))
    return permuted(y, sorted(range(x.ndim), key=lambda i: order[i]))


@lowering("stft")
def _lower_stft(builder: PlanBuilder, node: Node, signal: Value, window: Value | None = None) -> list[Value]:
    """Transform every frame of the signal."""
    onesided, step = bool(node.attrs.get("onesided", True)), node.attrs["step"]
    shape = None if window is None else window.shape
    size, frames = check_stft(signal.shape, shape, step, node.attrs.get("length"), onesided)
    x = builder.floats(signal, "signal")
    parts, part_stride = (x.shape[2], x.strides[2]) if x.ndim == 3 else (1, 1)
    N, along = x.shape[0], x.strides[1]
    taken = View(
        x.buffer, x.offset, (N, frames, size, parts), (x.strides[0], step * along, along, part_stride), x.dtype
    )
    if window is not None:
        same_dtype(builder, signal=signal, window=window)
    if window is not None and not isinstance(window, Constant):
        w = builder.view(window)
        taken = apply_binary(builder, "mul", taken, w.as_strided((size, 1), (w.strides[0], 0)))
        window = None
    return [_transform(builder, taken, 2, None, onesided, False, window)]

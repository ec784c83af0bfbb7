"""Matrix products and convolutions of 8-bit integers, exact in int32.

The kernels for bytes compute the sums if the matrix is constant, otherwise the kernels for floats do. The sums are
split into parts so small that a float holds every partial sum exactly, so the order of additions does not matter.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from math import prod
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fastgru.engine.exact import EXACT, bytes_of, peak_of, runs_of
from fastgru.engine.fusion import computed
from fastgru.engine.lowering import Constant, Node, PlanBuilder, Value, View, constant_of, lowering
from fastgru.engine.ops.cast import as_dtype, saturated
from fastgru.engine.ops.conv import lower_conv
from fastgru.engine.ops.elementwise import apply_binary
from fastgru.engine.ops.gemm import byte_gemm, gemm
from fastgru.engine.ops.matmul import multiplied
from fastgru.engine.ops.quantize import moved
from fastgru.engine.ops.shape import reshaped, sliced
from fastgru.errors import ShapeError
from fastgru.graph import Array
from fastgru.reference.conv import check_conv
from fastgru.reference.quantize import (
    check_factor,
    vector_axis,
)

_MIDDLE: Final = {"int8": 0, "uint8": 128}  # the number that the kernel for bytes subtracts


@lowering("matmul_integer")
def _lower_matmul_integer(
    builder: PlanBuilder, node: Node, a: Value, b: Value, a_zero: Value | None = None, b_zero: Value | None = None
) -> list[Value]:
    """(a - a_zero_point) (b - b_zero_point) in int32."""
    check_factor("a", a, a_zero)
    check_factor("b", b, b_zero)
    if not a.ndim or not b.ndim or a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
        raise ShapeError(f"a {a.shape} and b {b.shape} do not fit together")
    a_zero, b_zero = _zero_point("a", a_zero, a, of_rows=True), _zero_point("b", b_zero, b, of_rows=False)
    if isinstance(b, Constant) and b.ndim == 2 and (b_zero is None or isinstance(b_zero, Constant)):
        right = _Constant(builder, b, b_zero, (node.inputs[1], *node.inputs[3:4], "less its zero point"))
        by_bytes = builder.float_dtype == "float32" and (a_zero is None or a_zero.shape[-1:] in ((), (1,)))
        return [(_by_bytes if by_bytes else _by_floats)(builder, a, a_zero, right)]
    left = moved(builder, a, _placed(builder, a_zero))
    right_view = moved(builder, b, _placed(builder, b_zero))
    each = EXACT[builder.float_dtype] // (peak_of(a, a_zero) * peak_of(b, b_zero))
    K = a.shape[-1]
    sums = []
    for first in range(0, max(K, 1), each):
        some = sliced(left, left.ndim - 1, first, min(first + each, K))
        others = sliced(right_view, max(right_view.ndim - 2, 0), first, min(first + each, K))
        sums.append(saturated(builder, multiplied(builder, some, others), "int32"))
    return [_total(builder, sums)]


class _Constant:
    """b (K, O) minus its zero point; the difference is computed only when a pack is made of it."""

    def __init__(self, builder: PlanBuilder, b: Constant, zero_point: Constant | None, key: tuple[str, ...]) -> None:
        self.builder, self.key, self.shape = builder, key, b.shape
        self.sources = b, zero_point

    def difference(self, first: int = 0, last: int | None = None) -> Array:
        return _difference(*self.sources)[first:last]

    def sums(self, first: int, last: int) -> Array:
        """Return the sums over the rows k from `first` to `last`."""
        return np.asarray(self.difference(first, last).sum(axis=0), np.float32)

    def stacked(self, first: int, last: int) -> NDArray[np.int8]:
        """Return the int8 layers of rows `first` to `last`, stacked as (layers * O, K)."""
        return np.concatenate(bytes_of(self.difference(first, last)), axis=1).T

    def runs(self, peak: int) -> Array:
        """Return (first, last, layers) of each run of k."""
        exact = EXACT[self.builder.float_dtype]

        def make() -> Array:
            whole = self.difference()
            found = [(*ends, len(bytes_of(whole[slice(*ends)]))) for ends in runs_of(whole, peak, exact)]
            return np.array(found, np.int64)

        return self.builder.kept((*self.key, "runs", str(peak)), make, self.sources)


def _by_floats(builder: PlanBuilder, a: Value, a_zero: Value | None, right: _Constant) -> View:
    left = moved(builder, a, _placed(builder, a_zero))
    name = "" if any(s is not None and not s.name for s in right.sources) else right.key[0]
    sums = []
    for first, last, _ in right.runs(peak_of(a, a_zero)).tolist():
        weight = Constant(right.difference(first, last).T, name)
        y = gemm(builder, sliced(left, left.ndim - 1, first, last), weight, None, (*right.key, f"{first}:{last}"))
        sums.append(saturated(builder, y, "int32"))
    return _total(builder, sums)


def _by_bytes(builder: PlanBuilder, a: Value, a_zero: Value | None, right: _Constant) -> View:
    """Multiply with the kernels for bytes. A difference of b and its zero point that exceeds int8 takes several layers.

    a - a_zero = a' + move, where a' is what the kernel computes with, so move times the sums over k is added.
    """
    middle = _MIDDLE[a.dtype]
    zero = a_zero if a_zero is not None else Constant(np.zeros((), a.dtype))
    move: View | None = None
    if not isinstance(zero, Constant):
        middle_view = builder.view(Constant(np.asarray(middle, np.float32)))
        move = computed(builder, "sub", middle_view, as_dtype(builder, zero, "float32"))
    elif (zero.array != middle).any():
        move = builder.view(Constant(np.asarray(middle - zero.array.astype(np.float32))))
    x, O = builder.view(a), right.shape[1]
    totals = []
    for first, last, layers in right.runs(max(peak_of(a, a_zero), 128)).tolist():
        key = (*right.key, f"{first}:{last}")
        some = sliced(x, x.ndim - 1, first, last)
        y = byte_gemm(builder, some, layers * O, partial(right.stacked, first, last), key, right.sources)
        total = sliced(y, y.ndim - 1, 0, O)
        for i in range(1, layers):
            total = computed(builder, "add", total, sliced(y, y.ndim - 1, i * O, (i + 1) * O))
        if move is not None:
            sums = builder.packed((*key, "sums"), partial(right.sums, first, last), right.sources)
            total = computed(builder, "fma", move, sums, total)
        totals.append(saturated(builder, total, "int32"))
    return _total(builder, totals)


@lowering("conv_integer")
def _lower_conv_integer(
    builder: PlanBuilder, node: Node, x: Value, w: Value, x_zero: Value | None = None, w_zero: Value | None = None
) -> list[Value]:
    """The convolution of x - x_zero_point with weight - w_zero_point, in int32."""
    check_factor("x", x, x_zero)
    check_factor("weight", w, w_zero)
    weight = constant_of(w, "the weight")
    start = None if w_zero is None else constant_of(w_zero, "the zero point of the weight")
    group = int(node.attrs["group"])
    check_conv(x.shape, weight.shape, group)
    if x_zero is not None:
        if prod(x_zero.shape) != 1:
            raise ShapeError(f"the zero point of x has shape {x_zero.shape}, expected a number")
        x_zero = _zero_point("x", x_zero, x, of_rows=False)
    spread = start
    if start is not None and start.array.size != 1:
        vector_axis("the zero point of weight", start.shape, weight.shape, 0)
        spread = Constant(start.array.reshape(-1, *[1] * (weight.ndim - 1)), start.name)
    elif start is not None:
        spread = Constant(start.array.reshape(()), start.name)
    O, each, *sizes = weight.shape
    taps = max(prod(sizes), 1)
    kernels = _difference(weight, spread)
    flat = kernels.reshape(O, each * taps).T
    left = moved(builder, x, _placed(builder, x_zero))
    sums = []
    for first, last in runs_of(flat, peak_of(x, x_zero), EXACT[builder.float_dtype]):
        some = np.zeros_like(flat)
        some[first:last] = flat[first:last]
        channels = first // taps, max(-(-last // taps), first // taps + 1)
        of_part = some.T.reshape(kernels.shape)[:, channels[0] : channels[1]]
        key = "/".join((*node.inputs[1:2], *node.inputs[3:4], "less its zero point", f"{first}:{last}"))
        channels_of = _channels(builder, left, group, *channels) if channels != (0, each) else left
        inner = Constant(of_part, key if _shared(weight, spread) else "")
        (y,) = lower_conv(builder, replace(node, inputs=("x", key)), channels_of, inner)
        sums.append(saturated(builder, builder.view(y), "int32"))
    return [_total(builder, sums)]


def _zero_point(name: str, value: Value | None, x: Value, *, of_rows: bool) -> Value | None:
    """Return a zero point with the axes that make it broadcast with x."""
    if value is None:
        return None
    shape = value.shape
    if prod(shape) == 1:
        shape = ()
    elif of_rows and len(shape) == 1:
        shape = (*shape, 1)
    if len(shape) > x.ndim or any(n not in (1, of) for n, of in zip(shape[::-1], x.shape[::-1], strict=False)):
        raise ShapeError(f"the zero point of {name} has shape {value.shape} for {x.shape}")
    if isinstance(value, Constant):
        return Constant(value.array.reshape(shape), value.name)
    return value.as_strided(shape, (*value.strides, 0)[: len(shape)])


def _placed(builder: PlanBuilder, zero_point: Value | None) -> Value | None:
    """Return a constant zero point without its name, because packs of that name have its original shape."""
    return Constant(zero_point.array) if isinstance(zero_point, Constant) else zero_point


def _difference(x: Constant, zero_point: Value | None) -> Array:
    return x.array.astype(np.float64) - (zero_point.array if isinstance(zero_point, Constant) else 0)


def _shared(x: Constant, zero_point: Value | None) -> str:
    """Return a name if both constants are the same in all plans, otherwise ""."""
    return x.name if zero_point is None or (isinstance(zero_point, Constant) and zero_point.name) else ""


def _channels(builder: PlanBuilder, x: View, group: int, first: int, last: int) -> View:
    """Return the channels `first` to `last` of each group of x (N, C, D1, ...)."""
    N, C, *sizes = x.shape
    some = sliced(reshaped(builder, x, (N, group, C // group, *sizes)), 2, first, last)
    return reshaped(builder, some, (N, group * (last - first), *sizes))


def _total(builder: PlanBuilder, sums: Sequence[View]) -> View:
    total = sums[0]
    for one in sums[1:]:
        total = apply_binary(builder, "add", total, one)
    return total

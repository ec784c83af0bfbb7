"""Convolutions, plain and transposed, with constant weights packed once for all plans."""

from collections.abc import Mapping, Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from fastgru.engine.emission import Moved
from fastgru.engine.lowering import Constant, Node, PlanBuilder, Value, View, constant_of, lowering
from fastgru.engine.ops.elementwise import same_dtype
from fastgru.engine.windows import Phase, SlidingAxis, WindowWords, sliding, transposed, window_words
from fastgru.errors import UnsupportedModelError
from fastgru.kernels.operands.conv import CONV, PHASE
from fastgru.kernels.operands.windows import COLLECT, PAD
from fastgru.packing.aligned import zeros
from fastgru.packing.conv import pack_kernels
from fastgru.reference.conv import check_conv, check_transposed
from fastgru.reference.windows import slide, spread
from fastgru.simd.target import LANES

__all__ = ["lower_conv", "lower_conv_transpose"]


@lowering("conv")
def lower_conv(builder: PlanBuilder, node: Node, value: Value, *constants: Value | None) -> list[Value]:
    """Windows over x (N, C, D1, ...) times weight (O, C / group, K1, ...)."""
    x, weight, bias, slope = _checked(builder, value, *constants)
    group = int(node.attrs["group"])
    check_conv(x.shape, weight.shape, group, *(None if v is None else v.shape for v in (bias, slope)))
    attrs = node.attrs
    windows = slide(x.shape[2:], weight.shape[2:], attrs["strides"], attrs["dilations"], attrs["pads"])
    kernels = _as_planes(weight.array)
    y = builder.new((x.shape[0], weight.shape[0], *windows.sizes))
    _emit(builder, node, x, kernels, (weight, bias, slope), y, sliding(x.shape[2:], windows))
    return [y]


@lowering("conv_transpose")
def lower_conv_transpose(builder: PlanBuilder, node: Node, value: Value, *constants: Value | None) -> list[Value]:
    """x (N, C, D1, ...) times weight (C, O / group, K1, ...), each pixel spread over a window of outputs."""
    x, weight, bias, slope = _checked(builder, value, *constants)
    attrs, group = node.attrs, int(node.attrs["group"])
    check_transposed(x.shape, weight.shape, group, *(None if v is None else v.shape for v in (bias, slope)))
    windows = spread(
        x.shape[2:], weight.shape[2:], attrs["strides"], attrs["dilations"], attrs["pads"],
        attrs["output_padding"], attrs.get("output_shape"),
    )  # fmt: skip
    C, each = weight.shape[:2]
    planes = _as_planes(weight.array)
    grouped = planes.reshape(group, C // group, each, *planes.shape[2:])
    kernels = grouped.swapaxes(1, 2).reshape(group * each, C // group, *planes.shape[2:])
    y = builder.new((x.shape[0], group * each, *windows.sizes))
    _emit(builder, node, x, kernels, (weight, bias, slope), y, transposed(x.shape[2:], windows))
    return [y]


def _checked(
    builder: PlanBuilder, x: Value, weight: Value | None = None, bias: Value | None = None, slope: Value | None = None
) -> tuple[View, Constant, Constant | None, Constant | None]:
    dtype = same_dtype(builder, x=x, weight=weight, bias=bias, slope=slope)
    if dtype != builder.float_dtype:
        raise UnsupportedModelError(f"a convolution of {dtype}: cast its inputs to float32 before it")
    return (
        builder.rows(x),
        constant_of(weight, "the weight"),
        None if bias is None else constant_of(bias, "the bias"),
        None if slope is None else constant_of(slope, "the slope"),
    )


def _as_planes(weight: NDArray[np.floating]) -> NDArray[np.floating]:
    """Weights of one spatial axis as those of two."""
    return weight[:, :, None, :] if weight.ndim == 3 else weight


def _emit(
    builder: PlanBuilder,
    node: Node,
    x: View,
    kernels: NDArray[np.floating],
    constants: tuple[Constant, Constant | None, Constant | None],
    y: View,
    axes: Sequence[SlidingAxis],
) -> None:
    """kernels: (O, C / group, KH, KW)."""
    dtype, group = builder.float_dtype, int(node.attrs["group"])
    if y.size == 0:
        return
    N, O, C = y.shape[0], y.shape[1], x.shape[1]
    window = window_words(x, axes, C, C // group, O, LANES[dtype])
    weight, bias, slope = constants
    names = [*node.inputs, "", "", ""]
    matrices = [_matrix(kernels, h, w) for h, w in window.phases]
    taps = [[[t for t, _ in axis.taps] for axis in phase] for phase in window.phases]
    packed = builder.packed(
        (names[1], node.op, str(group), repr(taps)), lambda: pack_kernels(matrices, group, dtype), [weight]
    )
    start = builder.packed(
        (names[2], str(O), "conv bias"), lambda: _vector(None if bias is None else bias, O, dtype), [bias]
    )
    lean = None if slope is None else builder.packed((names[3], "slope"), lambda: _vector(slope, O, dtype), [slope])
    clamp = node.attrs.get("clamp")
    limits = None
    if clamp is not None:
        low, high = (b if b is not None else inf for b, inf in zip(clamp, (-np.inf, np.inf), strict=True))
        limits = builder.packed(("clamp", repr(low), repr(high)), lambda: np.array([low, high], dtype))
    scratch = builder.new((window.scratch,)) if window.padded else None
    stage = builder.new((window.stage,)) if window.staged else None
    at, first, each = 0, 0, []
    for matrix, words in zip(matrices, window.phase_words, strict=True):
        each += PHASE.encode({"K": matrix.shape[1], "weights": at, "taps": first, **words})
        at, first = at + matrix.size, first + matrix.shape[1]
    given = {
        "x": x, "w": packed, "bias": start, "slope": lean, "limits": limits, "y": y, "scratch": scratch, "stage": stage,
        "taps": builder.constant(np.concatenate(window.tables)), "images": N, "groups": group, "O": O // group,
        "x_image": x.strides[0], "x_group": C // group * window.x_channel, "y_channel": window.y_channel,
        "y_image": prod(y.shape[1:]), "padded": window.padded, "staged": window.staged, "phases": len(window.phases),
        "pad": PAD.encode(window.pad), "collect": COLLECT.encode(window.collect), "each": each,
    }  # fmt: skip
    builder.emit("conv", dtype, CONV, given, writes="y").moved = _mover(window)


def _mover(window: WindowWords) -> Moved:
    """The strides of an image and of a channel are free; the pixels of a channel lie one after the other.

    Where y is staged, what the tiles write keeps its place, and what is collected from there goes elsewhere.
    """

    def moved(place: View) -> Mapping[str, int | Sequence[int]] | None:
        plane = place.as_strided(place.shape[2:], place.strides[2:])
        if not plane.contiguous:
            return None
        image, channel = place.strides[:2]
        if window.staged:
            return {"y_image": image, "collect": COLLECT.encode({**window.collect, "s_c": channel})}
        return {"y_image": image, "y_channel": channel}

    return moved


def _matrix(kernels: NDArray[np.floating], h: Phase, w: Phase) -> NDArray[np.floating]:
    """(O, K): the taps of one phase, in the order of its table."""
    some = kernels[:, :, [t for t, _ in h.taps]][:, :, :, [t for t, _ in w.taps]]
    return some.reshape(kernels.shape[0], -1)


def _vector(value: Constant | None, size: int, dtype: str) -> NDArray[np.floating]:
    vector = zeros((size,), dtype)
    if value is not None:
        vector[...] = value.array
    return vector

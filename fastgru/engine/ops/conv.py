"""Convolutions, plain and transposed, with constant weights packed once for all plans."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastgru.engine.emission import Moved
from fastgru.engine.lowering import Constant, Node, PlanBuilder, Value, View, constant_of, lowering
from fastgru.engine.ops.elementwise import same_dtype
from fastgru.engine.pixels import less_by_channels, pixel_words
from fastgru.engine.windows import Phase, SlidingAxis, WindowWords, sliding, transposed, window_words
from fastgru.errors import UnsupportedModelError
from fastgru.kernels.operands.conv import CONV, CONV_PANEL, PANEL_PHASE, PHASE
from fastgru.kernels.operands.windows import COLLECT, PAD
from fastgru.packing.aligned import zeros
from fastgru.packing.conv import pack_kernels, pack_panels
from fastgru.packing.panels import padded
from fastgru.reference.conv import check_conv, check_transposed
from fastgru.reference.windows import slide, spread
from fastgru.simd.target import LANES

__all__ = ["lower_conv", "lower_conv_transpose"]

_TOGETHER: Final = 48  # output pixels of the images that one pass of `conv_panel` takes together


@lowering("conv")
def lower_conv(builder: PlanBuilder, node: Node, value: Value, *constants: Value | None) -> list[Value]:
    """Lower a convolution of x (N, C, D1, ...) with weight (O, C / group, K1, ...)."""
    x, weight, bias, slope = _checked(builder, value, *constants)
    group = int(node.attrs["group"])
    check_conv(x.shape, weight.shape, group, *(None if v is None else v.shape for v in (bias, slope)))
    attrs = node.attrs
    windows = slide(x.shape[2:], weight.shape[2:], attrs["strides"], attrs["dilations"], attrs["pads"])
    kernels = _as_planes(weight.array)
    y = builder.new((x.shape[0], weight.shape[0], *windows.sizes))
    _Convolution(builder, node, x, kernels, (weight, bias, slope), y, sliding(x.shape[2:], windows)).emit()
    return [y]


@lowering("conv_transpose")
def lower_conv_transpose(builder: PlanBuilder, node: Node, value: Value, *constants: Value | None) -> list[Value]:
    """Lower a transposed convolution of x (N, C, D1, ...) with weight (C, O / group, K1, ...)."""
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
    axes = transposed(x.shape[2:], windows)
    _Convolution(builder, node, x, kernels, (weight, bias, slope), y, axes).emit()
    return [y]


def _checked(
    builder: PlanBuilder, x: Value, weight: Value | None = None, bias: Value | None = None, slope: Value | None = None
) -> tuple[View, Constant, Constant | None, Constant | None]:
    dtype = same_dtype(builder, x=x, weight=weight, bias=bias, slope=slope)
    if dtype != builder.float_dtype:
        raise UnsupportedModelError(f"a convolution of {dtype} is not implemented; cast its inputs to float32 first")
    return (
        builder.rows(x),
        constant_of(weight, "the weight"),
        None if bias is None else constant_of(bias, "the bias"),
        None if slope is None else constant_of(slope, "the slope"),
    )


def _as_planes(weight: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return weights of one spatial axis as weights of two; others as they are."""
    return weight[:, :, None, :] if weight.ndim == 3 else weight


class _Convolution(NamedTuple):
    """A convolution that is about to be emitted. kernels: (O, C / group, KH, KW)."""

    builder: PlanBuilder
    node: Node
    x: View
    kernels: NDArray[np.floating]
    constants: tuple[Constant, Constant | None, Constant | None]
    y: View
    axes: Sequence[SlidingAxis]

    def emit(self) -> None:
        """Emit the kernel that takes less time by estimate; both give the same bits."""
        if self.y.size == 0:
            return
        O, C, dtype = self.y.shape[1], self.x.shape[1], self.y.dtype
        window = window_words(self.x, self.axes, C, C // self.group, O, LANES[dtype])
        if less_by_channels(window, self.axes, C // self.group, self.y.shape, self.group, dtype):
            self._by_channels()
        else:
            self._by_pixels(window)

    @property
    def group(self) -> int:
        return int(self.node.attrs["group"])

    def _given(self) -> dict[str, Any]:
        """Return the operands that both kernels have."""
        clamp, limits, dtype = self.node.attrs.get("clamp"), None, self.y.dtype
        if clamp is not None:
            low, high = (b if b is not None else inf for b, inf in zip(clamp, (-np.inf, np.inf), strict=True))
            key = "clamp", repr(low), repr(high)
            limits = self.builder.packed(key, lambda: np.array([low, high], dtype))
        return {
            "x": self.x, "limits": limits, "y": self.y, "groups": self.group, "O": self.y.shape[1] // self.group,
            "images": self.y.shape[0], "x_image": self.x.strides[0], "y_image": prod(self.y.shape[1:]),
        }  # fmt: skip

    def _weights(self, phases: Sequence[tuple[Phase, Phase]], pack: Any) -> View:
        """Return the packed weight matrices of the phases, one after the other."""
        taps = repr([[[t for t, _ in axis.taps] for axis in phase] for phase in phases])
        key = self.node.inputs[1], self.node.op, str(self.group), taps, pack.__name__
        matrices = [_matrix(self.kernels, h, w) for h, w in phases]
        return self.builder.packed(key, lambda: pack(matrices, self.group, self.y.dtype), self.constants[:1])

    def _vector(self, i: int, what: str, padded_to: int) -> View:
        """Return a constant vector over outputs, zeros if there is none, with each group padded."""
        value, O, group = self.constants[i], self.y.shape[1], self.group
        name = self.node.inputs[i + 1] if value is not None else ""

        def made() -> NDArray[np.floating]:
            flat = zeros((group, padded_to), self.y.dtype)
            if value is not None:
                flat[:, : O // group] = value.array.reshape(group, -1)
            return flat.reshape(-1)

        return self.builder.packed((name, str(O), str(group), str(padded_to), what), made, [value])

    def _by_pixels(self, window: WindowWords) -> None:
        """Emit the kernel whose vectors hold pixels, for rows long enough to fill them."""
        builder, C, each = self.builder, self.x.shape[1], []
        O, at, first = self.y.shape[1], 0, 0
        for (h, w), words in zip(window.phases, window.phase_words, strict=True):
            K = C // self.group * len(h.taps) * len(w.taps)
            each += PHASE.encode({"K": K, "weights": at, "taps": first, **words})
            at, first = at + O * K, first + K
        given = self._given() | {
            "w": self._weights(window.phases, pack_kernels), "bias": self._vector(1, "bias", O // self.group),
            "slope": None if self.constants[2] is None else self._vector(2, "slope", O // self.group),
            "scratch": builder.new((window.scratch,)) if window.padded else None,
            "stage": builder.new((window.stage,)) if window.staged else None,
            "taps": builder.constant(np.concatenate(window.tables)), "x_group": C // self.group * window.x_channel,
            "y_channel": window.y_channel, "padded": window.padded, "staged": window.staged,
            "phases": len(window.phases), "pad": PAD.encode(window.pad), "collect": COLLECT.encode(window.collect),
            "each": each,
        }  # fmt: skip
        builder.emit("conv", self.y.dtype, CONV, given, writes="y").moved = _mover(window)

    def _by_channels(self) -> None:
        """Emit the kernel whose vectors hold output channels, for any number of pixels."""
        builder, N, C, O, plane = self.builder, *self.x.shape[:2], self.y.shape[1], prod(self.y.shape[2:])
        weight, dtype, group = self.constants[0], self.y.dtype, self.group
        wide = padded(O // group, dtype)
        together = next(n for n in range(max(min(N, _TOGETHER // plane), 1), 0, -1) if N % n == 0)
        key = self.node.inputs[1], "finite"
        finite = builder.kept(key, lambda: np.isfinite([weight.array.min(), weight.array.max()]), [weight])
        pixels = pixel_words(
            self.x, self.axes, together, C // group, group * wide, LANES[dtype], skip=bool(finite.all())
        )  # fmt: skip
        at, each = 0, []
        for words in pixels.phases:
            each += PANEL_PHASE.encode({**words, "weights": at})
            at += group * wide * words["K"]
        given = self._given() | {
            "w": self._weights(pixels.taps, pack_panels), "start": self._vector(1, "bias", wide),
            "slope": None if self.constants[2] is None else self._vector(2, "slope", wide),
            "scratch": builder.new((together * pixels.scratch,)) if pixels.scratch else None,
            "stage": builder.new((together * plane * group * wide,)), "table": builder.constant(pixels.table),
            "together": together, "padded_O": wide, "plane": plane, "x_group": C // group * pixels.x_channel,
            "apart": pixels.scratch, "y_channel": plane, "padded": pixels.scratch > 0, "phases": len(pixels.phases),
            "pad": PAD.encode(pixels.pad), "each": each,
        }  # fmt: skip
        builder.emit("conv_panel", dtype, CONV_PANEL, given, writes="y").moved = _moved


def _mover(window: WindowWords) -> Moved:
    """Return the function `moved` of a `conv` instruction.

    The output may have any strides of images and channels, but the pixels of a channel must be contiguous. If y is
    staged, only the words of the final copy change: the tiles write to the stage as before.
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


def _moved(place: View) -> Mapping[str, int] | None:
    """Return the words that change for an output of `conv_panel` with other strides, as `_mover` does for `conv`."""
    plane = place.as_strided(place.shape[2:], place.strides[2:])
    return {"y_image": place.strides[0], "y_channel": place.strides[1]} if plane.contiguous else None


def _matrix(kernels: NDArray[np.floating], h: Phase, w: Phase) -> NDArray[np.floating]:
    """Return the weights (O, K) of the taps of one phase, in the order of its table."""
    some = kernels[:, :, [t for t, _ in h.taps]][:, :, :, [t for t, _ in w.taps]]
    return some.reshape(kernels.shape[0], -1)

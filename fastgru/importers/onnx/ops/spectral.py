"""Fourier transforms and mel weights."""

from typing import Any

from fastgru.graphbuilder import Value
from fastgru.importers.onnx.builder import OnnxGraphBuilder
from fastgru.importers.onnx.registry import OnnxNode, operator
from fastgru.importers.onnx.tensors import dtype_name
from fastgru.reference.spectral import mel_weights

_MOST_WEIGHTS = 1 << 24


def _one(node: OnnxNode, index: int, what: str) -> int | None:
    values = node.constant_integers(index, what)
    if values is not None and len(values) != 1:
        raise node.invalid(f"{what} is {values}, expected one integer")
    return None if values is None else values[0]


@operator(
    "DFT", versions=(17, 20), inputs=(1, 3), constants={1: "dft_length", 2: "axis"},
    limits="at most 8192 real points",
)  # fmt: skip
def _dft(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    x, length = node.input(0), _one(node, 1, "dft_length")
    if node.version < 20:
        axis = node.attrs.integer("axis", 1)
    else:
        given = _one(node, 2, "axis")
        axis = -2 if given is None else given
    onesided, inverse = node.attrs.flag("onesided", False), node.attrs.flag("inverse", False)
    attrs: dict[str, Any] = {} if length is None else {"length": length}
    return build.emit("dft", x, axis=axis, onesided=onesided, inverse=inverse, **attrs)


@operator(
    "STFT", versions=(17,), inputs=(2, 4), constants={1: "frame_step", 3: "frame_length"},
    limits="frames of at most 8192 real samples",
)  # fmt: skip
def _stft(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    step, length = _one(node, 1, "frame_step"), _one(node, 3, "frame_length")
    if step is None:
        raise node.invalid("input frame_step is missing")
    onesided = node.attrs.flag("onesided", True)
    attrs: dict[str, Any] = {} if length is None else {"length": length}
    window = node.optional(2)
    window = None if window is None else node.finite(window, "window")
    return build.emit("stft", node.input(0), window, step=step, onesided=onesided, **attrs)


@operator(
    "MelWeightMatrix",
    versions=(17,),
    inputs=(5, 5),
    constants=dict(enumerate(("num_mel_bins", "dft_length", "sample_rate", "lower_edge_hertz", "upper_edge_hertz"))),
)
def _mel_weights(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    numbers = []
    for i in range(5):
        array = node.constant(i)
        if array.size != 1 or (i < 3 and array.dtype.kind not in "iu"):
            raise node.invalid(f"input {i} is {array.dtype} of shape {array.shape}, expected one number")
        numbers.append(array.item())
    bands, points, rate, lowest, highest = numbers
    if bands < 1 or points < 1 or rate < 1 or (points // 2 + 1) * bands > _MOST_WEIGHTS:
        raise node.invalid(
            f"it has {bands} bands, {points} points and the rate {rate}, expected at least 1 each, and a table that"
            " fits"
        )
    if not 0 <= lowest <= highest <= rate:
        raise node.invalid(f"its band is from {lowest} to {highest} Hz, which does not fit a rate of {rate}")
    to = dtype_name(node.attrs.integer("output_datatype", 1), node.what)
    return build.constant(mel_weights(bands, points, rate, lowest, highest), dtype=to)

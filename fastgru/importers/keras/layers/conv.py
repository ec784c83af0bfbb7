"""Convolutions over one or two axes: plain, depthwise, separable, transposed.

A kernel of Keras is (taps..., channels in, channels out), a depthwise one (taps..., channels, multiplier), a transposed
one (taps..., channels out, channels in). `conv` takes (out, in / groups, taps...), `conv_transpose` (in, out, taps...).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fastgru.arrays import Array
from fastgru.graphbuilder import Value
from fastgru.importers.keras.call import Call, Tensor
from fastgru.importers.keras.layers.activation import activate
from fastgru.importers.keras.registry import keras_layer
from fastgru.importers.keras.windows import LayerWindows, SpatialInput, numbers


def _take(call: Call, rank: int, *kernels: str) -> tuple[list[Array], Array | None]:
    """Return the kernels, and the bias or None."""
    layer = call.layer
    if call.rules.major == 1:
        raise layer.unsupported(
            "a convolution of Keras 1, whose files do not tell whether the kernel is flipped",
            "open the file in Keras 2 and save it again",
        )
    if call.rules.backend == "theano":
        raise layer.unsupported(
            "a convolution saved on Theano, which flips the kernel",
            "open the file in Keras 2 on TensorFlow and save it again",
        )
    biased = layer.flag("use_bias", default=True)
    arrays = call.weights.take(layer, *kernels, *(["bias"] if biased else []))
    for role, array in zip(kernels, arrays, strict=False):
        if array.ndim != rank + 2 or array.dtype.kind != "f":
            raise layer.damaged(f"{role} has shape {array.shape}, expected {rank + 2} axes of floats")
    return arrays[: len(kernels)], arrays[-1] if biased else None


def _windows(call: Call, taps: tuple[int, ...], rank: int) -> LayerWindows:
    layer = call.layer
    wanted = numbers(layer, rank, "kernel_size")
    if wanted != list(taps):
        raise layer.damaged(f"kernel_size is {wanted}, and its kernel has {list(taps)} taps")
    strides = numbers(layer, rank, "strides", default=1)
    dilations = numbers(layer, rank, "dilation_rate", default=1)
    return LayerWindows.of(layer, taps, strides, dilations, causal=rank == 1)


def _emit(
    call: Call, x: Value, weight: Array, bias: Array | None, role: str, attrs: Mapping[str, Any], base: str, op: str
) -> Value:
    graph, layer = call.graph, call.layer
    outputs = weight.shape[0] if op == "conv" else weight.shape[1]
    if bias is not None and bias.shape != (outputs,):
        raise layer.damaged(f"bias has shape {bias.shape}, expected {(outputs,)}")
    names = [x, graph.constant(np.ascontiguousarray(weight), f"{call.home}/{role}")]
    names += [] if bias is None else [graph.constant(bias, f"{call.home}/bias")]
    return graph.add(op, names, base, attrs)


@keras_layer("Conv1D", "Conv2D", "Convolution1D", "Convolution2D")
def _conv(call: Call) -> list[Tensor]:
    layer, grid = call.layer, SpatialInput.of(call)
    (kernel,), bias = _take(call, grid.rank, "kernel")
    groups = layer.integer("groups", default=1)
    inputs, filters = kernel.shape[-2:]
    if groups < 1 or inputs * groups != grid.channels or filters % groups:
        raise layer.damaged(f"kernel has shape {kernel.shape} in {groups} groups for an input of shape {grid.x.shape}")
    if filters != layer.integer("filters"):
        raise layer.damaged(f"filters is {layer.integer('filters')}, and its kernel has {filters}")
    weight = np.moveaxis(kernel, (-1, -2), (0, 1))
    attrs = _attrs(call, grid, weight, groups)
    y = _emit(call, grid.enter(), weight, bias, "kernel", attrs, f"{call.base}/conv", "conv")
    return [activate(call, grid.leave(y))]


def _attrs(call: Call, grid: SpatialInput, weight: Array, group: int) -> dict[str, Any]:
    """Return the attributes of a convolution, and check that its windows fit the input."""
    windows = _windows(call, weight.shape[2:], grid.rank)
    windows.check(call.layer, grid.spatial)
    return {**windows.attrs(), "group": group}


def _depthwise_weight(call: Call, grid: SpatialInput, kernel: Array) -> Array:
    """Return a depthwise kernel as (C * multiplier, 1, taps...); the outputs of a channel are adjacent."""
    *taps, channels, multiplier = kernel.shape
    if channels != grid.channels or multiplier != call.layer.integer("depth_multiplier", default=1):
        raise call.layer.damaged(f"its depthwise kernel has shape {kernel.shape} for an input of {grid.x.shape}")
    return np.moveaxis(kernel.reshape(*taps, channels * multiplier), -1, 0)[:, None]


@keras_layer("DepthwiseConv1D", "DepthwiseConv2D")
def _depthwise(call: Call) -> list[Tensor]:
    grid = SpatialInput.of(call)
    (kernel,), bias = _take(call, grid.rank, "depthwise_kernel")
    weight = _depthwise_weight(call, grid, kernel)
    attrs = _attrs(call, grid, weight, grid.channels)
    y = _emit(call, grid.enter(), weight, bias, "kernel", attrs, f"{call.base}/conv", "conv")
    return [activate(call, grid.leave(y))]


@keras_layer("SeparableConv1D", "SeparableConv2D")
def _separable(call: Call) -> list[Tensor]:
    grid = SpatialInput.of(call)
    (kernel, mixing), bias = _take(call, grid.rank, "depthwise_kernel", "pointwise_kernel")
    weight = _depthwise_weight(call, grid, kernel)
    depth = _attrs(call, grid, weight, grid.channels)
    if mixing.shape[:-1] != (*(1,) * grid.rank, weight.shape[0]):
        raise call.layer.damaged(f"its pointwise kernel has shape {mixing.shape} over {weight.shape[0]} channels")
    base = call.base
    y = _emit(call, grid.enter(), weight, None, "depthwise_kernel", depth, f"{base}/depthwise", "conv")
    ones = [1] * grid.rank
    point = {"strides": ones, "dilations": ones, "pads": [0, 0] * grid.rank, "group": 1}
    weight = np.moveaxis(mixing, (-1, -2), (0, 1))
    y = _emit(call, y, weight, bias, "pointwise_kernel", point, f"{base}/pointwise", "conv")
    return [activate(call, grid.leave(y))]


@keras_layer("Conv1DTranspose", "Conv2DTranspose")
def _transposed(call: Call) -> list[Tensor]:
    layer, grid = call.layer, SpatialInput.of(call)
    (kernel,), bias = _take(call, grid.rank, "kernel")
    *taps, filters, inputs = kernel.shape
    if inputs != grid.channels or filters != layer.integer("filters"):
        raise layer.damaged(f"kernel has shape {kernel.shape} for an input of shape {grid.x.shape}")
    windows = _windows(call, tuple(taps), grid.rank)
    if windows.begin:
        raise layer.unsupported("padding is causal", "use same or valid")
    given = layer.get("output_padding", default=None)
    extra = [None] * grid.rank if given is None else numbers(layer, grid.rank, "output_padding", least=0)
    cuts = [_cut(windows, n, more) for n, more in enumerate(extra)]
    if windows.same and call.rules.backend == "torch" and any(a + b > 0 and a != b for a, b in cuts):
        raise layer.unsupported(
            "padding is 'same' and crops an odd number of elements, for which versions of Keras on torch disagree",
            "use padding='valid' and a Cropping layer",
        )
    for n, k, s, d, (before, after) in zip(grid.spatial, taps, windows.strides, windows.dilations, cuts, strict=True):
        size = None if n is None else (n - 1) * s + (k - 1) * d + 1 - before - after
        if size is not None and size < 1:
            raise layer.damaged(f"its output has {size} elements for {n} elements of the input")
    attrs = {
        "strides": windows.strides,
        "dilations": windows.dilations,
        "pads": [*(before for before, _ in cuts), *(max(after, 0) for _, after in cuts)],
        "output_padding": [max(-after, 0) for _, after in cuts],
        "group": 1,
    }
    weight = np.moveaxis(kernel, (-1, -2), (0, 1))
    y = _emit(call, grid.enter(), weight, bias, "kernel", attrs, f"{call.base}/conv", "conv_transpose")
    return [activate(call, grid.leave(y))]


def _cut(windows: LayerWindows, axis: int, extra: int | None) -> tuple[int, int]:
    """Return how much of a transposed convolution's full output is cut before and after `axis`.

    A negative number after the axis extends the output. Sizes are those of Keras's documentation. The smaller half of
    an odd number is cut before, as in TensorFlow's gradient of a convolution and in JAX; on torch, Keras cut it after
    until 3.15.
    """
    k, s, d = windows.taps[axis], windows.strides[axis], windows.dilations[axis]
    reach = (k - 1) * d + 1
    if extra is not None:
        total = 2 * (reach // 2) - extra if windows.same else -extra
    else:
        total = reach - s if windows.same else min(reach - s, 0)
    before = max(total, 0) // 2
    return before, total - before

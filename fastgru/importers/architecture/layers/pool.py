"""Pools and upsampling of torch.nn."""

import math
from typing import Any, Final

import numpy as np

from fastgru.graphbuilder import Value
from fastgru.importers.architecture.registry import DescribedLayer, layer_type

_MOST_CHECKED: Final = 1 << 12


@layer_type("MaxPool1d", "MaxPool2d", options="kernel_size stride padding dilation ceil_mode")
def _max_pool(layer: DescribedLayer) -> Value:
    return _pool(layer, "max", layer.options.each("dilation", layer.spatial(), 1, least=1), include=False)


@layer_type("AvgPool1d", "AvgPool2d", options="kernel_size stride padding ceil_mode count_include_pad")
def _average_pool(layer: DescribedLayer) -> Value:
    return _pool(layer, "average", [1] * layer.spatial(), include=layer.options.flag("count_include_pad", True))


@layer_type("AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveMaxPool1d", "AdaptiveMaxPool2d", options="output_size")
def _adaptive(layer: DescribedLayer) -> Value:
    n = layer.spatial()
    if any(size != 1 for size in layer.options.each("output_size", n, least=1)):
        raise layer.unsupported("an output_size other than 1", "use a pool with the kernel_size that your sizes give")
    kind = "mean" if "Avg" in layer.type else "max"
    return layer.apply("reduce", layer.x, kind=kind, axes=list(range(2, n + 2)), keepdims=True)


def _pool(layer: DescribedLayer, kind: str, dilations: list[int], *, include: bool) -> Value:
    n = len(dilations)
    kernel, ceil_mode = layer.options.each("kernel_size", n, least=1), layer.options.flag("ceil_mode", False)
    strides = layer.options.each("stride", n, kernel, least=1)
    padding = layer.options.each("padding", n, 0)
    if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        raise layer.options.wrong("padding", f"at most half of the kernel {kernel}")
    for i, size in enumerate(layer.x.shape[2:]):
        room = 0 if size is None else size + 2 * padding[i] - (kernel[i] - 1) * dilations[i] - 1
        if room < 0:
            raise layer.wrong_input(f"{-room} more elements on axis {i + 2} for a kernel of {kernel}")
    return layer.apply(
        "pool",
        layer.x,
        kind=kind,
        kernel=kernel,
        strides=strides,
        pads=[*padding, *padding],
        dilations=dilations,
        ceil_mode=ceil_mode,
        count_include_pad=include,
    )


@layer_type("Upsample", options="scale_factor mode align_corners")
def _upsample(layer: DescribedLayer) -> Value:
    """Make the axes after the second scale_factor times as long."""
    layer.need_rank(3, 4, form="(N, C, L) or (N, C, H, W)")
    n = layer.rank - 2
    smooth = "linear" if n == 1 else "bilinear"
    mode = layer.options.choice("mode", ("nearest", smooth), "nearest")
    corners = layer.options.flag("align_corners", False)
    given = layer.options.raw("scale_factor")
    factors = [float(v) for v in (given if isinstance(given, list | tuple) else [given] * n) if _is_factor(v)]
    if len(factors) != n:
        raise layer.options.wrong("scale_factor", f"a positive number, or {n}")
    if mode == "nearest":
        attrs: dict[str, Any] = {"mode": "nearest", "coordinates": "asymmetric", "nearest": "floor"}
    else:
        attrs = {"mode": "linear", "coordinates": "align_corners" if corners else "half_pixel"}
    if mode == "nearest" and corners:
        raise layer.invalid("align_corners does not apply to mode 'nearest': leave it out")
    sizes = [None if s is None else math.floor(s * f) for s, f in zip(layer.x.shape[2:], factors, strict=True)]
    if 0 in sizes:
        raise layer.wrong_input(f"more elements: scale_factor {factors} leaves none")
    for factor, size in zip(factors, layer.x.shape[2:], strict=True) if mode == "nearest" else ():
        if not _agrees(factor, size):
            raise layer.unsupported(
                f"scale_factor {factor} with mode 'nearest', whose result depends on how torch rounds",
                "use a whole number, or mode 'linear' or 'bilinear'",
            )
    scales = layer.constant("scales", [1.0, 1.0, *factors], "float32")
    return layer.apply("resize", layer.x, None, scales, **attrs)


def _agrees(factor: float, size: int | None) -> bool:
    """Return whether torch takes the neighbours floor(i / factor).

    torch multiplies by 1 / factor in float32, unless the output is as long as the input or twice as long.
    """
    for n in (*range(1, 65), _MOST_CHECKED) if size is None else (min(size, _MOST_CHECKED),):
        count = math.floor(n * factor)
        i = np.arange(count)
        theirs = np.floor(i.astype(np.float32) * np.float32(1 / factor))
        theirs = i if count == n else i // 2 if count == 2 * n else theirs
        if not np.array_equal(np.minimum(theirs, n - 1), np.minimum(np.floor(i / float(np.float32(factor))), n - 1)):
            return False
    return True


def _is_factor(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1 << 16

"""Convolutions and transposed convolutions of torch.nn over one or two axes."""

from typing import Final

from fastgru.graphbuilder import Value
from fastgru.importers.architecture.layers.shape import padded, sliced
from fastgru.importers.architecture.registry import DescribedLayer, Shape, layer_type

_SIZES: Final = "in_channels out_channels kernel_size bias"
_MODES: Final = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


@layer_type(
    *("Conv1d", "Conv2d"),
    options="stride padding dilation groups padding_mode",
    sizes=_SIZES,
    weights=True,
    states=True,
)
def _conv(layer: DescribedLayer) -> Value | tuple[tuple[str, Value], ...]:
    """x (N, C, ...), weight (O, C / groups, K...), bias (O,) -> (N, O, ...).

    With a state, the axis after the channels is time: the state is the (K - 1) * dilation frames before x.
    """
    n = layer.spatial()
    group = layer.options.integer("groups", 1, least=1)
    C = layer.x.shape[1]
    weight = layer.weight("weight", ("O", f"C / {group}", *"KL"[:n]))
    O, each, *taps = weight.shape
    if C not in (None, each * group) or O % group:
        raise layer.wrong_input(f"{each * group} channels in {_where(layer, weight.shape, group)}")
    strides, dilations = layer.options.each("stride", n, 1, least=1), layer.options.each("dilation", n, 1, least=1)
    _check_sizes(layer, each * group, O, taps)
    pads = _pads(layer, taps, strides, dilations)
    mode = layer.options.choice("padding_mode", ("zeros", *_MODES), "zeros")
    x, frames = layer.x, None
    if layer.states:
        x, frames = _continued(layer, (taps[0] - 1) * dilations[0], strides[0], pads[0] + pads[n])
    if mode != "zeros" and any(pads):
        x, pads = padded(layer, x, list(range(2, n + 2)), pads, _MODES[mode]), [0] * (2 * n)
    for i, size in enumerate(x.shape[2:]):
        reach, room = (taps[i] - 1) * dilations[i] + 1, pads[i] + pads[i + n]
        if size is not None and size + room < reach:
            raise layer.wrong_input(f"{reach - room} elements or more on axis {i + 2}")
    attrs = {"strides": strides, "pads": pads, "dilations": dilations, "group": group}
    y = layer.apply("conv", x, *layer.stored_with_bias(weight, O), **attrs)
    return y if frames is None else (("", y), ("frames", frames))


def _continued(layer: DescribedLayer, context: int, stride: int, padding: int) -> tuple[Value, Value]:
    """Return (frames of the state followed by x, the last `context` frames of these)."""
    if len(layer.states) != 1 or not context or stride != 1 or padding:
        raise layer.invalid(
            f"along time it has {len(layer.states)} states, reads {context} earlier frames, and has stride {stride} and"
            f" padding {padding}; with a state, expected 1 state, 1 earlier frame or more, stride 1 and padding 0"
        )
    shape, dims = list(layer.x.shape), list(layer.x.dims)
    shape[2], dims[1:3] = context, (None, None)
    before = layer.open_state(layer.states[0], layer.form(tuple(shape), dims))
    whole = layer.apply("concat", before, layer.x, axis=2)
    return whole, sliced(layer, whole, -context, (1 << 63) - 1, 2)


@layer_type(
    *("ConvTranspose1d", "ConvTranspose2d"),
    options="stride padding output_padding dilation groups",
    sizes=_SIZES,
    weights=True,
)
def _conv_transpose(layer: DescribedLayer) -> Value:
    """x (N, C, ...), weight (C, O / groups, K...), bias (O,) -> (N, O, ...)."""
    n = layer.spatial()
    group = layer.options.integer("groups", 1, least=1)
    weight = layer.weight("weight", (layer.x.shape[1] or "C", f"O / {group}", *"KL"[:n]))
    C, each, *taps = weight.shape
    if C % group:
        raise layer.wrong_input(f"a multiple of {group} channels in {_where(layer, weight.shape, group)}")
    strides, dilations = layer.options.each("stride", n, 1, least=1), layer.options.each("dilation", n, 1, least=1)
    padding, more = layer.options.each("padding", n, 0), layer.options.each("output_padding", n, 0)
    _check_sizes(layer, C, each * group, taps)
    for i, size in enumerate(layer.x.shape[2:]):
        if more[i] >= max(strides[i], dilations[i]):
            raise layer.invalid(f"output_padding is {more}, expected less than the stride {strides} or the dilation")
        out = -2 * padding[i] + dilations[i] * (taps[i] - 1) + more[i] + 1
        if size is not None and (size - 1) * strides[i] + out < 1:
            raise layer.wrong_input(f"more elements on axis {i + 2}: the padding {padding} leaves nothing")
    return layer.apply(
        "conv_transpose",
        layer.x,
        *layer.stored_with_bias(weight, each * group),
        strides=strides,
        pads=[*padding, *padding],
        dilations=dilations,
        group=group,
        output_padding=more,
    )


def _where(layer: DescribedLayer, weight: Shape, group: int) -> str:
    return f"{layer.parameters.key('weight')!r} of shape {weight}, groups {group}"


def _check_sizes(layer: DescribedLayer, inputs: int, outputs: int, taps: list[int]) -> None:
    layer.check_sizes(in_channels=inputs, out_channels=outputs, bias=layer.parameters.has("bias"))
    if "kernel_size" in layer.options and layer.options.each("kernel_size", len(taps)) != taps:
        raise layer.invalid(f"kernel_size is {layer.options.raw('kernel_size')!r}, but its weights have {taps}")


def _pads(layer: DescribedLayer, taps: list[int], strides: list[int], dilations: list[int]) -> list[int]:
    """Return the padding before each axis, then after each; for "same" the odd element comes after."""
    given = layer.options.raw("padding", 0)
    if given == "valid":
        return [0] * (2 * len(taps))
    if given == "same":
        if any(s != 1 for s in strides):
            raise layer.invalid(f"padding is 'same' with stride {strides}, expected stride 1, as in torch")
        totals = [d * (k - 1) for k, d in zip(taps, dilations, strict=True)]
        return [*(t // 2 for t in totals), *(t - t // 2 for t in totals)]
    if isinstance(given, str):
        raise layer.options.wrong("padding", "an integer, one for each axis, 'same' or 'valid'")
    return layer.options.each("padding", len(taps), 0) * 2

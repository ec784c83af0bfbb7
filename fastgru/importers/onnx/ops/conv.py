"""Convolutions over one or two spatial axes."""

from typing import Any, Final

from fastgru.graphbuilder import Value
from fastgru.importers.onnx.builder import OnnxGraphBuilder
from fastgru.importers.onnx.registry import OnnxNode, operator

__all__ = ["check_axes", "convolved", "kernel_axes", "padding", "windows"]

_MOST_AXES: Final = 2
_CONSTANTS: Final = {1: "W", 2: "B"}
_LIMITS: Final = "one or two spatial axes"


def check_axes(node: OnnxNode, rank: int) -> None:
    """Refuse windows over more spatial axes than are supported."""
    if rank < 1:
        raise node.invalid("its input has no spatial axis, expected (N, C, D1, ...)")
    if rank > _MOST_AXES:
        raise node.unsupported(
            f"its windows have {rank} spatial axes",
            f"at most {_MOST_AXES} are supported: put one axis into the batch, or write it as a sum over slices",
        )


def padding(node: OnnxNode, rank: int) -> list[int] | str:
    """Return pads and auto_pad as one value: a list of numbers, "same_upper" or "same_lower"."""
    mode = node.attrs.choice("auto_pad", ("NOTSET", "SAME_LOWER", "SAME_UPPER", "VALID"), "NOTSET")
    pads = node.attrs.integers("pads")
    if mode == "NOTSET":
        return _numbers(node, "pads", 2 * rank, 0)
    if pads is not None and any(pads):
        raise node.invalid(f"attribute 'pads' is {pads} and 'auto_pad' is {mode!r}, expected only one of the two")
    return [0] * (2 * rank) if mode == "VALID" else mode.lower()


def _numbers(node: OnnxNode, name: str, count: int, default: int) -> list[int]:
    given = node.attrs.integers(name)
    if given is None:
        return [default] * count
    if len(given) != count or min(given, default=0) < min(default, 1):
        raise node.invalid(f"attribute {name!r} is {given}, expected {count} numbers of at least {default}")
    return given


def windows(node: OnnxNode, rank: int) -> dict[str, Any]:
    """Return strides, dilations and pads of a node that slides over `rank` axes."""
    return {
        "strides": _numbers(node, "strides", rank, 1),
        "dilations": _numbers(node, "dilations", rank, 1),
        "pads": padding(node, rank),
    }


def kernel_axes(node: OnnxNode, x: Value, weight: Value) -> tuple[int, int]:
    """Return (group, number of spatial axes) of a convolution, checked against its constant weight."""
    assert weight.array is not None, "the registry says which inputs are constants"
    rank = weight.array.ndim - 2
    check_axes(node, rank)
    if x.rank is not None and x.rank != rank + 2:
        raise node.invalid(f"X has {x.rank} axes and W has {rank + 2}, expected the same number")
    taps = list(weight.array.shape[2:])
    shape = node.attrs.integers("kernel_shape")
    if shape is not None and shape != taps:
        raise node.invalid(f"attribute 'kernel_shape' is {shape}, but W has {taps}")
    group = node.attrs.integer("group", 1)
    if group < 1 or weight.array.shape[0] % group:
        raise node.invalid(f"attribute 'group' is {group}, expected a divisor of the {weight.array.shape[0]} of W")
    return group, rank


def _operands(node: OnnxNode) -> tuple[list[Value | None], dict[str, Any]]:
    """Return [x, weight, bias] and the attributes that all convolutions have."""
    weight, bias = node.finite(node.input(1), "W"), node.optional(2)
    group, rank = kernel_axes(node, node.input(0), weight)
    inputs = [node.input(0), weight, None if bias is None else node.finite(bias, "B")]
    return inputs, {"group": group, **windows(node, rank)}


@operator("Conv", versions=(1, 11, 22), inputs=(2, 3), constants=_CONSTANTS, limits=_LIMITS)
def convolved(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    """Convolve the first input with the second; the third is an optional bias."""
    inputs, attrs = _operands(node)
    return build.emit("conv", *inputs, **attrs)


@operator("ConvTranspose", versions=(1, 11, 22), inputs=(2, 3), constants=_CONSTANTS, limits=_LIMITS)
def _conv_transpose(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    inputs, attrs = _operands(node)
    rank = len(attrs["strides"])
    attrs["output_padding"] = _numbers(node, "output_padding", rank, 0)
    sizes = node.attrs.integers("output_shape")
    if sizes:
        if len(sizes) not in (rank, rank + 2) or min(sizes) < 0:
            raise node.invalid(f"attribute 'output_shape' is {sizes}, expected {rank} sizes")
        attrs["output_shape"] = sizes
    return build.emit("conv_transpose", *inputs, **attrs)

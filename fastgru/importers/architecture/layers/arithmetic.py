"""Arithmetic of values with broadcasting, and reductions, under the names of torch's functions."""

from typing import Final

from fastgru.errors import ShapeError
from fastgru.graphbuilder import Value
from fastgru.importers.architecture.registry import DescribedLayer, layer_type, shown

_KINDS: Final = {"Add": "add", "Div": "div", "Maximum": "max", "Minimum": "min", "Mul": "mul", "Sub": "sub"}
_REDUCE: Final = {"LogSumExp": "log_sum_exp", "Max": "max", "Mean": "mean", "Min": "min", "Sum": "sum"}


@layer_type("Div", "Sub", inputs=(2, 2), floats=False)
@layer_type("Add", "Maximum", "Minimum", "Mul", inputs=(2, None), floats=False)
def _binary(layer: DescribedLayer) -> Value:
    """Two values, or one after the other of several."""
    x = layer.x
    for index, other in enumerate(layer.inputs[1:], 1):
        if other.dtype != x.dtype:
            raise ShapeError(f"{layer}: its input {layer.input_names[index]!r} is {other.dtype}, expected {x.dtype}")
        y = layer.apply("binary", x, other, kind=_KINDS[layer.type])
        if y.sizes is None:
            raise layer.wrong_input(f"one that broadcasts with {shown(x)}", index)
        x = y
    return x


@layer_type(*_REDUCE, options="dim keepdim")
def _reduce(layer: DescribedLayer) -> Value:
    """Over the axes dim."""
    axes = layer.axes("dim")
    keep = layer.options.flag("keepdim", False)
    return layer.apply("reduce", layer.x, kind=_REDUCE[layer.type], axes=axes, keepdims=keep)


@layer_type("ArgMax", "ArgMin", options="dim keepdim", floats=False)
def _arg(layer: DescribedLayer) -> Value:
    """Where the largest or smallest element along dim is, int64; the first of equals."""
    axis, keep, kind = layer.axis("dim"), layer.options.flag("keepdim", False), layer.type[3:].lower()
    return layer.apply("arg", layer.x, kind=kind, axis=axis, keepdims=keep, select_last=False)


@layer_type("CumSum", options="dim")
def _cumsum(layer: DescribedLayer) -> Value:
    return layer.apply("cumsum", layer.x, axis=layer.axis("dim"), exclusive=False, reverse=False)

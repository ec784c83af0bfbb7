"""Arithmetic of values with broadcasting, and reductions, under the names of torch's functions."""

from __future__ import annotations

from typing import Any, Final

from fastgru.errors import ShapeError
from fastgru.graph import TensorSpec
from fastgru.importers.architecture.layer import Layer
from fastgru.importers.architecture.registry import layer_type
from fastgru.importers.architecture.values import merged, shape_of, shown

__all__: list[str] = []

_KINDS: Final = {"Add": "add", "Div": "div", "Maximum": "max", "Minimum": "min", "Mul": "mul", "Sub": "sub"}
_REDUCE: Final = {"LogSumExp": "log_sum_exp", "Max": "max", "Mean": "mean", "Min": "min", "Sum": "sum"}


@layer_type("Div", "Sub", inputs=(2, 2))
@layer_type("Add", "Maximum", "Minimum", "Mul", inputs=(2, None))
def _binary(layer: Layer) -> TensorSpec:
    """Two values, or one after the other of several."""
    x = layer.x
    for index, other in enumerate(layer.inputs[1:], 1):
        if other.dtype != x.dtype:
            raise ShapeError(f"{layer}: its input {layer.input_names[index]!r} is {other.dtype}, expected {x.dtype}")
        out = merged(x, other)
        if out is None:
            raise layer.wrong_input(f"one that broadcasts with {shown(x)}", index)
        x = layer.apply("binary", x, other, shape=out.shape, dims=out.dims, kind=_KINDS[layer.type])
    return x


@layer_type(*_REDUCE, options="dim keepdim")
def _reduce(layer: Layer) -> TensorSpec:
    """Over the axes dim."""
    layer.need_float()
    axes = layer.axes("dim")
    return _reduced(layer, "reduce", axes, layer.x.dtype, {"kind": _REDUCE[layer.type], "axes": axes})


@layer_type("ArgMax", "ArgMin", options="dim keepdim")
def _arg(layer: Layer) -> TensorSpec:
    """Where the largest or smallest element along dim is, int64; the first of equals."""
    axis = layer.axis("dim")
    return _reduced(layer, "arg", [axis], "int64", {"kind": layer.type[3:].lower(), "axis": axis, "select_last": False})


def _reduced(layer: Layer, op: str, axes: list[int], dtype: str, attrs: dict[str, Any]) -> TensorSpec:
    keep, shape, dims = layer.options.flag("keepdim", False), shape_of(layer.x), layer.x.dims
    ends = [
        (1 if a in axes else shape[a], None if a in axes else dims[a])
        for a in range(layer.rank)
        if keep or a not in axes
    ]
    sizes, names = tuple(s for s, _ in ends), tuple(d for _, d in ends)
    return layer.apply(op, layer.x, shape=sizes, dims=names, dtype=dtype, keepdims=keep, **attrs)


@layer_type("CumSum", options="dim")
def _cumsum(layer: Layer) -> TensorSpec:
    layer.need_float()
    return layer.apply("cumsum", layer.x, axis=layer.axis("dim"), exclusive=False, reverse=False)

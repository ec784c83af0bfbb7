"""Arithmetic with broadcasting, matrix multiplications, reductions, and tensors of the state dict as values."""

from typing import Final

from fastgru.errors import ShapeError
from fastgru.graphbuilder import Value
from fastgru.importers.architecture.registry import DescribedLayer, layer_type, shown

_KINDS: Final = {"Add": "add", "Div": "div", "Maximum": "max", "Minimum": "min", "Mul": "mul", "Sub": "sub"}
_REDUCE: Final = {"LogSumExp": "log_sum_exp", "Max": "max", "Mean": "mean", "Min": "min", "Sum": "sum"}


@layer_type("Div", "Sub", inputs=(2, 2), floats=False)
@layer_type("Add", "Maximum", "Minimum", "Mul", inputs=(2, None), floats=False)
def _binary(layer: DescribedLayer) -> Value:
    """Combine all values from left to right."""
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
    """Reduce the axes dim."""
    axes = layer.axes("dim")
    keep = layer.options.flag("keepdim", False)
    return layer.apply("reduce", layer.x, kind=_REDUCE[layer.type], axes=axes, keepdims=keep)


@layer_type("ArgMax", "ArgMin", options="dim keepdim", floats=False)
def _arg(layer: DescribedLayer) -> Value:
    """Return the index (int64) of the largest or smallest element along dim; the first of equal ones."""
    axis, keep, kind = layer.axis("dim"), layer.options.flag("keepdim", False), layer.type[3:].lower()
    return layer.apply("arg", layer.x, kind=kind, axis=axis, keepdims=keep, select_last=False)


@layer_type("CumSum", options="dim")
def _cumsum(layer: DescribedLayer) -> Value:
    return layer.apply("cumsum", layer.x, axis=layer.axis("dim"), exclusive=False, reverse=False)


@layer_type("Linear", sizes="in_features out_features bias", weights=True)
def _linear(layer: DescribedLayer) -> Value:
    """x weight^T + bias: x (..., I), weight (O, I), bias (O,)."""
    if not layer.rank:
        raise layer.wrong_input("one axis or more")
    weight = layer.weight("weight", ("O", layer.x.shape[-1]))
    O, I = weight.shape
    inputs = layer.stored_with_bias(weight, O)
    layer.check_sizes(in_features=I, out_features=O, bias=len(inputs) == 2)
    return layer.apply("linear", layer.x, *inputs)


@layer_type("Embedding", sizes="num_embeddings embedding_dim", training="padding_idx", weights=True, floats=False)
def _embedding(layer: DescribedLayer) -> Value:
    """ids (...) -> weight[ids] (..., D), weight (V, D)."""
    if not (layer.x.dtype or "").startswith(("int", "uint")):
        raise ShapeError(f"{layer}: its input {layer.input_names[0]!r} is {layer.x.dtype}, expected integers")
    weight = layer.weight("weight", ("V", "D"))
    layer.check_sizes(num_embeddings=weight.shape[0], embedding_dim=weight.shape[1])
    return layer.apply("embedding", layer.x, layer.stored("weight", weight))


@layer_type("Parameter", options="key", inputs=(0, 0), weights=True, floats=False)
def _parameter(layer: DescribedLayer) -> Value:
    """Return a tensor of the state dict, such as positions or an initial state.

    key: its name, after the prefix if one is given.
    """
    name = layer.options.text("key")
    return layer.stored(name, layer.parameters.take(name, None))


@layer_type("MatMul", inputs=(2, 2))
def _matmul(layer: DescribedLayer) -> Value:
    """a b, for matrices or stacks of matrices as in torch.matmul."""
    for index, x in enumerate(layer.inputs):
        if len(x.shape) < 2:
            raise layer.wrong_input("two axes or more", index)
    y = layer.apply("matmul", *layer.inputs)
    if y.sizes is None:
        name, other = layer.input_names[1], shown(layer.inputs[1])
        raise layer.wrong_input(f"matrices to be multiplied with those of {name!r}, {other}")
    return y

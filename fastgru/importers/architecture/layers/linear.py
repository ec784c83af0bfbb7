"""Multiplications: the affine map, the look-up, products of values; and tensors of the state dict as values."""

from fastgru.errors import ShapeError
from fastgru.graphbuilder import Value
from fastgru.importers.architecture.registry import DescribedLayer, layer_type, shown


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
    """A tensor of the state dict as it is: positions, a mask, an initial state. key: its name under the prefix."""
    name = layer.options.text("key")
    return layer.stored(name, layer.parameters.take(name, None))


@layer_type("MatMul", inputs=(2, 2))
def _matmul(layer: DescribedLayer) -> Value:
    """a b, stacks of matrices as torch.matmul has them."""
    for index, x in enumerate(layer.inputs):
        if len(x.shape) < 2:
            raise layer.wrong_input("two axes or more", index)
    y = layer.apply("matmul", *layer.inputs)
    if y.sizes is None:
        name, other = layer.input_names[1], shown(layer.inputs[1])
        raise layer.wrong_input(f"matrices to be multiplied with those of {name!r}, {other}")
    return y

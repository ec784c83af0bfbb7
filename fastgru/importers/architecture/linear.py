"""Products: the affine map, the look-up, products of values; and tensors of the state dict as values."""

from __future__ import annotations

from fastgru.errors import ShapeError
from fastgru.graph import TensorSpec
from fastgru.importers.architecture.layer import Layer
from fastgru.importers.architecture.registry import layer_type
from fastgru.importers.architecture.values import merged, shape_of, shown

__all__: list[str] = []


@layer_type("Linear", sizes="in_features out_features bias", weights=True)
def _linear(layer: Layer) -> TensorSpec:
    """x weight^T + bias: x (..., I), weight (O, I), bias (O,)."""
    layer.need_float()
    if not layer.rank:
        raise layer.wrong_input("one axis or more")
    weight = layer.weight("weight", ("O", shape_of(layer.x)[-1]))
    O, I = weight.shape
    bias = layer.parameters.optional("bias", (O,))
    layer.check_size("in_features", I)
    layer.check_size("out_features", O)
    layer.check_size("bias", bias is not None)
    inputs = [layer.stored("weight", weight)] + ([] if bias is None else [layer.stored("bias", bias)])
    return layer.apply("linear", layer.x, *inputs, shape=(*shape_of(layer.x)[:-1], O), dims=(*layer.x.dims[:-1], None))


@layer_type("Embedding", sizes="num_embeddings embedding_dim", training="padding_idx", weights=True)
def _embedding(layer: Layer) -> TensorSpec:
    """ids (...) -> weight[ids] (..., D), weight (V, D)."""
    if not layer.x.dtype.startswith(("int", "uint")):
        raise ShapeError(f"{layer}: its input {layer.input_names[0]!r} is {layer.x.dtype}, expected integers")
    weight = layer.weight("weight", ("V", "D"))
    layer.check_size("num_embeddings", weight.shape[0])
    layer.check_size("embedding_dim", weight.shape[1])
    table, shape = layer.stored("weight", weight), (*shape_of(layer.x), weight.shape[1])
    return layer.apply("embedding", layer.x, table, shape=shape, dims=(*layer.x.dims, None), dtype="float32")


@layer_type("Parameter", options="key", inputs=(0, 0), weights=True)
def _parameter(layer: Layer) -> TensorSpec:
    """A tensor of the state dict as it is: positions, a mask, an initial state. key: its name under the prefix."""
    name = layer.options.text("key")
    array = layer.parameters.take(name, None)
    return TensorSpec(layer.stored(name, array), "float32", array.shape, (None,) * array.ndim)


@layer_type("MatMul", inputs=(2, 2))
def _matmul(layer: Layer) -> TensorSpec:
    """a b, stacks of matrices as torch.matmul has them."""
    layer.need_float()
    a, b = layer.inputs
    m, n = shape_of(a), shape_of(b)
    if len(m) < 2 or len(n) < 2:
        raise layer.wrong_input("two axes or more", 0 if len(m) < 2 else 1)
    lead = merged(*(TensorSpec("", a.dtype, shape_of(v)[:-2], v.dims[:-2]) for v in (a, b)))
    if lead is None or (m[-1] is not None and n[-2] is not None and m[-1] != n[-2]):
        raise layer.wrong_input(f"matrices to be multiplied with those of {layer.input_names[1]!r}, {shown(b)}")
    return layer.apply("matmul", a, b, shape=(*shape_of(lead), m[-2], n[-1]), dims=(*lead.dims, a.dims[-2], b.dims[-1]))

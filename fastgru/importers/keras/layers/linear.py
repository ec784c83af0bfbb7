"""Dense, EinsumDense, Embedding and Masking, and layers without effect in inference."""

import numpy as np

from fastgru.importers.keras.call import Call, Tensor
from fastgru.importers.keras.layers.activation import activate
from fastgru.importers.keras.registry import keras_layer


@keras_layer("Dense", stepwise=True)
@keras_layer("TimeDistributedDense")
def _dense(call: Call) -> list[Tensor]:
    layer, x = call.layer, call.x
    roles = ("kernel", "bias") if layer.flag("use_bias", "bias", default=True) else ("kernel",)
    kernel, *bias = call.weights.take(layer, *roles)
    if kernel.ndim != 2 or any(b.shape != kernel.shape[1:] for b in bias):
        raise layer.damaged(f"kernel and bias have shapes {[a.shape for a in (kernel, *bias)]}, expected (I, O), (O,)")
    if x.rank < 2 or (x.shape[-1] is not None and x.shape[-1] != kernel.shape[0]):
        raise layer.damaged(f"kernel has shape {kernel.shape} for an input of shape {x.shape}")
    graph = call.graph
    # Keras computes x @ kernel; `linear` takes the transposed matrix.
    inputs = [x.value, graph.constant(np.ascontiguousarray(kernel.T), f"{call.home}/kernel")]
    inputs += [graph.constant(b, f"{call.home}/bias") for b in bias]
    y = x.but(value=graph.add("linear", inputs, call.base))
    return [activate(call, y)]


@keras_layer("EinsumDense")
def _einsum_dense(call: Call) -> list[Tensor]:
    """Multiply by a kernel along the axes that an equation names; "..." means all axes before these."""
    layer, x, graph = call.layer, call.x, call.graph
    equation = layer.text("equation").replace(" ", "")
    given, _, result = equation.partition("->")
    inputs, _, weights = given.partition(",")
    biased = layer.get("bias_axes", default=None) is not None
    kernel, *bias = call.weights.take(layer, "kernel", *(["bias"] if biased else []))
    if inputs.startswith("...") and result.startswith("..."):
        free = [c for c in "ABCDEFGH" if c not in equation][: max(x.rank - len(inputs) + 3, 0)]
        inputs, result = ("".join(free) + term[3:] for term in (inputs, result))
    if not all(term.isalpha() and term.isascii() for term in (inputs, weights, result)):
        raise layer.unsupported(f"equation is {equation!r:.60}", "name every axis, or begin with '...' on both sides")
    fits = len(inputs) == x.rank and len(weights) == kernel.ndim
    if not fits or not set(result) <= {*inputs, *weights} or len(set(result)) < len(result):
        raise layer.damaged(f"equation is {equation!r:.60} for {x.shape} and a kernel of shape {kernel.shape}")
    sizes: dict[str, int | None] = dict(zip(weights, kernel.shape, strict=True))
    for letter, size in zip(inputs, x.shape, strict=True):
        if size is not None and sizes.get(letter, size) != size:
            raise layer.damaged(f"kernel has shape {kernel.shape} for an input of shape {x.shape} by {equation!r:.60}")
        sizes[letter] = sizes.get(letter, size)
    shape = tuple(sizes[letter] for letter in result)
    term = f"{inputs},{weights}->{result}"
    if inputs[:-1] == result[:-1] and weights == inputs[-1] + result[-1] and len({*weights, *inputs}) == x.rank + 1:
        value = graph.constant(np.ascontiguousarray(kernel.T), f"{call.home}/kernel")
        y = graph.add("linear", [x.value, value], f"{call.base}/product")
    else:
        value = graph.constant(kernel, f"{call.home}/kernel")
        y = graph.add("einsum", [x.value, value], f"{call.base}/product", {"equation": term})
    if bias:
        ends = zip(bias[0].shape[::-1], shape[::-1], strict=False)
        if bias[0].ndim > len(shape) or any(b not in (1, s) for b, s in ends):
            raise layer.damaged(f"bias has shape {bias[0].shape} for an output of shape {shape}")
        y = graph.add("binary", [y, graph.constant(bias[0], f"{call.home}/bias")], call.base, {"kind": "add"})
    return [activate(call, Tensor(y))]


@keras_layer("Embedding")
def _embedding(call: Call) -> list[Tensor]:
    layer, graph, x = call.layer, call.graph, call.x
    (matrix,) = call.weights.take(layer, "embeddings")
    if matrix.ndim != 2:
        raise layer.damaged(f"embeddings have shape {matrix.shape}, expected (V, D)")
    mask = None
    if layer.flag("mask_zero", default=False):
        call.check_masks()
        zero = graph.constant(np.zeros((), dtype=x.dtype), f"{call.base}/zero")
        mask = graph.add("compare", [x.value, zero], f"{call.base}/mask", {"kind": "not_equal"})
    ids = x.value
    if x.dtype.startswith("float"):  # inputs of Keras are floats by default, and Keras casts them
        ids = graph.add("cast", [ids], f"{call.base}/ids", {"to": "int32"})
    y = graph.add("embedding", [ids, graph.constant(matrix, f"{call.home}/embeddings")], call.base)
    return [Tensor(y, mask)]


@keras_layer("Masking")
def _masking(call: Call) -> list[Tensor]:
    call.check_masks()
    graph, x = call.graph, call.x
    value = graph.scalar(call.layer.number("mask_value", default=0.0), x, f"{call.base}/mask_value")
    differs = graph.add("compare", [x.value, value], f"{call.base}/differs", {"kind": "not_equal"})
    axis = x.rank - 1
    shown = graph.add("reduce", [differs], f"{call.base}/shown", {"kind": "any", "axes": [axis], "keepdims": True})
    mask = graph.add("squeeze", [shown], f"{call.base}/mask", {"axes": [axis]})
    zero = graph.scalar(0.0, x, f"{call.base}/zero")
    return [Tensor(graph.add("where", [shown, x.value, zero], call.base), mask)]


@keras_layer("ActivityRegularization", "AlphaDropout", "Dropout", "GaussianDropout", stepwise=True)
@keras_layer("GaussianNoise", "Identity", stepwise=True)
@keras_layer("SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D")
def _identity(call: Call) -> list[Tensor]:
    """Return the input, because these layers have an effect only in training."""
    return [call.x]

"""MultiHeadAttention: softmax(q k^T / sqrt(D)) v for each of `num_heads` heads, between four linear layers.

Source: Vaswani et al. 2017, "Attention Is All You Need". In Keras the kernels of query, key and value are (features,
heads, D), and the kernel of the output is (heads, D, features).
"""

from typing import Final

import numpy as np

from fastgru.arrays import Array
from fastgru.graphbuilder import Value
from fastgru.importers.keras.call import Call, Tensor
from fastgru.importers.keras.config import LayerConfig
from fastgru.importers.keras.registry import keras_layer

__all__ = ["causal_mask"]


_FAR: Final = -1e9
_ARGUMENTS: Final = (
    *("value", "key", "query_mask", "value_mask", "key_mask", "attention_mask"),
    *("return_attention_scores", "training", "use_causal_mask"),
)


@keras_layer("MultiHeadAttention", positional=_ARGUMENTS, checks_arguments=True)
def _multi_head_attention(call: Call) -> list[Tensor]:
    """Return y (N, Tq, E), and the weights (N, heads, Tq, Tv) if the call asks for them."""
    layer, graph, base = call.layer, call.graph, call.base
    call.check_arguments("args", "value", "key", "use_causal_mask", "return_attention_scores")
    q = call.x
    v = call.arguments.get("value")
    k = call.arguments.get("key")
    k = v if k is None else k
    if not isinstance(v, Tensor) or not isinstance(k, Tensor) or any(x.rank != 3 for x in (q, v, k)):
        raise layer.unsupported(
            "its query, value or key is not a tensor with three axes", "give it tensors of (N, T, D)"
        )
    for name, plain in (("attention_axes", (None, [1])), ("use_gate", (False,)), ("sliding_window", (None,))):
        if layer.get(name, default=plain[0]) not in plain:
            raise layer.unsupported(f"{name} is {layer.get(name)!r:.40}", f"leave {name} out")
    heads, depth = layer.integer("num_heads"), layer.integer("key_dim")
    size = depth if layer.get("value_dim", default=None) is None else layer.integer("value_dim")
    if min(heads, depth, size) < 1:
        raise layer.damaged(f"num_heads, key_dim and value_dim are {heads}, {depth} and {size}")
    q_heads = _projected(call, q, "query", heads, depth, [0, 2, 1, 3])
    k_heads = _projected(call, k, "key", heads, depth, [0, 2, 3, 1])
    v_heads = _projected(call, v, "value", heads, size, [0, 2, 1, 3])
    factor = graph.scalar(1 / np.sqrt(depth), q, f"{base}/factor")
    q_heads = graph.add("binary", [q_heads, factor], f"{base}/scaled", {"kind": "mul"})
    scores = graph.add("matmul", [q_heads, k_heads], f"{base}/scores")
    if call.arguments.get("use_causal_mask"):
        far = graph.scalar(_FAR, q, f"{base}/far")
        scores = graph.add("where", [causal_mask(call, q, v), scores, far], f"{base}/masked")
    weights = graph.add("softmax", [scores], f"{base}/weights", {"axis": 3})
    y = graph.add("matmul", [weights, v_heads], f"{base}/attended")
    y = graph.add("transpose", [y], f"{base}/steps", {"perm": [0, 2, 1, 3]})
    y = graph.add("reshape", [y, graph.integers([0, 0, heads * size], f"{base}/joined_shape")], f"{base}/joined")
    out = _output(call, q, y, heads, size)
    if not call.arguments.get("return_attention_scores"):
        return [out]
    return [out, q.but(value=weights)]


def _arrays(call: Call, role: str, shape: tuple[int | None, ...], bias: tuple[int | None, ...]) -> list[Array]:
    """Return the kernel and, if there is one, the bias of one of the four linear layers."""
    layer = call.layer
    inner = LayerConfig("EinsumDense", role, {})
    side = call.weights.child("output_dense" if role == "attention_output" else f"{role}_dense", inner)
    roles = ["kernel", *(["bias"] if layer.flag("use_bias", default=True) else [])]
    arrays = side.take(layer, *roles)
    for what, array, wanted in zip(roles, arrays, (shape, bias), strict=False):
        if array.ndim != len(wanted) or any(w not in (None, n) for w, n in zip(wanted, array.shape, strict=True)):
            raise layer.damaged(f"the {what} of its {role} has shape {array.shape}, expected {wanted}")
    return arrays


def _projected(call: Call, x: Tensor, role: str, heads: int, size: int, perm: list[int]) -> Value:
    """Return x W + b as (N, T, heads, size), with these axes permuted by `perm`."""
    graph, base = call.graph, f"{call.base}/{role}"
    kernel, *bias = _arrays(call, role, (x.shape[2], heads, size), (heads, size))
    wide = np.ascontiguousarray(kernel.reshape(-1, heads * size).T)
    names = [x.value, graph.constant(wide, f"{call.home}/{role}/kernel")]
    names += [graph.constant(b.reshape(-1), f"{call.home}/{role}/bias") for b in bias]
    y = graph.add("linear", names, f"{base}/projected")
    y = graph.add("reshape", [y, graph.integers([0, 0, heads, size], f"{base}/shape")], f"{base}/split")
    return graph.add("transpose", [y], f"{base}/heads", {"perm": perm})


def _output(call: Call, q: Tensor, joined: Value, heads: int, size: int) -> Tensor:
    layer, graph = call.layer, call.graph
    given = layer.get("output_shape", default=None)
    features = q.shape[2] if given is None else None
    if given is not None:
        sizes = layer.integers("output_shape")
        if len(sizes) != 1:
            raise layer.unsupported(f"output_shape is {list(sizes)}", "give one size")
        features = sizes[0]
    kernel, *bias = _arrays(call, "attention_output", (heads, size, features), (features,))
    wide = np.ascontiguousarray(kernel.reshape(heads * size, -1).T)
    names = [joined, graph.constant(wide, f"{call.home}/attention_output/kernel")]
    names += [graph.constant(b, f"{call.home}/attention_output/bias") for b in bias]
    return Tensor(graph.add("linear", names, call.base))


def causal_mask(call: Call, q: Tensor, v: Tensor) -> Value:
    """Return a mask (1, Tq, Tv) that is true if the step of `v` is not after the step of `q`."""
    Tq, Tv = call.known(q, 1), call.known(v, 1)
    if Tq * Tv > 1 << 24:
        raise call.layer.unsupported(f"a causal mask of {Tq} by {Tv} steps", "attend over shorter sequences")
    return call.graph.constant(np.tri(Tq, Tv, dtype=np.bool_)[None], f"{call.base}/causal")

"""Multi-head attention of torch.nn (Vaswani et al. 2017, "Attention Is All You Need"), without masks.

head_k = softmax(Q_k K_k^T / sqrt(d)) V_k          y = [head_1, ..., head_h] W_o^T + b_o
"""

import math
from collections.abc import Sequence

import numpy as np

from fastgru.graphbuilder import Value
from fastgru.importers.architecture.layers.reshape import KeptAxis, moved, reshaped
from fastgru.importers.architecture.registry import DescribedLayer, layer_type, shown


@layer_type(
    "MultiheadAttention",
    options="num_heads batch_first",
    sizes="embed_dim kdim vdim bias",
    training="dropout",
    inputs=(1, 3),
    weights=True,
)
def _attention(layer: DescribedLayer) -> Value:
    """query (L, N, E), key (S, N, .), value (S, N, .), or (N, ...) with batch_first -> (L, N, E).

    By default, the key is the query, and the value is the key.
    """
    heads, batch_first = layer.options.integer("num_heads", least=1), layer.options.flag("batch_first", False)
    for index, x in enumerate(layer.inputs):
        if len(x.shape) != 3:
            raise layer.wrong_input("3 axes: (L, N, E), or (N, L, E) with batch_first", index)
    out = layer.weight("out_proj.weight", ("E", "E"))
    E = out.shape[0]
    layer.check_sizes(embed_dim=E)
    if E % heads:
        raise layer.options.wrong("num_heads", f"a divisor of {E}, the size of the embedding")
    rows = [x if batch_first else moved(layer, x, [1, 0, 2]) for x in layer.inputs]
    rows += [rows[-1]] * (3 - len(rows))
    for index, (row, axis) in enumerate(zip(rows[1:], (0, 1), strict=True), 1):
        m, n = row.shape[: axis + 1], rows[index - 1].shape[: axis + 1]
        if any(a is not None and b is not None and a != b for a, b in zip(m, n, strict=True)):
            raise layer.wrong_input(f"one that goes with {shown(layer.inputs[0])}", len(layer.inputs) - 1)
    weights, bias = _projections(layer, rows, E)
    made = []
    for row, weight, part in zip(rows, weights, bias, strict=True):
        flat = layer.apply("linear", row, weight, *part)
        made.append(moved(layer, reshaped(layer, flat, [KeptAxis(0), KeptAxis(1), heads, E // heads]), [0, 2, 1, 3]))
    q, k, v = made
    scores = layer.apply("matmul", q, moved(layer, k, [0, 1, 3, 2]))
    scores = layer.apply("activation", scores, kind="affine", alpha=1 / math.sqrt(E // heads), beta=0.0)
    mixed = layer.apply("matmul", layer.apply("softmax", scores, axis=3), v)
    joined = reshaped(layer, moved(layer, mixed, [0, 2, 1, 3]), [KeptAxis(0), KeptAxis(1), E])
    y = layer.apply("linear", joined, *layer.stored_with_bias(out, E, "out_proj."))
    return y if batch_first else moved(layer, y, [1, 0, 2])


def _projections(layer: DescribedLayer, rows: Sequence[Value], E: int) -> tuple[list[Value], list[list[Value]]]:
    """Return, for query, key and value, the constant of the weight (E, .), and [bias (E,)] or []."""
    sizes = [row.shape[2] for row in rows]
    if layer.parameters.has("bias_k") or layer.parameters.has("bias_v"):
        raise layer.unsupported("add_bias_kv", "export the network to ONNX")
    if layer.parameters.has("q_proj_weight"):
        names = ["q_proj_weight", "k_proj_weight", "v_proj_weight"]
        arrays = [layer.weight(name, (E, size or "I")) for name, size in zip(names, sizes, strict=True)]
    else:
        for size in sizes:
            if size not in (None, E):
                raise layer.wrong_input(f"{E} features: there is no q_proj_weight for others")
        names = ["in_proj_weight"] * 3
        arrays = np.split(layer.weight("in_proj_weight", (3 * E, E)), 3)
    bias = layer.parameters.optional("in_proj_bias", (3 * E,))
    layer.check_sizes(kdim=arrays[1].shape[1], vdim=arrays[2].shape[1], bias=bias is not None)
    weights = [layer.stored(name, np.ascontiguousarray(array)) for name, array in zip(names, arrays, strict=True)]
    each = [[], [], []] if bias is None else [[layer.stored("in_proj_bias", part)] for part in np.split(bias, 3)]
    return weights, each

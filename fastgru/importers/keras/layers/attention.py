"""Dot products of two inputs, and attention layers.

    Attention          softmax(scale * q k^T) v, or with scores w * sum(tanh(scale * (q + k)))
    AdditiveAttention  softmax(sum(scale * tanh(q + k))) v

Sources: Luong, Pham, Manning 2015, "Effective Approaches to Attention-based Neural Machine Translation"; Bahdanau, Cho,
Bengio 2015, "Neural Machine Translation by Jointly Learning to Align and Translate". Keras subtracts 1e9 from the
scores of masked values, and outputs zeros at masked queries.
"""

from typing import Final

from fastgru.arrays import Array
from fastgru.graphbuilder import Value
from fastgru.importers.keras.call import Call, Tensor
from fastgru.importers.keras.layers.heads import causal_mask
from fastgru.importers.keras.layers.norm import unit_length
from fastgru.importers.keras.registry import keras_layer

_HIDDEN: Final = 1e9
_ARGUMENTS: Final = ("mask", "training", "return_attention_scores", "use_causal_mask")


@keras_layer("Dot", positional=_ARGUMENTS)
def _dot(call: Call) -> list[Tensor]:
    """Return the dot products of two inputs along one axis of each, which is not the batch axis."""
    layer, graph = call.layer, call.graph
    if len(call.inputs) != 2 or any(x.rank not in (2, 3) for x in call.inputs):
        raise layer.unsupported(
            f"its inputs have the shapes {[x.shape for x in call.inputs]}", "give two inputs of 2 or 3 axes"
        )
    axes = list(layer.integers("axes", "dot_axes"))
    axes = axes * 2 if len(axes) == 1 else axes
    if len(axes) != 2:
        raise layer.damaged(f"axes is {axes}, expected one or two")
    sides, sizes = [], []
    for n, (x, given) in enumerate(zip(call.inputs, axes, strict=True)):
        axis, what = call.axis(x, given, "axes"), f"{call.base}/{'ab'[n]}"
        if axis == 0:
            raise layer.damaged("axes has 0, the axis of the batch")
        sizes.append(x.shape[axis])
        least = 1e-14 if call.rules.major == 3 else 1e-12
        unit = layer.flag("normalize", default=False)
        value = unit_length(call, x, [axis], f"{what}/unit", least) if unit else x.value
        if x.rank == 2:
            value = graph.add("unsqueeze", [value], f"{what}/matrix", {"axes": [2 if n else 1]})
        elif axis != (1 if n else 2):
            value = graph.add("transpose", [value], f"{what}/transposed", {"perm": [0, 2, 1]})
        sides.append((value, x.rank - 2))
    if None not in sizes and sizes[0] != sizes[1]:
        raise layer.damaged(
            f"its inputs have the shapes {[x.shape for x in call.inputs]}, which do not fit along axes {axes}"
        )
    (a, rows), (b, columns) = sides
    y = graph.add("matmul", [a, b], f"{call.base}/product")
    left = [axis for axis, kept in ((1, rows), (2, columns)) if not kept]
    if len(left) == 2:
        left = [1]  # (N, 1)
    y = graph.add("squeeze", [y], call.base, {"axes": left}) if left else y
    return [Tensor(y)]


@keras_layer("Attention", positional=_ARGUMENTS, checks_arguments=True)
def _attention(call: Call) -> list[Tensor]:
    layer = call.layer
    scaled, mode = layer.flag("use_scale", default=False), layer.get("score_mode", default="dot")
    if mode not in ("dot", "concat"):
        raise layer.damaged(f"score_mode is {mode!r:.40}, expected dot or concat")
    roles = [*(["scale"] if scaled else []), *(["concat_score_weight"] if mode == "concat" else [])]
    arrays = dict(zip(roles, call.weights.take(layer, *roles) if roles else [], strict=True))
    for role, array in arrays.items():
        if array.size != 1:
            raise layer.damaged(f"{role} has shape {array.shape}, expected a number")
    q, _, k = _operands(call)
    if mode == "concat":
        scores = _summed(call, q, k, arrays.get("scale"), None)
        return _attend(call, _times(call, scores, arrays["concat_score_weight"], "concat_score_weight"))
    keys = call.graph.add("transpose", [k.value], f"{call.base}/keys", {"perm": [0, 2, 1]})
    scores = call.graph.add("matmul", [q.value, keys], f"{call.base}/scores")
    return _attend(call, _times(call, scores, arrays["scale"], "scale") if scaled else scores)


@keras_layer("AdditiveAttention", positional=_ARGUMENTS, checks_arguments=True)
def _additive_attention(call: Call) -> list[Tensor]:
    layer = call.layer
    q, _, k = _operands(call)
    scale = None
    if layer.flag("use_scale", default=True):
        (scale,) = call.weights.take(layer, "scale")
        if scale.shape != (q.shape[2],):
            raise layer.damaged(f"scale has shape {scale.shape} for a query of shape {q.shape}")
    return _attend(call, _summed(call, q, k, None, scale))


def _operands(call: Call) -> tuple[Tensor, Tensor, Tensor]:
    """Return query (N, Tq, D), value (N, Tv, E) and key (N, Tv, D)."""
    call.check_arguments("args", "mask", "use_causal_mask", "return_attention_scores")
    layer, inputs = call.layer, list(call.inputs)
    if len(inputs) not in (2, 3) or any(x.rank != 3 for x in inputs):
        raise layer.unsupported(
            f"its inputs have the shapes {[x.shape for x in inputs]}", "give two or three of (N, T, D)"
        )
    q, v, k = inputs[0], inputs[1], inputs[-1]
    if None not in (q.shape[2], k.shape[2]) and q.shape[2] != k.shape[2]:
        raise layer.damaged(f"its inputs have the shapes {[x.shape for x in inputs]}, which do not fit together")
    return q, v, k


def _times(call: Call, x: Value, array: Array, what: str) -> Value:
    factor = call.graph.constant(array.reshape(()), f"{call.home}/{what}")
    return call.graph.add("binary", [x, factor], f"{call.base}/times_{what}", {"kind": "mul"})


def _summed(call: Call, q: Tensor, k: Tensor, inside: Array | None, outside: Array | None) -> Value:
    """Return sum(outside * tanh(inside * (q + k))) over the features, for every pair of steps."""
    graph, base = call.graph, call.base
    rows = graph.add("unsqueeze", [q.value], f"{base}/queries", {"axes": [2]})
    columns = graph.add("unsqueeze", [k.value], f"{base}/keys", {"axes": [1]})
    y = graph.add("binary", [rows, columns], f"{base}/pairs", {"kind": "add"})
    y = y if inside is None else _times(call, y, inside, "scale")
    y = graph.add("activation", [y], f"{base}/tanh", {"kind": "tanh"})
    if outside is not None:
        factor = graph.constant(outside, f"{call.home}/scale")
        y = graph.add("binary", [y, factor], f"{base}/scaled", {"kind": "mul"})
    return graph.add("reduce", [y], f"{base}/scores", {"kind": "sum", "axes": [3], "keepdims": False})


def _attend(call: Call, scores: Value) -> list[Tensor]:
    """Return the values weighted by the softmax of the scores (N, Tq, Tv), and the weights if the call wants them."""
    graph, base = call.graph, call.base
    q, v, _ = _operands(call)
    q_mask, v_mask = _masks(call)
    shown = None if v_mask is None else graph.add("unsqueeze", [v_mask], f"{base}/shown", {"axes": [1]})
    if call.arguments.get("use_causal_mask") or call.layer.flag("causal", default=False):
        seen = causal_mask(call, q, v)
        shown = seen if shown is None else graph.add("logical", [shown, seen], f"{base}/visible", {"kind": "and"})
    if shown is not None:
        far = graph.scalar(_HIDDEN, q, f"{base}/far")
        lowered = graph.add("binary", [scores, far], f"{base}/lowered", {"kind": "sub"})
        scores = graph.add("where", [shown, scores, lowered], f"{base}/masked")
    weights = graph.add("softmax", [scores], f"{base}/weights", {"axis": 2})
    y = graph.add("matmul", [weights, v.value], base if q_mask is None else f"{base}/attended")
    if q_mask is not None:
        rows = graph.add("unsqueeze", [q_mask], f"{base}/rows", {"axes": [2]})
        y = graph.add("where", [rows, y, graph.scalar(0.0, q, f"{base}/zero")], base)
    out = Tensor(y, call.masks()[1][0])
    if not call.arguments.get("return_attention_scores"):
        return [out]
    return [out, Tensor(weights)]


def _masks(call: Call) -> tuple[Value | None, Value | None]:
    """Return the masks of the query and of the value: those of the call, else those of the inputs."""
    given = call.arguments.get("mask")
    if given is not None and (
        not isinstance(given, list) or len(given) < 2 or any(not isinstance(m, Tensor | None) for m in given)
    ):
        raise call.layer.unsupported("its mask is not a list of tensors", "pass [query mask, value mask]")
    q, v = call.masks()[0][:2]
    return q, v

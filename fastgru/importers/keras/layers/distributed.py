"""TimeDistributed: one layer or model applied to every step, as if each step were a row of the batch.

(N, T, ...) is reshaped to (N * T, ...) and back. A layer that treats every step alike is applied without reshaping.
"""

from dataclasses import replace
from typing import Final

from fastgru.graphbuilder import Value
from fastgru.importers.keras.call import Call, Tensor
from fastgru.importers.keras.config import LayerConfig
from fastgru.importers.keras.masks import Mask, mask_of
from fastgru.importers.keras.plan import plan_model
from fastgru.importers.keras.registry import MODELS, class_of, keras_layer
from fastgru.importers.keras.rules import Rules
from fastgru.importers.keras.weights import LayerWeights

Part = list[int] | tuple[Value, int]

_LAST_AXIS: Final = frozenset({"BatchNormalization", "LayerNormalization", "Softmax"})


@keras_layer("TimeDistributed")
def _time_distributed(call: Call) -> list[Tensor]:
    """Return the outputs of the layer inside for every step, (N, T, ...), with the mask that the wrapper passes on."""
    call.check_arguments("mask")
    layer, x = call.layer, call.x
    inner = layer.inner("layer")
    if x.rank < 2 or (x.rank < 3 and inner.class_name != "Embedding"):
        raise layer.unsupported(f"its input has {x.rank} axes", "give it an input (batch, time, ...)")
    weights = call.weights.child("layer", inner)
    found = None if inner.class_name in MODELS else class_of(inner, call.graph.custom)
    (seen,), (mask,) = call.masks()
    if seen is not None and not _is_blind(inner, call.rules):
        raise layer.unsupported(
            f"its input has a mask, which would reach the {inner.class_name} inside",
            "move the Masking or Embedding layer into the wrapped layer",
        )
    if inner.class_name in _LAST_AXIS and tuple(inner.integers("axis", default=-1)) in ((-1,), (x.rank - 2,)):
        inner = inner.replaced(axis=-1)
    elif found is None or not found.stepwise:
        return _folded(call, inner, weights, mask)
    assert call.run is not None
    outputs = call.run(call.of(inner, weights, x.but(mask=None)))
    return [Tensor(y.value, mask if call.rules.recurrent_keeps_mask else None) for y in outputs]


def _folded(call: Call, inner: LayerConfig, weights: LayerWeights, mask: Value | None) -> list[Tensor]:
    x, graph = call.x, call.graph
    rest: list[Part] = [[s] if s is not None else (x.value, axis) for axis, s in enumerate(x.shape[2:], 2)]
    sizes = _joined(call, "rows", [[-1], *rest])
    rows = Tensor(graph.add("reshape", [x.value, sizes], f"{call.base}/rows"))
    # Count more than one call, so that a stateful layer is refused: its state would pass from step to step.
    below = replace(call.of(inner, weights, rows), base=f"{call.base}/{inner.name}", home=f"{call.home}/{inner.name}")
    assert call.run is not None
    outputs = call.run(replace(below, calls=call.calls + 1))
    kept = mask if call.rules.recurrent_keeps_mask else None
    return [Tensor(_unfolded(call, y, n), kept) for n, y in enumerate(outputs)]


def _is_blind(layer: LayerConfig, rules: Rules) -> bool:
    """Return whether a mask changes nothing in what a layer, or the layers of a model, compute."""
    if layer.class_name in MODELS and not layer.custom:
        inside = plan_model(layer).layers.values()
        return all(inner.class_name == "InputLayer" or _is_blind(inner, rules) for inner in inside)
    # In Keras 3, a mask that is made inside is not passed on.
    makes = rules.major == 3 and layer.class_name in ("Embedding", "Masking")
    return makes or mask_of(layer, rules) in (Mask.KEEPS, Mask.DROPS)


def _unfolded(call: Call, y: Tensor, n: int) -> Value:
    x = call.x
    if y.mask is not None and call.rules.major < 3:
        raise call.layer.unsupported(
            "the wrapped layer passes a mask on", "end the wrapped model with a layer that drops the mask"
        )
    time: Part = [x.shape[1]] if x.shape[1] is not None else (x.value, 1)
    rest: list[Part] = [[s] if s is not None else (y.value, a) for a, s in enumerate(y.shape) if a]
    sizes = _joined(call, f"steps_{n}" if n else "steps", [[-1], time, *rest])
    return call.graph.add("reshape", [y.value, sizes], call.base)


def _joined(call: Call, what: str, parts: list[Part]) -> Value:
    """Return a shape joined from numbers and from (value, axis), which stands for the free size of an axis."""
    graph, base = call.graph, f"{call.base}/{what}_shape"
    if all(isinstance(part, list) for part in parts):
        return graph.integers([number for part in parts if isinstance(part, list) for number in part], base)
    names = []
    for n, part in enumerate(parts):
        if isinstance(part, list):
            names.append(graph.integers(part, f"{base}/{n}"))
        else:
            value, axis = part
            names.append(graph.add("shape", [value], f"{base}/{n}", {"start": axis, "end": axis + 1}))
    return graph.add("concat", names, base, {"axis": 0})

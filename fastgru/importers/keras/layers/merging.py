"""Layers that join several inputs and their masks."""

from collections.abc import Sequence
from typing import Final

from fastgru.graphbuilder import Value
from fastgru.importers.keras.call import Call, Shape, Tensor
from fastgru.importers.keras.registry import is_operation, keras_layer

__all__ = ["check_broadcast", "check_numpy_broadcast"]

_BINARY: Final = {
    "Add": "add",
    "Average": "add",
    "Maximum": "max",
    "Minimum": "min",
    "Multiply": "mul",
    "Subtract": "sub",
}
_FILLED: Final = frozenset({"Maximum", "Minimum", "Multiply"})
_KERAS1_MODES: Final = {"sum": "Add", "mul": "Multiply", "ave": "Average", "max": "Maximum", "concat": "Concatenate"}


def check_broadcast(call: Call, *shapes: Shape) -> None:
    """Raise unless the shapes have the same rank and broadcast."""
    if len({len(shape) for shape in shapes}) != 1:
        raise call.layer.unsupported(
            f"its inputs have different ranks, {list(shapes)}", "reshape them to one rank before this layer"
        )
    if any(len({s for s in axis if s not in (1, None)}) > 1 for axis in zip(*shapes, strict=True)):
        raise call.layer.damaged(f"its inputs have the shapes {list(shapes)}, which do not broadcast")


def check_numpy_broadcast(call: Call, *shapes: Shape) -> None:
    """As `check_broadcast`, but missing axes on the left count as 1, as in NumPy and functions, but not in layers."""
    rank = max(len(shape) for shape in shapes)
    check_broadcast(call, *((*(1,) * (rank - len(shape)), *shape) for shape in shapes))


@keras_layer(*_BINARY)
def _elementwise(call: Call) -> list[Tensor]:
    return _merged(call, call.layer.class_name)


def _merged(call: Call, class_name: str) -> list[Tensor]:
    graph, inputs = call.graph, call.inputs
    if len(inputs) < 2 or (class_name == "Subtract" and len(inputs) != 2):
        raise call.layer.damaged(
            f"got {len(inputs)} inputs, expected {'two' if class_name == 'Subtract' else 'two or more'}"
        )
    mask = _join_masks(call)
    fills = call.rules.masks_join_by_any and class_name in _FILLED
    if fills and any(x.mask is not None and x.rank != 3 for x in inputs):
        raise call.layer.unsupported("its inputs have masks, but not three axes", "mask (N, T, F) inputs")
    if fills and class_name == "Multiply":
        one = graph.scalar(1.0, inputs[0], f"{call.base}/one")
        inputs = [x if x.mask is None else _where(call, x.mask, x, one, f"filled_{n}") for n, x in enumerate(inputs)]
    y, shown = inputs[0], inputs[0].mask
    for n, other in enumerate(inputs[1:], 1):
        check_broadcast(call, y.shape, other.shape)
        if fills and class_name != "Multiply":
            # At a step where one side is hidden, the value of the other side replaces it.
            if other.mask is not None:
                other = _where(call, other.mask, other, y.value, f"filled_{n}")
            y = y if shown is None else _where(call, shown, y, other.value, f"shown_{n}")
            shown = _join(call, [shown, inputs[n].mask])
        last = n == len(inputs) - 1 and class_name != "Average"
        base = call.base if last else f"{call.base}/{n}"
        y = y.but(value=graph.add("binary", [y.value, other.value], base, {"kind": _BINARY[class_name]}))
    if class_name == "Average":
        count = graph.scalar(float(len(inputs)), y, f"{call.base}/count")
        y = y.but(value=graph.add("binary", [y.value, count], call.base, {"kind": "div"}))
    if class_name == "Multiply" and call.rules.masks_join_by_any and mask is not None:
        y = _where(call, mask, y, call.graph.scalar(0.0, y, f"{call.base}/zero"), "shown")
    return [Tensor(y.value, mask)]


def _where(call: Call, mask: Value, x: Tensor, other: Value, what: str) -> Tensor:
    shown = call.graph.add("unsqueeze", [mask], f"{call.base}/{what}/mask", {"axes": [2]})
    return x.but(value=call.graph.add("where", [shown, x.value, other], f"{call.base}/{what}"))


def _join_masks(call: Call) -> Value | None:
    """Join the masks of all inputs: a step is shown if any mask shows it, or, by older rules, if all masks show it."""
    masks = call.masks()[1]
    return _join(call, masks if call.rules.masks_join_by_any else [mask for mask in masks if mask is not None])


def _join(call: Call, masks: Sequence[Value | None]) -> Value | None:
    if not masks or masks[0] is None or None in masks:
        return None
    joined, kind = masks[0], "or" if call.rules.masks_join_by_any else "and"
    for mask in masks[1:]:
        assert mask is not None
        joined = call.graph.add("logical", [joined, mask], f"{call.base}/mask", {"kind": kind})
    return joined


@keras_layer("Concatenate")
def _concatenate(call: Call) -> list[Tensor]:
    layer, inputs = call.layer, call.inputs
    if not inputs:
        raise layer.damaged("it has no input")
    if len({x.rank for x in inputs}) != 1:
        raise layer.damaged(f"its inputs have the shapes {[x.shape for x in inputs]}, which do not fit together")
    axis = call.axis(inputs[0], layer.integer("axis", "concat_axis", default=-1))
    for n, sizes in enumerate(zip(*(x.shape for x in inputs), strict=True)):
        if n != axis and len({s for s in sizes if s is not None}) > 1:
            raise layer.damaged(
                f"its inputs have the shapes {[x.shape for x in inputs]}, which do not fit along axis {axis}"
            )
    y = call.graph.add("concat", [x.value for x in inputs], call.base, {"axis": axis})
    mask = None if is_operation(layer) else _concatenated_mask(call, axis)
    return [Tensor(y, mask)]


def _concatenated_mask(call: Call, axis: int) -> Value | None:
    inputs, graph = call.inputs, call.graph
    masks = [mask for mask in call.masks()[1] if mask is not None]
    if not masks:
        return None
    if axis == inputs[0].rank - 1:
        # Keras concatenates the masks, repeated over the features, and reduces them by any or all at each step. An
        # input without a mask hides no step.
        return _join_masks(call)
    if len(masks) < len(inputs) or axis == 0 or inputs[0].rank != 3:
        raise call.layer.unsupported(
            f"its inputs are joined along axis {axis}, and only some have a mask",
            "join along the last axis, or give every input a mask",
        )
    return graph.add("concat", masks, f"{call.base}/mask", {"axis": axis})


@keras_layer("Merge")
def _merge(call: Call) -> list[Tensor]:
    """Apply Merge of Keras 1, one layer for all ways to merge."""
    layer = call.layer
    mode = layer.get("mode", default="sum")
    if layer.get("mode_type", default="raw") != "raw" or mode not in _KERAS1_MODES or layer.get("layers", default=None):
        raise layer.unsupported(
            f"mode is {mode!r:.40}", f"use one of {', '.join(sorted(_KERAS1_MODES))}, in a functional model"
        )
    if mode == "concat":
        return _concatenate(call)
    return _merged(call, _KERAS1_MODES[mode])

"""Bidirectional: two recurrent layers over one input, their outputs merged.

The backward layer's output sequence is reversed, so that both outputs belong to the same step. At masked steps of a
sequence, tf.keras and Keras 3 show zeros, whatever the layers' own settings are.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from fastgru.graphbuilder import Value
from fastgru.importers.keras.call import Call, Tensor
from fastgru.importers.keras.layers.recurrent import (
    ARGUMENTS,
    Recurrent,
    flip,
    hand_on,
    split_arguments,
    take_step,
    with_state,
)
from fastgru.importers.keras.registry import keras_layer

_MERGES: Final = {"sum": "add", "mul": "mul", "ave": "add"}


@keras_layer("Bidirectional", positional=ARGUMENTS, checks_arguments=True)
def _bidirectional(call: Call) -> list[Tensor]:
    """Return the merged output, or two outputs without a merge mode, then the forward and the backward states."""
    call.check_arguments("initial_state", "mask")
    layer = call.layer
    merge = layer.get("merge_mode", default="concat")
    if merge is not None and merge not in (*_MERGES, "concat"):
        raise layer.damaged(f"merge_mode is {merge!r}, expected sum, mul, ave, concat or null")
    x, initial = split_arguments(call)
    mask, handed = (masks[0] for masks in call.masks())
    forward, backward = _read_pair(call)
    forward.check_input(x)
    backward.check_input(x)
    half = len(initial) // 2
    if len(initial) % 2:
        raise layer.damaged(f"got {len(initial)} initial states, expected as many for each direction")
    before_f = with_state(call, forward, initial[:half], f"{call.base}_forward")
    before_b = with_state(call, backward, initial[half:], f"{call.base}_backward")
    initial = [*before_f, *before_b]
    y_f, states_f = _emit(call, x, forward, before_f, mask)
    y_b, states_b = _emit(call, x, backward, before_b, mask)

    axis = forward.time_axis
    if forward.return_sequences:
        # Our operators give both sequences in the order of time; Keras reverses only that of the backward layer.
        if forward.go_backwards:
            y_f, y_b = (flip(call, y, axis, f"{call.base}/{what}") for y, what in ((y_f, "forward"), (y_b, "backward")))
        kept = handed if call.rules.recurrent_keeps_mask else None
    else:
        if mask is not None and (forward.zero_output or initial):
            y_f = take_step(call, y_f, axis, 0 if forward.go_backwards else -1, f"{call.base}/forward")
            y_b = take_step(call, y_b, axis, 0 if backward.go_backwards else -1, f"{call.base}/backward")
        else:
            y_f, y_b = states_f[0], states_b[0]
        kept = None
    sides = [Tensor(y, kept) for y in (y_f, y_b)]
    outputs = sides if merge is None else [_merge(call, merge, sides)]
    if not forward.return_state:
        return outputs
    return [*outputs, *(Tensor(state) for state in (*states_f, *states_b))]


def _read_pair(call: Call) -> tuple[Recurrent, Recurrent]:
    layer = call.layer
    first = layer.inner("layer")
    if layer.get("backward_layer", default=None) is None:
        second = first.replaced(go_backwards=not first.flag("go_backwards", default=False))
    else:
        second = layer.inner("backward_layer")
    forward, backward = (
        Recurrent.read(call, inner, call.weights.child(f"{side}_layer", inner), f"/{side}")
        for inner, side in ((first, "forward"), (second, "backward"))
    )
    if len(forward.cells) > 1 or len(backward.cells) > 1:
        raise layer.unsupported("its layer has several cells", "wrap each layer of one cell in its own Bidirectional")
    if forward.go_backwards == backward.go_backwards:
        raise layer.damaged("its two layers have the same go_backwards, expected different values")
    for what in ("stateful", "return_sequences", "return_state", "time_major"):
        if getattr(forward, what) != getattr(backward, what):
            raise layer.damaged(f"its two layers differ in {what}")
    if call.rules.bidirectional_zeroes:
        zeroes = forward.return_sequences
        return replace(forward, zero_output=zeroes), replace(backward, zero_output=zeroes)
    return forward, backward


def _emit(
    call: Call, x: Tensor, side: Recurrent, initial: Sequence[Tensor], mask: Value | None
) -> tuple[Value, list[Value]]:
    """Add one direction; return its sequence, in the order of time, and its states."""
    (cell,) = side.cells
    spec = cell.spec("reverse" if side.go_backwards else "forward", side.time_major, side.zero_output)
    y, after = cell.emit(call, x.value, initial, mask, spec)
    hand_on(call, initial, after)
    return y, after


def _merge(call: Call, mode: str, sides: Sequence[Tensor]) -> Tensor:
    first, second = sides
    graph, names = call.graph, [side.value for side in sides]
    if mode == "concat":
        y = graph.add("concat", names, call.base, {"axis": first.rank - 1})
        return first.but(value=y)
    if first.shape[-1] != second.shape[-1]:
        raise call.layer.damaged(
            f"merge_mode is {mode}, but its layers have {first.shape[-1]} and {second.shape[-1]} units"
        )
    kind = {"kind": _MERGES[mode]}
    if mode != "ave":
        return first.but(value=graph.add("binary", names, call.base, kind))
    total = graph.add("binary", names, f"{call.base}/sum", kind)
    return first.but(
        value=graph.add("binary", [total, graph.scalar(0.5, first, f"{call.base}/half")], call.base, {"kind": "mul"})
    )

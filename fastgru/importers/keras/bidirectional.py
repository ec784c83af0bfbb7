"""Bidirectional: two recurrent layers over one input, their outputs merged.

The backward layer's outputs are turned round, so that both tell of the same step; at masked steps of a sequence
tf.keras and Keras 3 show zeros, whatever the layers say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from fastgru.importers.keras.call import Call
from fastgru.importers.keras.recurrent import Recurrent, flip, split_arguments, take_step, with_state
from fastgru.importers.keras.values import Value

__all__ = ["bidirectional"]

_MERGES: Final = {"sum": "add", "mul": "mul", "ave": "add"}


def bidirectional(call: Call) -> list[Value]:
    """The merged output, or two without a merge mode, then the states of the forward and the backward layer."""
    call.check_arguments("initial_state", "mask")
    layer = call.layer
    merge = layer.get("merge_mode", default="concat")
    if merge is not None and merge not in (*_MERGES, "concat"):
        raise layer.damaged(f"merge_mode is {merge!r}, expected sum, mul, ave, concat or null")
    x, initial, mask = split_arguments(call)
    forward, backward = _read_pair(call)
    forward.check_input(x)
    backward.check_input(x)
    half = len(initial) // 2
    if len(initial) % 2:
        raise layer.damaged(f"{len(initial)} initial states, expected as many for each direction")
    bases = [f"{call.base}_forward_state", f"{call.base}_backward_state"]
    states_f, targets_f = with_state(call, forward, initial[:half], bases[:1])
    states_b, targets_b = with_state(call, backward, initial[half:], bases[1:])
    initial, targets = [*states_f, *states_b], [*targets_f, *targets_b]
    y_f, y_b, h_f, h_b = _both(call, x, forward, backward, initial, mask, targets)

    axis, batch = forward.time_axis, x.shape[1 - forward.time_axis]
    if forward.return_sequences:
        # In the order of time the engine gives both; Keras turns the backward layer's, and no other.
        if forward.go_backwards:
            y_f, y_b = (flip(call, y, axis, f"{call.base}/{what}") for y, what in ((y_f, "forward"), (y_b, "backward")))
        shape: tuple[int | None, ...] = x.shape[:2]
        kept = mask if call.rules.recurrent_keeps_mask else None
    else:
        if mask is not None and (forward.zero_output or initial):
            y_f = take_step(call, y_f, axis, 0 if forward.go_backwards else -1, f"{call.base}/forward")
            y_b = take_step(call, y_b, axis, 0 if backward.go_backwards else -1, f"{call.base}/backward")
        else:
            y_f, y_b = h_f, h_b
        shape, kept = (batch,), None
    sides = [
        x.but(name=y, shape=(*shape, side.output_size), mask=kept) for y, side in ((y_f, forward), (y_b, backward))
    ]
    outputs = sides if merge is None else [_merge(call, merge, sides)]
    if not forward.return_state:
        return outputs
    sizes = (forward.output_size, backward.output_size)
    states = [x.but(name=h, shape=(batch, n), mask=None) for h, n in zip((h_f, h_b), sizes, strict=True)]
    return [*outputs, *states]


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
        raise layer.unsupported("a stack of cells inside", "wrap each GRU in a Bidirectional of its own")
    if forward.go_backwards == backward.go_backwards:
        raise layer.damaged("both layers have the same go_backwards")
    for what in ("stateful", "return_sequences", "return_state", "time_major"):
        if getattr(forward, what) != getattr(backward, what):
            raise layer.damaged(f"its two layers differ in {what}")
    if call.rules.bidirectional_zeroes:
        zeroes = forward.return_sequences
        return replace(forward, zero_output=zeroes), replace(backward, zero_output=zeroes)
    return forward, backward


def _both(
    call: Call,
    x: Value,
    forward: Recurrent,
    backward: Recurrent,
    initial: Sequence[Value],
    mask: str | None,
    targets: Sequence[str],
) -> tuple[str, str, str, str]:
    """(forward y, backward y, forward state, backward state), the sequences in the order of time."""
    graph, results = call.graph, []
    for n, (side, what) in enumerate(((forward, "forward"), (backward, "backward"))):
        (cell,) = side.cells
        spec = cell.spec("reverse" if side.go_backwards else "forward", side.time_major, side.zero_output)
        h0 = graph.add("unsqueeze", [initial[n].name], f"{call.base}/{what}/h0", {"axes": [0]}) if initial else ""
        inputs = [x.name, h0, "", mask or "", *cell.constants(call)]
        bases = [f"{call.base}/{what}/y", f"{call.base}/{what}/h_n"]
        y, h_n = graph.add_many("gru", inputs, bases, {"spec": spec.to_dict()})
        state = graph.add("squeeze", [h_n], f"{call.base}/{what}/state", {"axes": [0]}, reserved=targets[n])
        results.append((y, state))
    (y_f, h_f), (y_b, h_b) = results
    return y_f, y_b, h_f, h_b


def _merge(call: Call, mode: str, sides: Sequence[Value]) -> Value:
    first, second = sides
    graph, names = call.graph, [side.name for side in sides]
    if mode == "concat":
        sizes = [side.shape[-1] or 0 for side in sides]
        y = graph.add("concat", names, call.base, {"axis": first.rank - 1})
        return first.but(name=y, shape=(*first.shape[:-1], sum(sizes)))
    if first.shape[-1] != second.shape[-1]:
        raise call.layer.damaged(f"merge_mode {mode} of {first.shape[-1]} and {second.shape[-1]} units")
    kind = {"kind": _MERGES[mode]}
    if mode != "ave":
        return first.but(name=graph.add("binary", names, call.base, kind))
    total = graph.add("binary", names, f"{call.base}/sum", kind)
    return first.but(
        name=graph.add("binary", [total, graph.scalar(0.5, first, f"{call.base}/half")], call.base, {"kind": "mul"})
    )

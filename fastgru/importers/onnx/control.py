"""If, Loop and Scan: branches taken, loops over a GRU cell recognised, short loops unrolled, all else refused.

A graph of ours has no control flow: what is left of it when the model is read is nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from fastgru.errors import InvalidModelError, UnsupportedModelError
from fastgru.importers.onnx.loops.form import LoopForm, loop_form, scan_form
from fastgru.importers.onnx.loops.recognise import recognise
from fastgru.importers.onnx.node import Attributes, collect_attributes, label
from fastgru.importers.onnx.proto import GraphProto, NodeProto
from fastgru.importers.onnx.values import Value

if TYPE_CHECKING:
    from fastgru.importers.onnx.convert import Converter, Scope

__all__ = ["CONTROL"]

_MAX_TRIPS: Final = 256
_MAX_UNROLLED_NODES: Final = 20_000


def _branch(
    converter: Converter, proto: NodeProto, inputs: Sequence[Value | None], scope: Scope, what: str
) -> Sequence[Value]:
    condition = inputs[0] if len(inputs) == 1 else None
    if condition is None:
        raise InvalidModelError(f"{what}: {len(inputs)} inputs, expected a condition")
    if condition.array is None:
        raise UnsupportedModelError(
            f"{what}: the condition {proto.input[0]!r} is computed while the model runs; export with a fixed condition,"
            " or give the free dimensions that it depends on their sizes"
        )
    if condition.array.size != 1:
        raise InvalidModelError(f"{what}: a condition of {condition.array.size} elements, expected 1")
    name = "then_branch" if condition.array.reshape(-1)[0] else "else_branch"
    for other in ("then_branch", "else_branch"):
        _graph(proto, other, what)
    body = converter.open_body(_graph(proto, name, what), what)
    outputs = converter.run_body(body, [], scope, f"{label(proto, scope.prefix)}/", what)
    if len(outputs) < len(proto.output):
        raise InvalidModelError(f"{what}: {name} has {len(outputs)} outputs, {len(proto.output)} are named")
    return outputs


def _graph(proto: NodeProto, name: str, what: str) -> GraphProto:
    for attribute in proto.attribute:
        if attribute.name == name and attribute.HasField("g"):
            return attribute.g
    raise InvalidModelError(f"{what}: attribute {name!r} is missing, expected a graph")


def _loop(
    converter: Converter, proto: NodeProto, inputs: Sequence[Value | None], scope: Scope, what: str
) -> Sequence[Value]:
    body = converter.open_body(_graph(proto, "body", what), what)
    return _run(converter, proto, loop_form(body, inputs, what), scope, what)


def _scan(
    converter: Converter, proto: NodeProto, inputs: Sequence[Value | None], scope: Scope, what: str
) -> Sequence[Value]:
    if scope.opsets[""] < 9:
        raise UnsupportedModelError(f"{what}: Scan with a batch axis, as before opset 9; export with opset 9 or later")
    body = converter.open_body(_graph(proto, "body", what), what)
    attrs = Attributes(collect_attributes(proto.attribute, what, scope.attributes), what)
    return _run(converter, proto, scan_form(body, inputs, attrs, what), scope, what)


def _run(converter: Converter, proto: NodeProto, form: LoopForm, scope: Scope, what: str) -> Sequence[Value]:
    if len(proto.output) > len(form.states) + form.num_scans:
        raise InvalidModelError(f"{what}: {len(proto.output)} outputs are named, the body has fewer")
    prefix = label(proto, scope.prefix)
    wanted = [bool(name) for name in proto.output]
    converter.build.node_name = prefix
    found = recognise(converter, form, wanted, scope, what)
    return _unroll(converter, form, scope, prefix, what) if found is None else found


def _unroll(converter: Converter, form: LoopForm, scope: Scope, prefix: str, what: str) -> Sequence[Value]:
    """Every turn in a row, as long as their number is known and small."""
    trips = form.static_trips(what)
    budget = min(_MAX_TRIPS, _MAX_UNROLLED_NODES // max(len(form.body.nodes), 1))
    if trips is None or trips > budget:
        many = "is not known before it runs" if trips is None else f"of {trips} turns is too long"
        raise UnsupportedModelError(
            f"{what}: its body is no GRU cell that is recognised, and the loop {many} (at most {budget} turns of this"
            " body are unrolled); export with fixed sizes, with the loop unrolled, or the body as a model of one step"
        )
    build = converter.build
    states: list[Value] = list(form.states)
    rows: list[list[Value]] = [[] for _ in range(form.num_scans)]
    for turn in range(trips):
        given = form.turn_inputs(build, states, turn, trips)
        outputs = converter.run_body(form.body, given, scope, f"{prefix}/{turn}/", what)
        if any(value.tainted for value in outputs):
            return [*outputs[form.first_state : form.first_state + len(states)], *outputs[form.first_scan :]]
        states = outputs[form.first_state : form.first_state + len(states)]
        for row, value in zip(rows, outputs[form.first_scan :], strict=True):
            row.append(value)
        build.node_name = prefix
        if form.is_loop:
            if outputs[0].array is None and turn + 1 < trips:
                raise UnsupportedModelError(
                    f"{what}: whether it goes on is computed while the model runs; export it with a number of turns"
                )
            if outputs[0].array is not None and not outputs[0].array.all():
                break
    else:
        if form.endless:
            raise UnsupportedModelError(f"{what}: after {trips} turns its condition still holds, and more are too many")
    if not all(rows):
        raise UnsupportedModelError(f"{what}: no turn at all, so the shapes of what it stacks are not known")
    return [*states, *(form.stack(build, row, i) for i, row in enumerate(rows))]


CONTROL: Final[Mapping[str, Callable[..., Sequence[Value]]]] = {"If": _branch, "Loop": _loop, "Scan": _scan}

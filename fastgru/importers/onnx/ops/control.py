"""If, Loop and Scan: a loop over a GRU cell becomes a GRU; any other becomes a node that holds graphs.

Whatever is known when the file is read is done then: a branch is chosen, a loop over constants is folded, and a short
loop is unrolled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from fastgru.errors import UnsupportedModelError
from fastgru.graphbuilder import BuiltNode, Value, build_body, needed_nodes
from fastgru.importers.onnx.builder import OnnxGraphBuilder, Refused
from fastgru.importers.onnx.registry import OnnxNode, operator
from fastgru.process import lock
from fastgru.reference.facts import ValueFacts, weights
from fastgru.spec import RECURRENT

if TYPE_CHECKING:
    from fastgru.importers.onnx.loops.form import LoopForm

# Up to this many iterations, nodes for each of them are better than a loop.
_MOST_UNROLLED: Final = 8
_MOST_FOLDED: Final = 256
_MOST_NODES: Final = 20_000
_LIMITS: Final = "states keep their shapes; the body has only operators of this table"


@operator(
    "If",
    versions=(1, 11, 13, 16, 19, 21, 23, 24, 25),
    inputs=(1, 1),
    outputs=None,
    limits="both branches give outputs of the same shapes",
)
def _if(node: OnnxNode, build: OnnxGraphBuilder) -> tuple[Value, ...]:
    condition = node.input(0)
    branches = {name: node.attrs.graph(name) for name in ("then_branch", "else_branch")}
    if condition.array is None:
        return _branch(node, build, condition)
    if condition.array.size != 1:
        raise node.invalid(f"its condition has {condition.array.size} elements, expected 1")
    name = "then_branch" if condition.array.reshape(-1)[0] else "else_branch"
    body = node.around.open_body(branches[name], node.site)
    outputs = node.around.run_body(body, [], f"{node.site.name}/", node.site)
    _check_outputs(node, name, len(outputs))
    return tuple(outputs)


def _without_weights(nodes: Sequence[BuiltNode], build: OnnxGraphBuilder) -> list[BuiltNode]:
    """Return the nodes of a branch, without those that compute weights of recurrent layers.

    Those nodes are added before the branch, because weights are packed there.
    """
    layers = [n for n in nodes if n.op in RECURRENT]
    made = [n.inputs[i] for n in layers for i in weights(n.op, n.attrs, len(n.inputs))]
    before, _ = needed_nodes(nodes, [value for value in made if value is not None and value.array is None])
    build.nodes.extend(before)
    lifted = set(map(id, before))
    return [n for n in nodes if id(n) not in lifted]


def _check_outputs(node: OnnxNode, name: str, count: int) -> None:
    if count < len(node.outputs):
        raise node.invalid(f"{name} has {count} outputs, expected {len(node.outputs)} as in the node")


def _branch(node: OnnxNode, build: OnnxGraphBuilder, condition: Value) -> tuple[Value, ...]:
    """Emit a node that runs one of the two branches."""
    found = []
    for name in ("then_branch", "else_branch"):
        with node.around.tracing() as trace:
            body = node.around.open_body(node.attrs.graph(name), node.site)
            outputs = node.around.run_body(body, [], f"{node.site.name}/{name}/", node.site)
        _check_outputs(node, name, len(outputs))
        found.append((outputs[: len(node.outputs)], _without_weights(trace.nodes, build)))
    bodies = [build_body((), outputs, nodes) for outputs, nodes in found]
    reads = tuple(dict.fromkeys(value for body in bodies for value in body.captured))
    then, otherwise = (replace(body, captured=reads) for body in bodies)
    made = []
    for i, (a, b) in enumerate(zip(found[0][0], found[1][0], strict=True)):
        if (a.dtype or b.dtype) != (b.dtype or a.dtype):
            raise node.invalid(f"output {i} is {a.dtype} in one branch and {b.dtype} in the other")
        sizes = None if a.rank is None or a.rank != b.rank else a.sizes
        if sizes is not None:
            sizes = tuple(m if m == n else None for m, n in zip(sizes, b.sizes or (), strict=True))
        made.append(Value(a.hint, ValueFacts(a.dtype or b.dtype, sizes)))
    build.node_name = node.site.name
    build.keep("branch", [condition, *reads], made, {"then": then, "otherwise": otherwise})
    return tuple(made)


@operator("Loop", versions=(1, 11, 13, 16, 19, 21, 23, 24, 25), inputs=(2, None), outputs=None, limits=_LIMITS)
def _loop(node: OnnxNode, build: OnnxGraphBuilder) -> tuple[Value, ...]:
    with lock:
        from fastgru.importers.onnx.loops.form import loop_form

    return _iterated(node, build, loop_form(node))


@operator("Scan", versions=(8, 9, 11, 16, 19, 21, 23, 24, 25), inputs=(1, None), outputs=None, limits=_LIMITS)
def _scan(node: OnnxNode, build: OnnxGraphBuilder) -> tuple[Value, ...]:
    if node.version < 9:
        raise node.unsupported("Scan has a batch axis, as before opset 9", "export with opset 9 or later")
    with lock:
        from fastgru.importers.onnx.loops.form import scan_form

    return _iterated(node, build, scan_form(node))


def _iterated(node: OnnxNode, build: OnnxGraphBuilder, form: LoopForm) -> tuple[Value, ...]:
    with lock:
        from fastgru.importers.onnx.loops.recognise import recognise

    if len(node.outputs) > len(form.states) + form.num_scans:
        raise node.invalid(f"the node has {len(node.outputs)} outputs, but its body has fewer")
    # A body with a loop in it is not a cell, and converting it again for each loop around it would take too long.
    nested = any(inner.op_type in ("Loop", "Scan") for inner in form.body.nodes)
    found: Sequence[Value] | None = None if nested else recognise(node, build, form)
    if found is None and all(value.array is not None for value in (*form.states, *form.sequences)):
        found = _unrolled(node, build, form, _MOST_FOLDED, only_constants=True)
    if found is None and not nested:
        found = _unrolled(node, build, form, _MOST_UNROLLED)
    if found is None:
        found = _native(node, build, form)
    return tuple(found)


def _native(node: OnnxNode, build: OnnxGraphBuilder, form: LoopForm) -> Sequence[Value]:
    """Emit a loop node, or unroll a loop of few iterations whose shapes change from one iteration to the next."""
    with lock:
        from fastgru.importers.onnx.loops.native import native_loop

    try:
        return native_loop(node, build, form, steady=True)
    except UnsupportedModelError:
        found = _unrolled(node, build, form, _MOST_FOLDED)
    return native_loop(node, build, form) if found is None else found


def _unrolled(
    node: OnnxNode, build: OnnxGraphBuilder, form: LoopForm, most: int, *, only_constants: bool = False
) -> Sequence[Value] | None:
    """Return the outputs of the unrolled loop; None if it may have more than `most` iterations.

    only_constants: return None unless every output of every iteration is a constant.
    """
    with build.sharing():
        return _iterations(node, build, form, most, only_constants)


def _iterations(
    node: OnnxNode, build: OnnxGraphBuilder, form: LoopForm, most: int, only_constants: bool
) -> Sequence[Value] | None:
    trips = form.static_trips()
    budget = min(most, _MOST_NODES // max(len(form.body.nodes), 1))
    if trips is None or (trips > budget and not (only_constants and form.endless)):
        return None
    names = [info.name for info in form.body.graph.input[2 * form.is_loop :]]
    kept = {names[i]: value for i, value in enumerate(form.states) if form.keeps(i)}
    body = node.around.settle_body(form.body, kept, node.site)
    states: list[Value] = list(form.states)
    rows: list[list[Value]] = [[] for _ in range(form.num_scans)]
    for iteration in range(min(trips, budget)):
        given = form.body_inputs(build, states, iteration, trips)
        outputs = node.around.run_body(body, given, f"{node.site.name}/{iteration}/", node.site)
        states, scans = outputs[form.first_state : form.first_scan], outputs[form.first_scan :]
        if any(isinstance(value, Refused) for value in outputs):
            return [*states, *scans]
        if only_constants and any(value.array is None for value in outputs):
            return None
        for row, value in zip(rows, scans, strict=True):
            row.append(value)
        build.node_name = node.site.name
        if form.is_loop:
            if outputs[0].array is None and iteration + 1 < trips:
                return None
            if outputs[0].array is not None and not outputs[0].array.all():
                break
    else:
        if form.endless:
            return None
    if not all(rows):
        return None
    return [*states, *(form.stack(build, row, i) for i, row in enumerate(rows))]

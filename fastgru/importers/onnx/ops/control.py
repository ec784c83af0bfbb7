"""If, Loop and Scan: branches taken, loops over a GRU cell recognised, short loops unrolled, all else refused.

A graph of ours has no control flow: what is left of it when the model is read is nodes.
"""

from typing import Final

from fastgru.errors import UnsupportedModelError
from fastgru.graphbuilder import Value
from fastgru.importers.onnx.builder import OnnxGraphBuilder, Refused
from fastgru.importers.onnx.loops.form import LoopForm, loop_form, scan_form
from fastgru.importers.onnx.loops.recognise import recognise
from fastgru.importers.onnx.registry import OnnxNode, operator

_MAX_TRIPS: Final = 256
_MAX_UNROLLED_NODES: Final = 20_000
_LIMITS: Final = (
    f"over a GRU cell; or a number of iterations known when the file is read, of at most {_MAX_TRIPS} iterations"
    f" and {_MAX_UNROLLED_NODES:,} nodes"
)


@operator(
    "If",
    versions=(1, 11, 13, 16, 19, 21, 23, 24, 25),
    inputs=(1, 1),
    outputs=None,
    limits="a condition known when the file is read",
)
def _if(node: OnnxNode, build: OnnxGraphBuilder) -> tuple[Value, ...]:
    condition = node.input(0).array
    if condition is None:
        raise node.unsupported(
            f"the condition {node.site.proto.input[0]!r} is computed while the model runs",
            "export with a fixed condition, or give the free dimensions that it depends on their sizes",
        )
    if condition.size != 1:
        raise node.invalid(f"a condition of {condition.size} elements, expected 1")
    branches = {name: node.attrs.graph(name) for name in ("then_branch", "else_branch")}
    name = "then_branch" if condition.reshape(-1)[0] else "else_branch"
    body = node.around.open_body(branches[name], node.site)
    outputs = node.around.run_body(body, [], f"{node.site.name}/", node.site)
    if len(outputs) < len(node.outputs):
        raise node.invalid(f"{name} has {len(outputs)} outputs, {len(node.outputs)} are named")
    return tuple(outputs)


@operator("Loop", versions=(1, 11, 13, 16, 19, 21, 23, 24, 25), inputs=(2, None), outputs=None, limits=_LIMITS)
def _loop(node: OnnxNode, build: OnnxGraphBuilder) -> tuple[Value, ...]:
    return _iterated(node, build, loop_form(node))


@operator("Scan", versions=(8, 9, 11, 16, 19, 21, 23, 24, 25), inputs=(1, None), outputs=None, limits=_LIMITS)
def _scan(node: OnnxNode, build: OnnxGraphBuilder) -> tuple[Value, ...]:
    if node.version < 9:
        raise node.unsupported("Scan with a batch axis, as before opset 9", "export with opset 9 or later")
    return _iterated(node, build, scan_form(node))


def _iterated(node: OnnxNode, build: OnnxGraphBuilder, form: LoopForm) -> tuple[Value, ...]:
    if len(node.outputs) > len(form.states) + form.num_scans:
        raise node.invalid(f"{len(node.outputs)} outputs are named, the body has fewer")
    found = recognise(node, build, form)
    if found is None:
        with build.sharing():
            found = _unrolled(node, build, form)
    return tuple(found)


def _unrolled(node: OnnxNode, build: OnnxGraphBuilder, form: LoopForm) -> list[Value]:
    """Every iteration in a row, as long as their number is known and small."""
    what, prefix = node.what, node.site.name
    trips = form.static_trips(node)
    budget = min(_MAX_TRIPS, _MAX_UNROLLED_NODES // max(len(form.body.nodes), 1))
    if trips is None or trips > budget:
        many = "is not known before it runs" if trips is None else f"of {trips} iterations is too long"
        raise UnsupportedModelError(
            f"{what}: its body is no GRU cell that is recognised, and the loop {many} (at most {budget} iterations of"
            " this body are unrolled); export with fixed sizes, with the loop unrolled, or the body as a model of one"
            " step"
        )
    names = [info.name for info in form.body.graph.input[2 * form.is_loop :]]
    kept = {names[i]: value for i, value in enumerate(form.states) if form.keeps(i)}
    body = node.around.settle_body(form.body, kept, node.site)
    states: list[Value] = list(form.states)
    rows: list[list[Value]] = [[] for _ in range(form.num_scans)]
    for iteration in range(trips):
        given = form.body_inputs(build, states, iteration, trips)
        outputs = node.around.run_body(body, given, f"{prefix}/{iteration}/", node.site)
        states, scans = outputs[form.first_state : form.first_scan], outputs[form.first_scan :]
        if any(isinstance(value, Refused) for value in outputs):
            return [*states, *scans]
        for row, value in zip(rows, scans, strict=True):
            row.append(value)
        build.node_name = prefix
        if form.is_loop:
            if outputs[0].array is None and iteration + 1 < trips:
                raise node.unsupported(
                    "whether it goes on is computed while the model runs", "export it with a number of iterations"
                )
            if outputs[0].array is not None and not outputs[0].array.all():
                break
    else:
        if form.endless:
            raise UnsupportedModelError(
                f"{what}: after {trips} iterations its condition still holds, and more are too many"
            )
    if not all(rows):
        raise UnsupportedModelError(f"{what}: no iteration at all, so the shapes of what it stacks are not known")
    return [*states, *(form.stack(build, row, i) for i, row in enumerate(rows))]

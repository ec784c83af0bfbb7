"""Branches: both bodies are planned, and one of them runs."""

from math import prod

from fastgru.engine.buffers import Constant, Value, View
from fastgru.engine.builder import PlanBuilder
from fastgru.engine.lowering import lowering
from fastgru.engine.nodes import lower_nodes
from fastgru.errors import ShapeError, UnsupportedModelError
from fastgru.graph import Node, Subgraph
from fastgru.kernels.operands.loop import BRANCH, JUMP, LAND

__all__ = ["lower_branch"]


@lowering("branch")
def lower_branch(builder: PlanBuilder, node: Node, condition: Value, *values: Value) -> list[Value]:
    """Lower two bodies, one of which runs; both write their outputs to the same place."""
    then, otherwise = node.attrs["then"], node.attrs["otherwise"]
    if prod(condition.shape) != 1 or condition.dtype != "bool":
        raise ShapeError(f"condition is {condition.dtype} {condition.shape}, expected one bool")
    if isinstance(condition, Constant):
        return _carried_out(builder, then if condition.array.all() else otherwise, values)
    holds = builder.contiguous(condition)
    for value in values:
        if isinstance(value, View):
            builder.touch(value)
    start = builder.jump("branch", BRANCH, {"condition": holds, "then": 0, "otherwise": 0})
    members, builder.members = builder.members, 1
    with builder.inside():
        results = _joined(builder, _tried(builder, node, "then", values), None)
        over = builder.jump("jump", JUMP, {"to": 0})
    with builder.inside():
        results = _joined(builder, _tried(builder, node, "otherwise", values), results)
    if results is None:
        raise ShapeError(f"neither branch takes these shapes: {builder.dead[id(node), 'then']}")
    end = builder.jump("land", LAND, {})
    builder.members = members
    start.targets, over.targets = {"then": (start, 1), "otherwise": (over, 1)}, {"to": (end, 0)}
    start.skip = over.skip = end
    return list(results)


def _tried(builder: PlanBuilder, node: Node, which: str, values: tuple[Value, ...]) -> list[Value] | None:
    """Return the outputs of a branch, or None if it cannot take these shapes: then running it is an error.

    That turns out while the branch is lowered. Half of it is already emitted then, so the error is recorded in
    `builder.dead` and raised again, and the whole plan is made once more.
    """
    if (key := (id(node), which)) in builder.dead:
        label, builder.label = builder.label, builder.dead[key]
        builder.jump("dead_end", LAND, {})
        builder.label = label
        return None
    known = len(builder.dead)
    try:
        return _carried_out(builder, node.attrs[which], values)
    except ShapeError as error:
        if len(builder.dead) == known:  # otherwise a branch inside this one is dead
            builder.dead[key] = str(error)
        raise


def _joined(builder: PlanBuilder, values: list[Value] | None, results: list[View] | None) -> list[View] | None:
    """Put the outputs of a branch where those of the other are, or where both will be. values: None if it is dead."""
    if values is None:
        return results
    views = [builder.view(value) for value in values]
    if results is None:
        results = [builder.new(view.shape, view.dtype) for view in views]
    for i, (view, result) in enumerate(zip(views, results, strict=True)):
        if view.shape != result.shape or view.dtype != result.dtype:
            raise UnsupportedModelError(
                f"output {i} is {result.dtype} {result.shape} where the condition holds, and {view.dtype}"
                f" {view.shape} where not; both must have one shape: pad the smaller one"
            )
        builder.put(view, result)
    return results


def _carried_out(builder: PlanBuilder, body: Subgraph, values: tuple[Value, ...]) -> list[Value]:
    if len(values) != len(body.captured):
        raise ShapeError(f"got {len(values)} values, expected {len(body.captured)} for this branch")
    label, found = builder.label, dict(zip(body.captured, values, strict=True))
    lower_nodes(builder, body.nodes, found)
    builder.label = label
    return [found[name] for name in body.outputs]

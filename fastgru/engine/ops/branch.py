"""Branches: both are planned, and one of them is carried out."""

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
    """The outputs of one of two bodies, in the same place whichever it is."""
    then, otherwise = node.attrs["then"], node.attrs["otherwise"]
    if prod(condition.shape) != 1 or condition.dtype != "bool":
        raise ShapeError(f"condition is {condition.dtype} of shape {condition.shape}, expected one bool")
    if isinstance(condition, Constant):
        return _carried_out(builder, then if condition.array.all() else otherwise, values)
    holds = builder.contiguous(condition)
    for value in values:
        if isinstance(value, View):
            builder.touch(value)
    start = builder.jump("branch", BRANCH, {"condition": holds, "then": 0, "otherwise": 0})
    members, builder.members = builder.members, 1
    with builder.inside():
        first = [builder.view(value) for value in _carried_out(builder, then, values)]
        results = [builder.new(view.shape, view.dtype) for view in first]
        for view, result in zip(first, results, strict=True):
            builder.put(view, result)
        over = builder.jump("jump", JUMP, {"to": 0})
    with builder.inside():
        for i, (value, result) in enumerate(zip(_carried_out(builder, otherwise, values), results, strict=True)):
            view = builder.view(value)
            if view.shape != result.shape or view.dtype != result.dtype:
                raise UnsupportedModelError(
                    f"output {i} is {result.dtype} {result.shape} where the condition holds, and {view.dtype}"
                    f" {view.shape} where not; both must have one shape: pad the smaller one"
                )
            builder.put(view, result)
    end = builder.jump("land", LAND, {})
    builder.members = members
    start.targets, over.targets = {"then": (start, 1), "otherwise": (over, 1)}, {"to": (end, 0)}
    start.skip = over.skip = end
    return list(results)


def _carried_out(builder: PlanBuilder, body: Subgraph, values: tuple[Value, ...]) -> list[Value]:
    if len(values) != len(body.captured):
        raise ShapeError(f"{len(values)} values for a branch that reads {len(body.captured)}")
    label, found = builder.label, dict(zip(body.captured, values, strict=True))
    lower_nodes(builder, body.nodes, found)
    builder.label = label
    return [found[name] for name in body.outputs]

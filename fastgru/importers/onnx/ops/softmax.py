"""Softmax and its logarithm."""

from collections.abc import Callable

from fastgru.graphbuilder import Value
from fastgru.importers.onnx.builder import OnnxGraphBuilder
from fastgru.importers.onnx.registry import OnnxNode, operator

__all__ = ["from_axis_on"]


def from_axis_on(node: OnnxNode, build: OnnxGraphBuilder, apply: Callable[[Value, int], Value]) -> Value:
    """Apply `apply` along the node's axis; before version 13 all axes from there on count as one."""
    x = node.input(0)
    if node.version >= 13:
        return apply(x, node.attrs.integer("axis", -1))
    axis = node.attrs.integer("axis", 1)
    if axis == -1 or (x.rank is not None and axis == x.rank - 1):
        return apply(x, -1)
    return build.emit("reshape", apply(build.emit("flatten", x, axis=axis), 1), build.emit("shape", x))


@operator("LogSoftmax", versions=(1, 11, 13), inputs=(1, 1))
@operator("Softmax", versions=(1, 11, 13), inputs=(1, 1))
def _softmax(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    op = "softmax" if node.op == "Softmax" else "log_softmax"
    return from_axis_on(node, build, lambda x, axis: build.emit(op, x, axis=axis))

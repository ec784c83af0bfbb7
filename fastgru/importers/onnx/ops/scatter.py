"""Operators that write into a copy of a tensor. They have no reduction before version 16."""

from fastgru.graphbuilder import Value
from fastgru.importers.onnx.builder import OnnxGraphBuilder
from fastgru.importers.onnx.ops.indexing import positions
from fastgru.importers.onnx.registry import OnnxNode, operator


def _reduction(node: OnnxNode) -> str:
    if node.version < 16:
        return "none"
    known = ("none", "add", "mul", "max", "min") if node.version >= 18 else ("none", "add", "mul")
    return node.attrs.choice("reduction", known, "none")


@operator("ScatterND", versions=(11, 13, 16, 18), inputs=(3, 3))
def _scatter_nd(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    where = positions(node.input(1), build)
    return build.emit("scatter_nd", node.input(0), where, node.input(2), reduction=_reduction(node))


@operator("Scatter", versions=(9, 11), inputs=(3, 3))
@operator("ScatterElements", versions=(11, 13, 16, 18), inputs=(3, 3))
def _scatter_elements(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    attrs = {"axis": node.attrs.integer("axis", 0), "reduction": _reduction(node)}
    where = positions(node.input(1), build)
    return build.emit("scatter_elements", node.input(0), where, node.input(2), **attrs)

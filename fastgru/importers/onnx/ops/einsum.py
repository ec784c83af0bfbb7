"""Einsum: sums of products, with labelled axes."""

from fastgru.graphbuilder import Value
from fastgru.importers.onnx.builder import OnnxGraphBuilder
from fastgru.importers.onnx.registry import OnnxNode, operator


@operator("Einsum", versions=(12, 28), inputs=(1, None))
def _einsum(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    values = [node.input(i) for i in range(len(node.inputs))]
    for value in values:
        node.finite(value, "operand")
    return build.emit("einsum", *values, equation=node.attrs.string("equation"))

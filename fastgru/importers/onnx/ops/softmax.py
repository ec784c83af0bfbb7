"""Softmax and its logarithm."""

from collections.abc import Callable

from fastgru.graphbuilder import Value
from fastgru.importers.onnx.builder import OnnxGraphBuilder
from fastgru.importers.onnx.registry import OnnxNode, operator


def _softmax(op: str) -> Callable[[OnnxNode, OnnxGraphBuilder], Value]:
    def convert(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
        x = node.input(0)
        if node.version >= 13:
            return build.emit(op, x, axis=node.attrs.integer("axis", -1))
        # Before version 13 everything from `axis` on counts as one axis.
        axis = node.attrs.integer("axis", 1)
        if axis == -1 or (x.rank is not None and axis == x.rank - 1):
            return build.emit(op, x, axis=-1)
        flat = build.emit(op, build.emit("flatten", x, axis=axis), axis=1)
        return build.emit("reshape", flat, build.emit("shape", x))

    return convert


operator("Softmax", versions=(1, 11, 13), inputs=(1, 1))(_softmax("softmax"))


operator("LogSoftmax", versions=(1, 11, 13), inputs=(1, 1))(_softmax("log_softmax"))

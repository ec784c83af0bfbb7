"""Matrix multiplications, and the lookup of rows."""

from onnx import TensorProto

from fastgru.exporters.onnx.writer import OnnxWriter, exporter
from fastgru.graph import Node


@exporter("linear")
def _linear(node: Node, write: OnnxWriter) -> None:
    """x W' + b: Gemm takes matrices alone, so MatMul and Add, as torch exports it."""
    x, weight, bias = (*node.inputs, "")[:3]
    array = write.known(weight)
    right = write.emit("Transpose", weight, perm=[1, 0]) if array is None else write.array(array.T, hint=weight)
    y = write.emit("MatMul", x, right, out=None if bias else node.outputs[0])
    if bias:
        write.emit("Add", y, bias, out=node.outputs[0])


@exporter("embedding")
def _embedding(node: Node, write: OnnxWriter) -> None:
    """Gather, which counts a negative id from the end, where an embedding refuses it."""
    ids, weight = node.inputs
    if write.dtype(ids) not in ("int32", "int64"):
        ids = write.emit("Cast", ids, to=TensorProto.INT64)
    write.emit("Gather", weight, ids, out=node.outputs[0], axis=0)

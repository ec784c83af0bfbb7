"""Matrix multiplications, and the lookup of rows."""

from onnx import TensorProto

from fastgru.exporters.onnx.writer import OnnxWriter, exporter
from fastgru.graph import Node


@exporter("linear")
def _linear(node: Node, write: OnnxWriter) -> None:
    """Write x W^T + b as MatMul and Add, because Gemm only takes matrices. torch exports it in the same way."""
    x, weight, bias = (*node.inputs, "")[:3]
    array = write.known(weight)
    right = write.emit("Transpose", weight, perm=[1, 0]) if array is None else write.array(array.T, hint=weight)
    y = write.emit("MatMul", x, right, out=None if bias else node.outputs[0])
    if bias:
        write.emit("Add", y, bias, out=node.outputs[0])


@exporter("embedding")
def _embedding(node: Node, write: OnnxWriter) -> None:
    """Write a Gather. It counts a negative id from the end, which an embedding refuses."""
    ids, weight = node.inputs
    if write.dtype(ids) not in ("int32", "int64"):
        ids = write.emit("Cast", ids, to=TensorProto.INT64)
    write.emit("Gather", weight, ids, out=node.outputs[0], axis=0)

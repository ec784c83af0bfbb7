"""Operators that equal one of ONNX's, with the same inputs and attributes of the same names."""

from typing import Final

from fastgru.exporters.onnx.writer import OnnxWriter, exporter
from fastgru.graph import Node

_PLAIN: Final = {
    "clip": "Clip",
    "concat": "Concat",
    "expand": "Expand",
    "flatten": "Flatten",
    "gather": "Gather",
    "gather_elements": "GatherElements",
    "log_softmax": "LogSoftmax",
    "matmul": "MatMul",
    "matmul_integer": "MatMulInteger",
    "prelu": "PRelu",
    "range": "Range",
    "scatter_elements": "ScatterElements",
    "scatter_nd": "ScatterND",
    "slice": "Slice",
    "softmax": "Softmax",
    "tile": "Tile",
    "where": "Where",
}


@exporter(*_PLAIN)
def _plain(node: Node, write: OnnxWriter) -> None:
    write.emit(_PLAIN[node.op], *node.inputs, out=node.outputs[0], **node.attrs)

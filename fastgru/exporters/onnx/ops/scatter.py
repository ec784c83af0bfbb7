"""Writing into a copy of a tensor."""

from __future__ import annotations

from fastgru.exporters.onnx.registry import exporter
from fastgru.exporters.onnx.writer import OnnxWriter
from fastgru.graph import Node

__all__: list[str] = []


@exporter("scatter_elements", "scatter_nd")
def _scatter(node: Node, write: OnnxWriter) -> None:
    op = "ScatterND" if node.op == "scatter_nd" else "ScatterElements"
    attrs = {"axis": node.attrs.get("axis"), "reduction": node.attrs["reduction"]}
    write.emit(op, *node.inputs, out=node.outputs[0], **attrs)

"""Softmax and its logarithm."""

from __future__ import annotations

from fastgru.exporters.onnx.registry import exporter
from fastgru.exporters.onnx.writer import OnnxWriter
from fastgru.graph import Node

__all__: list[str] = []


@exporter("softmax", "log_softmax")
def _softmax(node: Node, write: OnnxWriter) -> None:
    op = "Softmax" if node.op == "softmax" else "LogSoftmax"
    write.emit(op, *node.inputs, out=node.outputs[0], axis=node.attrs["axis"])

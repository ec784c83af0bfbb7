"""Export a graph as an ONNX model of opset 20."""

from fastgru.exporters.onnx.model import graph_to_onnx
from fastgru.exporters.onnx.writer import OPSET, exported
from fastgru.modules import import_all

__all__ = ["OPSET", "exported", "graph_to_onnx"]

import_all("fastgru.exporters.onnx.ops")

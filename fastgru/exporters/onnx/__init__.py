"""A graph as an ONNX model, opset 20."""

from __future__ import annotations

from fastgru.exporters.onnx import (  # noqa: F401
    conv,
    elementwise,
    indexing,
    normalise,
    pool,
    products,
    quantize,
    recurrent,
    reduce,
    resize,
    shape,
)
from fastgru.exporters.onnx.registry import exported
from fastgru.exporters.onnx.writer import OPSET, graph_to_onnx

__all__ = ["OPSET", "exported", "graph_to_onnx"]

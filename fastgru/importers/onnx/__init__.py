"""ONNX files, opsets 7 to 28.

    graph = read_onnx("model.onnx")
    operators()                           # what is imported: one `OnnxOperator` each, for tables and for `inspect`

`ops` has one module a family of operators; `registry` holds them all.
"""

from fastgru.importers.onnx.reader import read_onnx
from fastgru.importers.onnx.registry import NEWEST_OPSET, OLDEST_OPSET, OnnxOperator, operators
from fastgru.importers.onnx.structure import inputs_to_fix

__all__ = ["NEWEST_OPSET", "OLDEST_OPSET", "OnnxOperator", "inputs_to_fix", "operators", "read_onnx"]

"""ONNX files, opsets 7 to 28.

    graph = read_onnx("model.onnx")
    operators()                           # an `OnnxOperator` for each imported operator, for tables and `inspect`

`ops` has one module for each family of operators; `registry` has them all.
"""

from fastgru.importers.onnx.reader import read_onnx
from fastgru.importers.onnx.registry import NEWEST_OPSET, OLDEST_OPSET, OnnxOperator, operators
from fastgru.importers.onnx.structure import inputs_to_fix

__all__ = ["NEWEST_OPSET", "OLDEST_OPSET", "OnnxOperator", "inputs_to_fix", "operators", "read_onnx"]

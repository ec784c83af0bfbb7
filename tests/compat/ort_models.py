"""Both packages, and small models for them."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

BOTH = ("onnxruntime", "fastgru.compat.onnxruntime")
info = helper.make_tensor_value_info
X = np.float32([[1, 2], [3, 4], [5, 6]])


def model(nodes: Any, inputs: Any, outputs: Any, weights: Any = (), opset: int = 17) -> bytes:
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(weights))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8).SerializeToString()


def scaled() -> bytes:
    """y = x * w."""
    nodes, weight = [helper.make_node("Mul", ["x", "w"], ["y"])], numpy_helper.from_array(X, "w")
    shape = [3, 2]
    return model(nodes, [info("x", TensorProto.FLOAT, shape)], [info("y", TensorProto.FLOAT, shape)], [weight])

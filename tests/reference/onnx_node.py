"""One ONNX node run by ONNX Runtime: the oracle of the operator tests."""

from __future__ import annotations

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

_ELEMENT = {
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "bool": TensorProto.BOOL,
}


def run_onnx(op_type, inputs, *, num_outputs=1, opset=21, output_types=None, attributes=None, **more):
    """The outputs of one node; None among `inputs` is an absent optional input."""
    names = ["" if a is None else f"x{i}" for i, a in enumerate(inputs)]
    outputs = [f"y{i}" for i in range(num_outputs)]
    node = helper.make_node(op_type, names, outputs)
    node.attribute.extend(helper.make_attribute(k, v) for k, v in {**(attributes or {}), **more}.items())
    present = {n: np.asarray(a) for n, a in zip(names, inputs, strict=True) if n}
    first = next(iter(present.values())).dtype.name
    types = output_types or [first] * num_outputs
    graph = helper.make_graph(
        [node],
        op_type,
        [helper.make_tensor_value_info(n, _ELEMENT[a.dtype.name], a.shape) for n, a in present.items()],
        [helper.make_tensor_value_info(n, _ELEMENT[t], None) for n, t in zip(outputs, types, strict=True)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(outputs, present)

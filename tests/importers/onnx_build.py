"""Small ONNX models made by hand, and ONNX Runtime as their oracle."""

from __future__ import annotations

import numpy as np
import onnxruntime
from onnx import helper, numpy_helper

ORT_NEWEST_OPSET = 24


def value_info(name, array):
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)


def make_model(nodes, inputs, outputs, initializers=None, *, opset=18, domains=(), functions=(), producer="by hand"):
    """inputs, initializers: {name: array}; outputs: {name: dtype} or names of float32."""
    outputs = outputs if isinstance(outputs, dict) else dict.fromkeys(outputs, "float32")
    graph = helper.make_graph(
        nodes,
        "g",
        [value_info(name, np.asarray(a)) for name, a in inputs.items()],
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), None)
            for name, dtype in outputs.items()
        ],
        [numpy_helper.from_array(np.asarray(a), name) for name, a in (initializers or {}).items()],
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    ir_version = 8 if opset < 21 else 10
    return helper.make_model(
        graph, opset_imports=opsets, ir_version=ir_version, functions=functions, producer_name=producer
    )


def gru_arrays(rng, *, I, H, D, bias=True, scale=0.5, dtype=np.float32):
    arrays = {
        "W": (scale * rng.standard_normal((D, 3 * H, I))).astype(dtype),
        "R": (scale * rng.standard_normal((D, 3 * H, H))).astype(dtype),
    }
    if bias:
        arrays["B"] = (scale * rng.standard_normal((D, 6 * H))).astype(dtype)
    return arrays


def gru_model(feeds, arrays, *, opset=14, outputs=("Y", "Y_h"), attributes=None, **more):
    """One GRU; feeds: x and perhaps sequence_lens and initial_h."""
    names = ["x", "W", "R", "B", "sequence_lens", "initial_h"]
    present = {*feeds, *arrays}
    inputs = [name if name in present else "" for name in names]
    while not inputs[-1]:
        inputs.pop()
    H = arrays["R"].shape[-1]
    node = helper.make_node("GRU", inputs, list(outputs), name="the_gru", hidden_size=H, **(attributes or {}))
    return make_model([node], feeds, [name for name in outputs if name], arrays, opset=opset, **more)


def recurrent_arrays(rng, *, I, H, D, gates, bias=True, peephole=False, scale=0.5):
    """W, R, and B and P where they are asked for, of ONNX's LSTM (4 gates) or RNN (1)."""
    shapes = {"W": (D, gates * H, I), "R": (D, gates * H, H)}
    shapes |= {"B": (D, 2 * gates * H)} if bias else {}
    shapes |= {"P": (D, 3 * H)} if peephole else {}
    scales = {"R": min(scale, 1 / np.sqrt(H))}  # or a long run of an RNN grows the rounding errors of both sides
    return {n: (scales.get(n, scale) * rng.standard_normal(shape)).astype(np.float32) for n, shape in shapes.items()}


def recurrent_model(op, feeds, arrays, *, opset=14, outputs=None, attributes=None, **more):
    """One LSTM or RNN; feeds: x and perhaps sequence_lens, initial_h and initial_c."""
    names = ["x", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"]
    inputs = [name if name in {*feeds, *arrays} else "" for name in names]
    while not inputs[-1]:
        inputs.pop()
    outputs = outputs or (("Y", "Y_h", "Y_c") if op == "LSTM" else ("Y", "Y_h"))
    H = arrays["R"].shape[-1]
    node = helper.make_node(op, inputs, list(outputs), name="the_layer", hidden_size=H, **(attributes or {}))
    return make_model([node], feeds, [name for name in outputs if name], arrays, opset=opset, **more)


def ort_run(model, feeds, *, optimised=True):
    """{output: array} of ONNX Runtime on one thread."""
    options = onnxruntime.SessionOptions()
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))

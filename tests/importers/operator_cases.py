"""Single nodes with their inputs, and how they are held against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper
from onnx_build import make_model, ort_run

from fastgru.importers.onnx import read_onnx
from fastgru.reference import run_graph

RNG = np.random.default_rng(1)
X = RNG.standard_normal((2, 3, 4)).astype(np.float32)
M = RNG.standard_normal((3, 4)).astype(np.float32)
POSITIVE = (np.abs(X) + 0.1).astype(np.float32)
ROW, SCALAR = RNG.standard_normal(4).astype(np.float32), np.float32(0.7)
IDS = np.array([[0, 2, 1], [1, 0, 2]])


def i64(*values):
    return np.array(values, dtype=np.int64)


def f32(value):
    return np.array(value, dtype=np.float32)


def case(op, opset, *inputs, constants=None, outputs=1, dtype="float32", **attributes):
    """inputs come while the model runs; constants: {position: array}, behind or between them."""
    return pytest.param(op, opset, inputs, constants or {}, outputs, dtype, attributes, id=None)


def build(op, opset, inputs, constants, outputs, dtype, attributes):
    feeds, held, names = {}, {}, []
    free = iter(inputs)
    for i in range(len(inputs) + len(constants)):
        if i in constants and constants[i] is None:
            names.append("")
            continue
        names.append(f"v{i}")
        if i in constants:
            held[f"v{i}"] = constants[i]
        else:
            feeds[f"v{i}"] = np.asarray(next(free))
    node = helper.make_node(op, names, [f"y{i}" for i in range(outputs)], name="the_node", **attributes)
    dtypes = dtype if isinstance(dtype, tuple) else (dtype,) * outputs
    return feeds, make_model([node], feeds, {f"y{i}": t for i, t in enumerate(dtypes)}, held, opset=opset)


# The arguments of a case, as a parametrised test takes them.
PARAMETERS = ("op", "opset", "inputs", "constants", "outputs", "dtype", "attributes")


def check_against_onnxruntime(*given):
    feeds, model = build(*given)
    expected = ort_run(model, feeds)
    results = run_graph(read_onnx(model.SerializeToString()), feeds, dtype="float32")
    for name, array in expected.items():
        assert results[name].shape == array.shape
        np.testing.assert_allclose(results[name].astype(array.dtype), array, rtol=3e-6, atol=1e-6)


def check_folding(op, opset, inputs, constants, outputs, dtype, attributes):
    """Every input constant: nothing is left to compute."""
    feeds, model = build(op, opset, inputs, constants, outputs, dtype, attributes)
    every, folded_model = build(op, opset, (), {}, outputs, dtype, attributes)
    assert not every
    folded_model.graph.node[0].input.extend(model.graph.node[0].input)
    held = {f"v{i}": a for i, a in constants.items() if a is not None} | feeds
    folded_model = make_model(
        list(folded_model.graph.node), {}, {o.name: _dtype(o) for o in model.graph.output}, held, opset=opset
    )
    graph = read_onnx(folded_model.SerializeToString())
    assert not graph.nodes
    results = run_graph(graph, {}, dtype="float32")
    expected = run_graph(read_onnx(model.SerializeToString()), feeds, dtype="float32")
    for name, array in expected.items():
        np.testing.assert_allclose(results[name], array, rtol=1e-6, atol=1e-7)


def _dtype(info):
    return helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type).name

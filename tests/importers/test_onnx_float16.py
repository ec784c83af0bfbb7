"""Files in float16 and bfloat16."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx_build import gru_arrays, make_model, ort_run
from quantised_nodes import RNG, normal, ours, whole


def test_models_of_float16():
    """Inputs are widened, all is computed in float32: as ONNX Runtime, within what float16 rounds."""
    arrays = gru_arrays(RNG, I=5, H=9, D=1, dtype=np.float16)
    held = {**arrays, "w": normal(9, 4).astype(np.float16), "table": normal(11, 5).astype(np.float16)}
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["e"]),
        helper.make_node("Add", ["x", "e"], ["sum"]),
        helper.make_node("GRU", ["sum", "W", "R", "B"], ["g", "h"], hidden_size=9),
        helper.make_node("MatMul", ["h", "w"], ["m"]),
        helper.make_node("Cast", ["m"], ["wide"], to=1),
        helper.make_node("Tanh", ["wide"], ["t"]),
        helper.make_node("Cast", ["t"], ["y"], to=10),
        helper.make_node("DequantizeLinear", ["q", "s"], ["d"]),
    ]
    held |= {"s": np.float16(0.013)}
    feeds = {"x": normal(6, 2, 5).astype(np.float16), "ids": RNG.integers(0, 11, (6, 2)), "q": whole("int8", 5)}
    outputs = {"g": "float16", "y": "float16", "t": "float32", "d": "float16"}
    model = make_model(nodes, feeds, outputs, held, opset=19)
    theirs, mine = ort_run(model, feeds), ours(model, feeds)
    for name, want in theirs.items():
        assert mine[name].dtype == np.float32, name
        np.testing.assert_allclose(mine[name], want.astype(np.float32), rtol=2e-3, atol=2e-3, err_msg=name)
    wide = ours(model, {**feeds, "x": feeds["x"].astype(np.float32)})
    for name, array in mine.items():
        np.testing.assert_array_equal(array, wide[name])
    small = ours(model, feeds, precision="float64")
    assert np.abs(small["g"] - mine["g"]).max() < 1e-6


def test_models_of_bfloat16():
    x, w = normal(4, 6), normal(6, 3).astype(ml_dtypes.bfloat16)
    weight = helper.make_tensor("w", TensorProto.BFLOAT16, w.shape, w.tobytes(), raw=True)
    infos = [helper.make_tensor_value_info(n, TensorProto.BFLOAT16, s) for n, s in (("x", [4, 6]), ("y", [4, 3]))]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", infos[:1], infos[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    given = x.astype(ml_dtypes.bfloat16)
    want = given.astype(np.float64) @ w.astype(np.float64)
    for feed in (given, given.astype(np.float32)):
        y = ours(model, {"x": feed})["y"]
        assert y.dtype == np.float32
        np.testing.assert_allclose(y, want, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_mean_of_a_layer_normalization_is_float32(dtype):
    x = normal(3, 4).astype(dtype)
    node = helper.make_node("LayerNormalization", ["x", "scale"], ["y", "mean", "inverse"])
    outputs = {"y": dtype, "mean": "float32", "inverse": "float32"}
    model = make_model([node], {"x": x}, outputs, {"scale": np.ones(4, dtype)})
    mine = ours(model, {"x": x})
    wide = x.astype(np.float64)
    np.testing.assert_allclose(mine["mean"], wide.mean(1, keepdims=True), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(mine["inverse"], (wide.var(1, keepdims=True) + 1e-5) ** -0.5, rtol=1e-4)

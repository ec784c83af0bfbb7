"""Files that onnxruntime's optimisers wrote, at every level, around GRUs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx_build import ort_run

from fastgru.errors import UnsupportedModelError
from fastgru.importers.onnx.registry import MICROSOFT
from fastgru.load import load

F = np.float32
DATA = Path(__file__).parent.parent / "data" / "onnx"
FILES = sorted(DATA.glob("*.onnx"))


def optimised(path: Path, level: str, folder: Path) -> bytes:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.log_severity_level = 4
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return (folder / "optimised.onnx").read_bytes()


@pytest.mark.parametrize("level", ["ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL"])
@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_files_that_onnxruntime_optimised(path, level, tmp_path):
    data = optimised(path, level, tmp_path)
    name = path.stem.split("_")[0]
    with np.load(DATA / "golden.npz") as golden:
        feeds = {k.removeprefix(f"{name}.in."): golden[k] for k in golden.files if k.startswith(f"{name}.in.")}
    want = ort_run(ModelProto.FromString(path.read_bytes()), feeds)
    if any(node.domain == "com.microsoft.nchwc" for node in ModelProto.FromString(data).graph.node):
        assert level == "ORT_ENABLE_ALL"
        with pytest.raises(UnsupportedModelError, match="this layout depends on the CPU"):
            load(data)
        return
    results = load(data).run(feeds)
    for output, expected in want.items():
        np.testing.assert_allclose(results[output], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(("op", "gates"), [("RNN", 1), ("GRU", 3), ("LSTM", 4)])
def test_a_layer_whose_defaults_are_written_out(op, gates, direction, tmp_path):
    """Of an RNN, two activations whatever the direction."""
    rng, D = np.random.default_rng(3), 2 if direction == "bidirectional" else 1
    sizes = {"W": (D, 4 * gates, 3), "R": (D, 4 * gates, 4)}
    weights = [numpy_helper.from_array(rng.normal(0, 0.5, s).astype(F), n) for n, s in sizes.items()]
    node = helper.make_node(op, ["x", "W", "R"], ["y", "hn"], hidden_size=4, direction=direction)
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("y", "hn")]
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["T", "N", 3])], ends, weights
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    (tmp_path / "plain.onnx").write_bytes(model.SerializeToString())
    data = optimised(tmp_path / "plain.onnx", "ORT_ENABLE_ALL", tmp_path)
    x = rng.standard_normal((5, 2, 3)).astype(F)
    for name, want in ort_run(model, {"x": x}).items():
        np.testing.assert_allclose(load(data).run({"x": x})[name], want, atol=1e-5)


@pytest.mark.parametrize("level", ["ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL"])
def test_fused_operators_around_a_gru(level, tmp_path):
    """Gelu, LayerNormalization of parts, MatMul with a transposed operand, Gemm with an activation, a residual."""
    rng = np.random.default_rng(0)
    sizes = {"W": (1, 24, 8), "R": (1, 24, 8), "B": (1, 48), "K": (8, 8), "b": (8,), "g": (8,), "h": (8,)}
    weights = [numpy_helper.from_array(rng.normal(0, 0.5, s).astype(F), n) for n, s in sizes.items()]
    scalars = {"half": 0.5, "one": 1.0, "root": 2**0.5, "two": 2.0, "eps": 1e-5, "quarter": 0.25}
    weights += [numpy_helper.from_array(F(v), n) for n, v in scalars.items()]
    weights += [numpy_helper.from_array(np.int64([1]), "axis")]
    steps = [
        ("Add", "x b", "xb", {}), ("Div", "xb root", "d", {}), ("Erf", "d", "e", {}), ("Add", "e one", "e1", {}),
        ("Mul", "xb e1", "m", {}), ("Mul", "m half", "gelu", {}),
        ("GRU", "gelu W R B", "y0", {"hidden_size": 8, "linear_before_reset": 1}), ("Squeeze", "y0 axis", "y1", {}),
        ("Add", "y1 x", "r", {}), ("ReduceMean", "r", "mu", {"axes": [-1]}), ("Sub", "r mu", "c", {}),
        ("Pow", "c two", "c2", {}), ("ReduceMean", "c2", "v", {"axes": [-1]}), ("Add", "v eps", "ve", {}),
        ("Sqrt", "ve", "sd", {}), ("Div", "c sd", "n", {}), ("Mul", "n g", "ng", {}), ("Add", "ng h", "norm", {}),
        ("Transpose", "norm", "t", {"perm": [0, 2, 1]}), ("MatMul", "norm t", "a", {}),
        ("Mul", "a quarter", "scores", {}), ("MatMul", "norm K", "k", {}), ("Add", "k b", "kb", {}),
        ("Sigmoid", "kb", "s", {}), ("Mul", "kb s", "y", {}),
    ]  # fmt: skip
    nodes = [helper.make_node(op, reads.split(), [made], **attrs) for op, reads, made, attrs in steps]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [None] * 3) for n in ("y", "scores")]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["T", "N", 8])], ends, weights
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path = tmp_path / "plain.onnx"
    path.write_bytes(model.SerializeToString())
    data = optimised(path, level, tmp_path)
    ops = {node.op_type for node in ModelProto.FromString(data).graph.node}
    assert ops & {"Gelu", "BiasGelu"}
    assert {"FusedMatMul", "QuickGelu"} & ops
    assert {"LayerNormalization", "SkipLayerNormalization"} & ops
    x = rng.standard_normal((5, 2, 8)).astype(F)
    want, got = ort_run(model, {"x": x}), load(data).run({"x": x})
    for name, expected in want.items():
        np.testing.assert_allclose(got[name], expected, rtol=1e-5, atol=1e-5)


def test_a_network_quantised_by_onnxruntime(tmp_path):
    """quantize_dynamic, then optimised: DynamicQuantizeMatMul behind the GRU."""
    quantization = pytest.importorskip("onnxruntime.quantization")
    rng = np.random.default_rng(1)
    sizes = {"W": (1, 24, 8), "R": (1, 24, 8), "B": (1, 48), "K": (8, 6), "b": (6,)}
    weights = [numpy_helper.from_array(rng.normal(0, 0.5, s).astype(F), n) for n, s in sizes.items()]
    weights += [numpy_helper.from_array(np.int64([1]), "axis")]
    nodes = [
        helper.make_node("GRU", ["x", "W", "R", "B"], ["y0"], hidden_size=8, linear_before_reset=1),
        helper.make_node("Squeeze", ["y0", "axis"], ["y1"]),
        helper.make_node("MatMul", ["y1", "K"], ["k"]),
        helper.make_node("Add", ["k", "b"], ["y"]),
    ]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["T", "N", s]) for n, s in (("x", 8), ("y", 6)))
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y], weights), opset_imports=[helper.make_opsetid("", 13)], ir_version=8
    )
    (tmp_path / "plain.onnx").write_bytes(model.SerializeToString())
    quantization.quantize_dynamic(str(tmp_path / "plain.onnx"), str(tmp_path / "quantised.onnx"))
    data = optimised(tmp_path / "quantised.onnx", "ORT_ENABLE_EXTENDED", tmp_path)
    assert "DynamicQuantizeMatMul" in {node.op_type for node in ModelProto.FromString(data).graph.node}
    feeds = {"x": rng.standard_normal((5, 2, 8)).astype(F)}
    want = ort_run(ModelProto.FromString(data), feeds)["y"]
    np.testing.assert_allclose(load(data)(feeds["x"]), want, atol=1e-5)


@pytest.mark.parametrize("level", ["ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL"])
def test_a_convolution_of_integers_before_a_gru(level, tmp_path):
    """Quantised nodes around a convolution, a sigmoid, a product and a pool become QLinear operators."""
    rng, half = np.random.default_rng(2), np.uint8(128)
    sizes = {"W": (1, 24, 16), "R": (1, 24, 8), "B": (1, 48)}
    weights = [numpy_helper.from_array(rng.normal(0, 0.5, s).astype(F), n) for n, s in sizes.items()]
    held = {
        "s": F(0.02),
        "z": half,
        "k": rng.integers(-64, 64, (16, 3, 3, 3)).astype(np.int8),  # see test_linear_products_and_convolutions
        "ks": F(0.02),
        "kz": np.int8(0),
        "to": np.int64([0, 16, -1]),
    }
    held |= {"cs": F(0.05), "one": F(1 / 255), "nought": np.uint8(0)}
    weights += [numpy_helper.from_array(a, n) for n, a in held.items()]

    def both(name: str, scale: str, zero: str) -> list[Any]:
        return [
            helper.make_node("QuantizeLinear", [name, scale, zero], [f"{name}_q"]),
            helper.make_node("DequantizeLinear", [f"{name}_q", scale, zero], [f"{name}_d"]),
        ]

    nodes = [
        *both("x", "s", "z"),
        helper.make_node("DequantizeLinear", ["k", "ks", "kz"], ["k_d"]),
        helper.make_node("Conv", ["x_d", "k_d"], ["c"], pads=[1, 1, 1, 1]),
        *both("c", "cs", "z"),
        helper.make_node("Sigmoid", ["c_d"], ["g"]),
        *both("g", "one", "nought"),
        helper.make_node("Mul", ["c_d", "g_d"], ["m"]),
        *both("m", "cs", "z"),
        helper.make_node("AveragePool", ["m_d"], ["p"], kernel_shape=[6, 1]),
        *both("p", "cs", "z"),
        helper.make_node("Reshape", ["p_d", "to"], ["f"]),
        helper.make_node("Transpose", ["f"], ["t"], perm=[2, 0, 1]),
        helper.make_node("GRU", ["t", "W", "R", "B"], ["y"], hidden_size=8, linear_before_reset=1),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 6, "T"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", [x], [y], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    (tmp_path / "plain.onnx").write_bytes(model.SerializeToString())
    data = optimised(tmp_path / "plain.onnx", level, tmp_path)
    domains = {node.op_type for node in ModelProto.FromString(data).graph.node if node.domain == MICROSOFT}
    assert {"QLinearSigmoid", "QLinearMul"} <= domains
    feeds = {"x": rng.standard_normal((1, 3, 6, 9)).astype(F)}
    np.testing.assert_allclose(load(data).run(feeds)["y"], ort_run(model, feeds)["y"], atol=2e-2)

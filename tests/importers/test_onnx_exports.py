"""What PyTorch's two exporters write, against torch's own outputs. See tools/make_onnx_golden.py."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_build import ort_run

from fastgru.errors import UnsupportedModelError
from fastgru.importers.onnx import read_onnx
from fastgru.load import load
from fastgru.reference import run_graph

FOLDER = Path(__file__).parent.parent / "data" / "onnx"
FILES = sorted(FOLDER.glob("*.onnx"))
STATES = {
    "denoiser": {"h0": "hn"},
    "mixed": {"h0": "hn", "c0": "cn", "rnn_h0": "rnn_hn", "gru_h0": "gru_hn"},
}


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_torch_export(path):
    name = path.stem.split("_")[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        graph = read_onnx(path)
    with np.load(FOLDER / "golden.npz") as golden:
        feeds = {spec.name: golden[f"{name}.in.{spec.name}"] for spec in graph.inputs}
        expected = {spec.name: golden[f"{name}.out.{spec.name}"] for spec in graph.outputs}
    results = run_graph(graph, feeds)
    for key, array in expected.items():
        assert np.abs(array).max() > 0.01
        assert results[key].shape == array.shape
        assert np.abs(results[key] - array).max() < 2e-6
    assert graph.states == STATES.get(name, {})
    assert graph.meta["producer"].startswith("pytorch 2")
    assert graph.meta["opset"] == f"ai.onnx {path.stem.split('_')[2]}"
    assert sum(node.op == "gru" for node in graph.nodes) in (1, 2)


@pytest.mark.parametrize("path", [p for p in FILES if p.stem.startswith(("mixed", "tagger"))], ids=lambda p: p.stem)
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_networks_of_several_kinds_of_layers_are_those_of_onnxruntime(path, precision):
    model = load(path, precision=precision)
    with np.load(FOLDER / "golden.npz") as golden:
        feeds = {spec.name: golden[f"{path.stem.split('_')[0]}.in.{spec.name}"] for spec in model.inputs}
    expected = ort_run(onnx.load(path), feeds)
    results = model.run(feeds)
    assert list(results) == list(expected)
    for name, array in expected.items():
        assert np.abs(results[name] - array).max() < 1e-5


def test_a_stream_carries_the_states_of_every_layer():
    model = load(next(FOLDER.glob("mixed_trace*.onnx")))
    ids = np.random.default_rng(0).integers(0, 11, (7, 2))
    zeros = {s.name: np.zeros(s.shape) for s in model.inputs if s.name != "ids"}
    whole = model.run({"ids": ids, **zeros})
    stream = model.stream(batch_size=2)
    pieces = [stream.push(ids[a:b]) for a, b in ((0, 1), (1, 4), (4, 7))]
    np.testing.assert_array_equal(np.concatenate(pieces), whole["y"])


@pytest.mark.parametrize("exporter", ["trace", "dynamo"])
def test_free_dimensions_have_names_and_take_other_sizes(exporter):
    path = next(FOLDER.glob(f"classifier_{exporter}*.onnx"))
    graph = read_onnx(path)
    assert graph.inputs[0].shape == (None, None)
    assert graph.inputs[0].dims == ("batch", "time")
    ids = np.random.default_rng(0).integers(0, 11, (2, 7))
    whole = run_graph(graph, {"ids": ids})["probabilities"]
    single = run_graph(graph, {"ids": ids[:1]})["probabilities"]
    assert whole.shape == (2, 4)
    np.testing.assert_allclose(whole[:1], single, rtol=1e-12)


def test_both_exporters_give_the_same_model():
    ids = np.random.default_rng(0).integers(0, 11, (2, 7))
    graphs = [read_onnx(next(FOLDER.glob(f"classifier_{e}*.onnx"))) for e in ("trace", "dynamo")]
    first, second = (run_graph(graph, {"ids": ids})["probabilities"] for graph in graphs)
    np.testing.assert_allclose(first, second, rtol=1e-9)


def test_every_operator_that_is_missing_is_named_at_once(tmp_path):
    float32 = TensorProto.FLOAT
    nodes = [
        helper.make_node("Det", ["x"], ["a"], "det_0"),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Det", ["x"], ["c"], "det_1"),
        helper.make_node("MyOp", ["c"], ["y"], "mine", domain="my.domain"),
    ]
    x = helper.make_tensor_value_info("x", float32, (2, 2))
    y = helper.make_tensor_value_info("y", float32, None)
    graph = helper.make_graph(nodes, "g", [x], [y, helper.make_tensor_value_info("b", float32, ())])
    path = tmp_path / "missing.onnx"
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("my.domain", 1)]
    path.write_bytes(helper.make_model(graph, opset_imports=opsets).SerializeToString())
    with pytest.raises(UnsupportedModelError) as caught:
        read_onnx(path)
    print(message := str(caught.value))
    assert "'missing.onnx'" in message
    assert "operator Det (ai.onnx opset 17) is not implemented: 2 nodes, 'det_0" in message
    assert "operator MyOp (my.domain opset 1)" in message
    assert "workaround" in message


@pytest.mark.parametrize("name", ["gtcrn", "gtcrn_simple"])
def test_a_whole_network_is_read_with_its_states(shared_models, name):
    path = shared_models / "gtcrn" / f"{name}.onnx"
    graph = read_onnx(path)
    assert graph.states == {f"{name}_cache": f"{name}_cache_out" for name in ("conv", "tra", "inter")}
    counts = Counter(node.op_type for node in onnx.load(path).graph.node)
    assert Counter(node.op for node in graph.nodes)["gru"] == counts["GRU"] == 14

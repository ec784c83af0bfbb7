"""Nodes that are not implemented, carried out by onnx's reference implementation where the user asks for it."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper
from onnx_build import gru_arrays, make_model, ort_run

import fastgru
from fastgru.cli import main
from fastgru.errors import FastGRUError, InvalidModelError, ShapeError, UnsupportedModelError
from fastgru.graph import Graph, Node, TensorSpec
from fastgru.graphfile import write_graph
from fastgru.reference.foreign import FOREIGN, foreign_node

node = helper.make_node
RNG = np.random.default_rng(0)
X = RNG.standard_normal((3, 2, 4)).astype(np.float32)
H0 = RNG.standard_normal((1, 2, 5)).astype(np.float32)


@pytest.fixture(scope="module")
def model_bytes():
    nodes = [
        node("GRU", ["x", "W", "R", "", "", "h0"], ["Y", "hn"], hidden_size=5, linear_before_reset=1),
        node("Tanh", ["Y"], ["t"]),
        node("Einsum", ["t", "t"], ["g"], equation="tdni,tdnj->tnij", name="gram"),
        node("Add", ["g", "eye"], ["a"]),
        node("Det", ["a"], ["d"], name="det"),
        node("Exp", ["d"], ["z"]),
    ]
    constants = gru_arrays(np.random.default_rng(1), I=4, H=5, D=1, bias=False) | {"eye": np.eye(5, dtype=np.float32)}
    return make_model(nodes, {"x": X, "h0": H0}, ["z", "hn"], constants)


def test_without_it_the_refusal_names_the_nodes_and_the_way(model_bytes):
    with pytest.raises(UnsupportedModelError, match=r"Det \(ai.onnx opset 18\).*'det'(.|\n)*fallback=\"reference\""):
        fastgru.load(model_bytes.SerializeToString())
    with pytest.raises(UnsupportedModelError, match="fallback is 'onnx', expected None or 'reference'"):
        fastgru.load(model_bytes.SerializeToString(), fallback="onnx")


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_mixed_model_equals_onnxruntime(model_bytes, precision):
    model = fastgru.load(model_bytes.SerializeToString(), fallback="reference", precision=precision)
    assert any("'det' (Det, ai.onnx opset 18)" in line for line in model.reference_nodes)
    feeds = {"x": X, "h0": H0}
    want = ort_run(model_bytes, feeds)
    got = model.run(feeds)
    assert list(got) == ["z", "hn"]
    for name, array in got.items():
        assert array.dtype == precision
        np.testing.assert_allclose(array, want[name], rtol=2e-5, atol=1e-5)
    out = {name: np.empty_like(a) for name, a in got.items()}
    assert model.run(feeds, out=out)["z"] is out["z"]
    np.testing.assert_array_equal(out["z"], got["z"])
    with pytest.raises(ShapeError, match="out 'z'"):
        model.run(feeds, out={"z": np.empty(3, np.float32)})


def test_a_stream_goes_through_run(model_bytes):
    model = fastgru.load(model_bytes.SerializeToString(), fallback="reference")
    stream = model.stream(state={"h0": "hn"})
    h = np.zeros((1, 2, 5), np.float32)
    for _ in range(3):
        before = stream.fork()
        y = stream.push(X)
        want = model.run({"x": X, "h0": h})
        h = want["hn"]
        np.testing.assert_array_equal(y, want["z"])
        np.testing.assert_array_equal(before.push(X, out=np.empty_like(y)), y)
    other = model.stream(state={"h0": "hn"})
    other.load_state(stream.save_state())
    np.testing.assert_array_equal(other.push(X), stream.push(X))


def test_a_saved_model_keeps_them_and_needs_the_same_word(model_bytes, tmp_path):
    model = fastgru.load(model_bytes.SerializeToString(), fallback="reference")
    model.save(tmp_path / "m.safetensors")
    with pytest.raises(UnsupportedModelError, match=r"'det' \(Det.*fallback"):
        fastgru.load(tmp_path / "m.safetensors")
    again = fastgru.load(tmp_path / "m.safetensors", fallback="reference")
    assert again.reference_nodes == model.reference_nodes
    np.testing.assert_array_equal(again.run({"x": X, "h0": H0})["z"], model.run({"x": X, "h0": H0})["z"])


def test_the_command_line_lists_and_verifies_them(model_bytes, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(model_bytes.SerializeToString())
    shown = CliRunner().invoke(main, ["inspect", str(path), "--fallback", "reference", "--json"])
    assert shown.exit_code == 0, shown.output
    assert any("Det" in line for line in json.loads(shown.output)["reference_nodes"])
    shown = CliRunner().invoke(main, ["inspect", str(path), "--fallback", "reference"])
    assert "Carried out by onnx's reference implementation, in Python: 10 to 100,000 times slower" in shown.output
    shown = CliRunner().invoke(main, ["verify", str(path), "--fallback", "reference"])
    assert "Carried out by onnx's reference implementation, slowly: node 'det' (Det" in shown.output
    assert CliRunner().invoke(main, ["inspect", str(path)]).exit_code == 1
    report = fastgru.verify(path, fallback="reference")
    assert report.holds
    assert report.reference_nodes == fastgru.load(path, fallback="reference").reference_nodes
    assert report.reference_nodes[0] in str(report)
    assert {check.against.split()[0] for check in report.checks} == {"definition", "onnxruntime"}


def test_several_stretches():
    square = np.eye(2, dtype=np.float32) * 3
    x = np.full((2, 2), 2, np.float32)
    nodes = [
        node("Add", ["x", "square"], ["a"]),
        node("Det", ["a"], ["d"]),
        node("Tanh", ["d"], ["t"]),
        node("Mul", ["a", "t"], ["b"]),
        node("Det", ["b"], ["e"]),
        node("Add", ["e", "x"], ["inside"]),
        node("Det", ["inside"], ["y"]),
    ]
    model = make_model(nodes, {"x": x}, ["y"], {"square": square})
    loaded = fastgru.load(model.SerializeToString(), fallback="reference")
    assert len(loaded.reference_nodes) == 3
    feeds = {"x": x}
    np.testing.assert_allclose(loaded.run(feeds)["y"], ort_run(model, feeds)["y"], rtol=1e-5)


@pytest.mark.parametrize(
    ("proto", "reason"),
    [
        (node("Odd", ["x"], ["y"], domain="com.microsoft"), r"Odd, com.microsoft.*not proved.*simplify"),
        (node("LRN", ["x"], ["y"], size=3), "LRN.*not proved to give the numbers of onnxruntime"),
        (node("RandomUniformLike", ["x"], ["y"]), "RandomUniformLike.*not proved.*make the random tensor outside"),
        (node("Det", ["i"], ["y"]), "Det.*input 'i' of int64 was not proved, only float32"),
        (node("Det", ["x"], ["y"], more=1), "Det.*no attribute 'more'"),
        (node("MaxUnpool", ["x", "i", "i"], ["y"], kernel_shape=[2]), "3 inputs was not proved, only 2 to 2"),
        (node("GridSample", ["x", "x"], ["y"], mode="cubic"), "'mode' with 'cubic' was not proved, only linear"),
        (node("MaxPool", ["x"], ["y", "z"], kernel_shape=[1]), "Indices.*export the model without it; and.*2 outputs"),
        (node("NonMaxSuppression", ["x", "x", "", "i"], ["y"]), "input 2 is absent and a later one is not"),
    ],
    ids=lambda entry: entry.op_type if hasattr(entry, "op_type") else "",
)  # fmt: skip
def test_what_was_not_proved_is_refused_by_name(proto, reason):
    proto.name = "odd"
    inputs = {"x": X, "i": np.zeros((3, 2), np.int64)}
    model = make_model([proto], inputs, ["y"], domains=("com.microsoft",))
    with pytest.raises(UnsupportedModelError, match=f"'odd'(.|\n)*{reason}"):
        fastgru.load(model.SerializeToString(), fallback="reference")


def test_a_version_of_onnx_that_was_not_proved_refuses_everything(model_bytes, monkeypatch):
    monkeypatch.setattr("onnx.__version__", "1.99.0")
    with pytest.raises(UnsupportedModelError, match=r"proved with onnx 1\.23, and onnx 1.99.0 is installed"):
        fastgru.load(model_bytes.SerializeToString(), fallback="reference")


def test_a_node_without_a_proof_is_refused_in_a_file_of_our_own(model_bytes, tmp_path):
    graph = fastgru.load_graph(model_bytes.SerializeToString(), fallback="reference")
    stored = base64.b64encode(node("LRN", ["a"], ["d"], size=3).SerializeToString()).decode()
    nodes = [replace(n, attrs={**n.attrs, "node": stored}) if n.op == FOREIGN else n for n in graph.nodes]
    write_graph(replace(graph, nodes=tuple(nodes)), tmp_path / "m.safetensors")
    with pytest.raises(UnsupportedModelError, match=r"LRN.*refuses it: it was not proved"):
        fastgru.load(tmp_path / "m.safetensors", fallback="reference")


def test_a_failure_at_run_time_names_the_node():
    model = make_model([node("Det", ["x"], ["y"], name="the_det")], {"x": np.ones((2, 3), np.float32)}, ["y"])
    loaded = fastgru.load(model.SerializeToString(), fallback="reference")
    with pytest.raises(ShapeError, match=r"'the_det' .Det"):
        loaded.run({"x": np.ones((2, 3), np.float32)})


def test_nothing_is_read_from_other_files():
    tensor = helper.make_tensor("t", TensorProto.INT64, [1], b"\0\0\0\0\0\0\0\0", raw=True)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="secret")
    encoder = node("LabelEncoder", ["x"], ["y"], domain="ai.onnx.ml", keys_tensor=tensor, values_floats=[1.0])
    model = make_model([encoder], {"x": np.zeros(3, np.int64)}, ["y"], domains=("ai.onnx.ml",))
    model.opset_import[1].version = 4
    with pytest.raises(UnsupportedModelError, match="'keys_tensor' is no number or text"):
        fastgru.load(model.SerializeToString(), fallback="reference")


def det(**changes):
    made = foreign_node(node("Det", ["x"], ["y"]), ["x"], ["y"], opsets={"": 18}, dtypes=["float32"])
    return Node(made.op, made.inputs, made.outputs, {**made.attrs, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"node": "!"},
        {"node": "AAAA"},
        {"node": 3},
        {"opsets": {"": "18"}},
        {"opsets": []},
        {"dtypes": []},
        {"dtypes": ["text"]},
        {"more": 1},
    ],
)
def test_damaged_nodes_are_refused(changes):
    graph = Graph((TensorSpec("x", "float32", (2, 2)),), (TensorSpec("y", "float32", ()),), (det(**changes),))
    with pytest.raises(FastGRUError):
        fastgru.Model(graph)
    with pytest.raises(InvalidModelError, match="dtypes"):
        fastgru.Model(Graph(graph.inputs, graph.outputs, (det(dtypes=[None, None]),)))

"""Graphs as ONNX files: valid, equal to onnxruntime, and back through our own importer with the same bits."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import fastgru
from fastgru import GRU, Embedding, Gate, Linear, Sequential
from fastgru.engine import Executable
from fastgru.errors import UnsupportedModelError
from fastgru.exporters import to_onnx
from fastgru.exporters.onnx import OPSET, exported
from fastgru.graph import Graph, Node, TensorSpec
from fastgru.reference import OPS, run_graph
from fastgru.spec import Activation, GRUSpec, GRUWeights

sys.path.insert(0, str(Path(__file__).parent.parent / "engine"))
from engine_cases import CASES, Case

RNG = np.random.default_rng(3)


def normal(*shape: int) -> np.ndarray:
    return (RNG.standard_normal(shape) / 2).astype(np.float32)


def reimported(data: bytes) -> Graph:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return fastgru.load_graph(data, allow_unread=True)


def checked(data: bytes) -> onnx.ModelProto:
    model = onnx.load_model_from_string(data)
    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version == OPSET
    return model


def theirs(data: bytes, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, dict(feeds)), strict=True))


def gru(H: int = 6, I: int = 5, layers: int = 1, **more) -> GRU:
    spec = {"direction": "forward", "reset_after": True, **more}
    bias = spec.pop("bias", True)
    specs, weights = [], []
    for _ in range(layers):
        specs.append(GRUSpec(I, H, **spec))
        D = specs[-1].num_directions
        made = [
            GRUWeights(normal(3 * H, I), normal(3 * H, H), *((normal(3 * H), normal(3 * H)) if bias else ()))
            for _ in range(D)
        ]
        weights.append(made)
        I = D * H
    return GRU(specs, weights)


def batch_norm(axis: int) -> Graph:
    arrays = {name: np.abs(normal(5)) + np.float32(0.3) for name in ("scale", "bias", "mean", "var")}
    node = Node("batch_norm", ("x", *arrays), ("y",), {"axis": axis, "epsilon": 1e-3})
    spec = TensorSpec("x", "float32", (None, 5, None) if axis == 1 else (None, None, 5))
    return Graph((spec,), (TensorSpec("y", "float32", None),), (node,), arrays)


LENGTHS = np.array([7, 0, 3])
X = normal(7, 3, 5)
LAYERS = {
    "gru": (gru(), {"x": X}),
    "reset before": (gru(reset_after=False), {"x": X}),
    "no bias, batch first": (gru(bias=False, batch_first=True), {"x": X}),
    "reverse": (gru(direction="reverse"), {"x": X}),
    "bidirectional, lengths": (gru(direction="bidirectional", layers=2), {"x": X, "lengths": LENGTHS}),
    "batch first, both ways": (gru(direction="bidirectional", batch_first=True, layers=2), {"x": X}),
    "activations": (
        gru(
            gate_activations=(Activation("hard_sigmoid", 0.25, 0.5),),
            candidate_activations=(Activation("leaky_relu", 0.125),),
            clip=2.0,
        ),
        {"x": X},
    ),
    "states": (
        Sequential(gru(layers=2), Linear(normal(4, 6), normal(4))),
        {"x": X, "h0_0": normal(1, 3, 6), "h0_1": normal(1, 3, 6)},
    ),
    "text": (
        Sequential(Embedding(normal(11, 5)), gru(batch_first=True), fastgru.LastStep(batch_first=True)),
        {"x": RNG.integers(0, 11, (3, 7)), "lengths": np.array([7, 1, 3])},
    ),
    "everything": (
        Sequential(
            Linear(normal(5, 5)), fastgru.LayerNorm(5, normal(5), normal(5)), fastgru.LayerNorm(5), fastgru.ReLU(),
            fastgru.GELU(), fastgru.SELU(), fastgru.SiLU(), fastgru.ELU(), fastgru.Hardswish(), fastgru.LeakyReLU(0.25),
            fastgru.Tanh(), fastgru.Softplus(), fastgru.Softplus(beta=2.0), fastgru.Transpose(0, 1), fastgru.Identity(),
            fastgru.Dropout(), fastgru.Sigmoid(), fastgru.Softsign(), fastgru.Select(0, 2), fastgru.LogSoftmax(dim=-1),
            fastgru.Softmax(dim=-1),
        ),
        {"x": X},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_layers_built_by_hand(name, tmp_path):
    net, feeds = LAYERS[name]
    options = {"rank": feeds["x"].ndim, "lengths": "lengths" in feeds, "initial_state": len(feeds) > 2}
    data = net.to_onnx(tmp_path / "net.onnx", **options)
    assert (tmp_path / "net.onnx").read_bytes() == data
    checked(data)
    graph = net.to_graph(**options)
    mine = Executable(graph).run(feeds)
    assert all(np.abs(a).max() > 0.01 for a in mine.values())
    other = theirs(data, feeds)
    back = reimported(data)
    again = Executable(back).run(feeds)
    assert list(mine) == list(again) == list(other)
    for key, array in mine.items():
        zero = feeds.get("lengths", np.ones(3)) == 0
        rows = np.flatnonzero(~zero)  # onnxruntime zeroes the state of a row of length zero
        axis = 0 if array.ndim == 2 else 1
        np.testing.assert_allclose(array.take(rows, axis), other[key].take(rows, axis), atol=1e-5)
        np.testing.assert_array_equal(array, again[key])
    assert back.states == graph.states


@pytest.mark.parametrize("axis", [1, 2, -1])
def test_batch_norm_on_any_axis(axis):
    graph, x = batch_norm(axis), normal(4, 5, 5)
    data = to_onnx(graph)
    checked(data)
    mine = Executable(graph).run({"x": x})["y"]
    np.testing.assert_allclose(mine, theirs(data, {"x": x})["y"], atol=1e-5)
    np.testing.assert_allclose(mine, Executable(reimported(data)).run({"x": x})["y"], atol=1e-6)


def test_gates_of_a_book_in_float64():
    gate = [Gate(RNG.standard_normal((4, 3)), RNG.standard_normal((4, 4))) for _ in range(3)]
    net = GRU.from_gates(reset=gate[0], update=gate[1], candidate=gate[2], precision="float64")
    x = RNG.standard_normal((9, 2, 3))
    data = net.to_onnx()
    checked(data)
    definition = run_graph(reimported(data), {"x": x})  # onnxruntime has no GRU in float64
    for array, name in zip(net(x), ("y", "h_n"), strict=True):
        np.testing.assert_allclose(array, definition[name], atol=1e-12)
        np.testing.assert_array_equal(array, fastgru.load(data, precision="float64").run({"x": x})[name])


def test_a_model_that_was_read_is_written_again(tmp_path):
    for path in sorted((Path(__file__).parent.parent / "data" / "onnx").glob("*.onnx")):
        model = fastgru.load(path)
        with np.load(path.parent / "golden.npz") as golden:
            start = f"{path.stem.split('_')[0]}.in."
            feeds = {key.removeprefix(start): golden[key] for key in golden.files if key.startswith(start)}
        wanted = model.run(feeds)
        model.to_onnx(tmp_path / "again.onnx")
        again = fastgru.load(tmp_path / "again.onnx")
        checked((tmp_path / "again.onnx").read_bytes())
        assert [(s.name, s.dtype, s.shape, s.dims) for s in again.inputs] == [
            (s.name, s.dtype, s.shape, s.dims) for s in model.inputs
        ]
        for name, array in again.run(feeds).items():
            np.testing.assert_array_equal(array, wanted[name], err_msg=path.stem)


def test_a_whole_network_goes_out_and_comes_back(shared_models):
    model = fastgru.load(shared_models / "gtcrn" / "gtcrn.onnx")
    data = model.to_onnx()
    checked(data)
    again = fastgru.load(data)
    streams = model.stream(), again.stream()
    for frame in np.load(shared_models / "gtcrn" / "golden.npz")["mix"][:8]:
        first, second = (stream.push(frame.reshape(1, 257, 1, 2)) for stream in streams)
        np.testing.assert_array_equal(first, second)
    for name, array in streams[0].state.items():
        np.testing.assert_array_equal(array, streams[1].state[name])


# What ONNX has no form of (of mod, for floating-point numbers), or nothing here writes.
NO_COUNTERPART = {
    ("pool", "sum"),
    ("unary", "log1p"), ("unary", "expm1"), ("binary", "mod"), ("binary", "shift_left"), ("binary", "shift_right"),
}  # fmt: skip
SAMPLE = [c for cases in CASES.values() for c in cases[:: max(1, len(cases) // 60)] if c.op in exported()]


@pytest.mark.parametrize("case", SAMPLE, ids=str)
def test_every_operator_goes_out_and_comes_back(case: Case):
    graph, feeds = case.graph()
    mine = Executable(graph).run(feeds)
    kind = case.attrs.get("kind")
    if (case.op, kind) in NO_COUNTERPART and (kind != "mod" or case.inputs[0].dtype.kind == "f"):
        with pytest.raises(UnsupportedModelError, match=f"{kind!r} has no counterpart in ONNX"):
            to_onnx(graph)
        return
    if (case.op, case.attrs) == ("squeeze", {"axes": []}):
        with pytest.raises(UnsupportedModelError, match="number of axes is not known"):
            to_onnx(graph)
        return
    if case.op in ("conv", "conv_transpose") and (case.inputs[3:] or case.attrs.get("clamp")):
        with pytest.raises(UnsupportedModelError, match="clamp or slope within a convolution"):
            to_onnx(graph)
        return
    if "quantize" in case.op and (case.attrs.get("block_size") or any("16" in str(a.dtype) for a in case.inputs)):
        with pytest.raises(UnsupportedModelError, match="not in opset 20"):
            to_onnx(graph)
        return
    data = to_onnx(graph)
    onnx.checker.check_model(onnx.load_model_from_string(data))
    again = Executable(reimported(data)).run(feeds)
    for name, array in mine.items():
        assert (again[name].dtype, again[name].shape) == (array.dtype, array.shape)
        if case.op in ("batch_norm", "group_norm"):  # an epsilon that is float64 here is float32 in the file
            np.testing.assert_allclose(again[name], array, rtol=1e-6, atol=1e-6)
        else:
            np.testing.assert_array_equal(again[name], array)


def test_operators_without_a_counterpart_are_listed():
    missing = sorted(set(OPS) - set(exported()))
    graph = Graph(
        (TensorSpec("x", "float32", (2, 3)),),
        (TensorSpec("y", "float32", None),),
        (
            Node("unary", ("x",), ("a",), {"kind": "log1p"}, "first"),
            Node("unary", ("a",), ("y",), {"kind": "expm1"}, "second"),
        ),
    )
    with pytest.raises(UnsupportedModelError, match=r"2 node\(s\).*'first'.*'log1p'.*'second'.*Model\.save"):
        to_onnx(graph)
    nodes = (Node("dft", ("x",), ("a",), {}, "first"), Node("unary", ("a",), ("y",), {"kind": "log1p"}, "second"))
    with pytest.raises(UnsupportedModelError, match=r"2 node\(s\).*'first'.*'second'"):
        to_onnx(Graph(graph.inputs, graph.outputs, nodes))
    for op in missing:
        node = Node(op, ("x",), ("y",), {}, "here")
        with pytest.raises(UnsupportedModelError, match="'here'"):
            to_onnx(Graph((TensorSpec("x", "float32", (2,)),), (TensorSpec("y", "float32", None),), (node,)))
    with pytest.raises(UnsupportedModelError, match="precision is 'int8'"):
        to_onnx(graph, precision="int8")
    leaky = gru(candidate_activations=(Activation("leaky_relu", 0.1),)).to_graph()
    to_onnx(leaky)
    with pytest.raises(UnsupportedModelError, match=r"alpha = 0\.1 does not fit float32"):
        to_onnx(leaky, precision="float64")


def test_masks_are_refused_and_weights_that_are_computed_written():
    graph = gru().to_graph()
    (node,) = (node for node in graph.nodes if node.op == "gru")
    masked = Node("gru", (*node.inputs[:3], "mask", *node.inputs[4:]), node.outputs, node.attrs, node.name)
    inputs = (*graph.inputs, TensorSpec("mask", "bool", (None, None)))
    with pytest.raises(UnsupportedModelError, match="mask of steps"):
        to_onnx(Graph(inputs, graph.outputs, (masked,), graph.constants))
    W = node.inputs[4]
    constants = {name: a for name, a in graph.constants.items() if name != W}
    inputs = (*graph.inputs, TensorSpec(W, "float32", (18, 5)))
    given = onnx.load_from_string(to_onnx(Graph(inputs, graph.outputs, (node,), constants)))
    assert [spec.name for spec in given.graph.input] == [spec.name for spec in inputs]


def test_an_output_that_is_a_constant_or_an_input():
    graph = Graph(
        (TensorSpec("x", "float32", (2,)),),
        (TensorSpec("c", "float32", (2,)), TensorSpec("y", "float32", (2,))),
        (Node("unary", ("x",), ("y",), {"kind": "neg"}),),
        {"c": np.float32([1, 2])},
    )
    data = to_onnx(graph)
    model = checked(data)
    assert model.producer_name == "fastgru"
    x = np.float32([3, 4])
    np.testing.assert_array_equal(theirs(data, {"x": x})["c"], [1, 2])
    np.testing.assert_array_equal(fastgru.load(data)(x)[1], -x)


def test_words_about_the_model_are_kept():
    meta = {"licence": "Apache-2.0", "metadata.alphabet": "abc", "format": "elsewhere", "description": "a model"}
    graph = gru().to_graph()
    data = to_onnx(Graph(graph.inputs, graph.outputs, graph.nodes, graph.constants, meta=meta))
    model = checked(data)
    assert {p.key: p.value for p in model.metadata_props} == {"licence": "Apache-2.0", "alphabet": "abc"}
    assert model.doc_string == "a model"


def test_what_reads_a_node_without_counterpart_is_not_the_fault():
    x = TensorSpec("x", "float32", (4, 6, 2))
    attrs = {"axis": 1, "inverse": True, "onesided": False}
    nodes = (
        Node("rms_norm", ("x",), ("a",), {"axis": 1, "epsilon": 1e-5}),
        Node("binary", ("a", "x"), ("b",), {"kind": "mul"}),
        Node("dft", ("b",), ("y",), attrs),
    )
    graph = Graph((x,), (TensorSpec("y", "float32", None),), nodes)
    missing = [node.op for node in nodes if node.op not in exported()]
    assert missing
    with pytest.raises(
        UnsupportedModelError, match=rf"^{len(missing)} node.s. have no counterpart in ONNX: {missing[0]}"
    ):
        to_onnx(graph)


def test_a_constant_that_is_read_and_an_output_too():
    c, x = normal(3), normal(2, 3)
    node = Node("binary", ("x", "c"), ("y",), {"kind": "add"})
    outputs = (TensorSpec("y", "float32", (2, 3)), TensorSpec("c", "float32", (3,)))
    data = to_onnx(Graph((TensorSpec("x", "float32", (2, 3)),), outputs, (node,), {"c": c}))
    checked(data)
    for results in (theirs(data, {"x": x}), Executable(reimported(data)).run({"x": x})):
        np.testing.assert_array_equal(results["y"], x + c)
        np.testing.assert_array_equal(results["c"], c)


def test_the_transpose_of_a_number():
    node = Node("transpose", ("x",), ("y",), {"perm": []})
    data = to_onnx(Graph((TensorSpec("x", "float32", ()),), (TensorSpec("y", "float32", ()),), (node,)))
    assert theirs(data, {"x": np.array(3, np.float32)})["y"] == 3

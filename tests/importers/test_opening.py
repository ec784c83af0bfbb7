"""`open_states=True`: states that begin inside a file become inputs and outputs; streams give the bits of a call."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import fastgru
from fastgru.graph import Graph, Node, TensorSpec
from fastgru.importers.framewise import time_axes
from fastgru.reference.facts import infer_graph
from tests.importers.onnx_build import recurrent_arrays

I, H = 3, 5
GATES = {"GRU": 3, "LSTM": 4, "RNN": 1}


def tensor(name, *shape, dtype=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, dtype, list(shape))


def file(nodes, x, outputs, arrays=None):
    """x: the sizes of the input x, names for those that are free; outputs: names."""
    graph = helper.make_graph(
        nodes,
        "g",
        [tensor("x", *x)] if not isinstance(x, list) else x,
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(a), name) for name, a in (arrays or {}).items()],
    )
    opsets = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def zeros_of_the_batch(states, axis=1):
    """Zeros (1, N, H), made of the shape of x as PyTorch's exporter does it."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "one"], ["n"], axis=0),
        helper.make_node("Unsqueeze", ["n", "front"], ["n1"]),
        helper.make_node("Concat", ["front_one", "n1", "hidden"], ["sizes"], axis=0),
    ]
    nodes += [helper.make_node("ConstantOfShape", ["sizes"], [name]) for name in states]
    return nodes, {
        "one": np.array(axis), "front": np.array([0]), "front_one": np.array([1]), "hidden": np.array([H]),
    }  # fmt: skip


def recurrent(op, rng, *, initial="absent", layout=0, direction="forward", x=None):
    """x -> y of one layer; initial: where its states come from."""
    D = 2 if direction == "bidirectional" else 1
    arrays = recurrent_arrays(rng, I=I, H=H, D=D, gates=GATES[op])
    names = ["h0", "c0"][: 2 if op == "LSTM" else 1]
    before, more = [], {}
    if initial == "zeros":
        before, more = zeros_of_the_batch(names, 1 - layout if layout else 1)
    elif initial == "learned":
        before, more = zeros_of_the_batch([])
        more |= {f"{name}.weight": rng.standard_normal((1, 1, H)).astype("f4") for name in names}
        before += [helper.make_node("Expand", [f"{name}.weight", "sizes"], [name]) for name in names]
    elif initial == "constant":
        more = {name: rng.standard_normal((1, 1, H)).astype("f4") for name in names}
    given_states = [] if initial == "absent" else names
    inputs = ["x", "W", "R", "B", "", *given_states] if given_states else ["x", "W", "R", "B"]
    node = helper.make_node(
        op, inputs, ["Y"], name=f"/rnn/{op}", hidden_size=H, direction=direction, **({"layout": 1} if layout else {})
    )
    tail = [helper.make_node("Squeeze", ["Y", "direction"], ["y"])]
    arrays |= more | {"direction": np.array([2 if layout else 1])}
    N = 1 if initial == "constant" else "N"
    return file([*before, node, *tail], x or (("T", N, I) if not layout else (N, "T", I)), ["y"], arrays)


def pieces(x, axis, cuts):
    return np.split(x, sorted(cuts), axis=axis)


def streamed(model, x, axis, cuts, batch=1):
    stream = model.stream(batch)
    return np.concatenate([stream.push(piece) for piece in pieces(x, axis, cuts)], axis=axis)


@given(
    op=st.sampled_from(["GRU", "LSTM", "RNN"]),
    initial=st.sampled_from(["absent", "zeros", "learned", "constant"]),
    rows=st.integers(1, 3),
    steps=st.integers(1, 12),
    seed=st.integers(0, 99),
)
@settings(max_examples=30, deadline=None)
def test_a_layer_of_onnx_streams_with_the_bits_of_a_call(op, initial, rows, steps, seed):
    rng = np.random.default_rng(seed)
    data = recurrent(op, rng, initial=initial)
    rows = 1 if initial == "constant" else rows
    x = rng.standard_normal((steps, rows, I)).astype("f4")
    whole = fastgru.load(data)(x)
    model = fastgru.load(data, open_states=True)
    names = [f"rnn_{op}_state_in"] + [f"rnn_{op}_cell_in"] * (op == "LSTM")
    assert list(model.graph.states) == names
    assert [spec.name for spec in model.inputs] == ["x", *names]
    cuts = rng.integers(0, steps + 1, 3).tolist()
    assert np.array_equal(streamed(model, x, 0, cuts, rows), whole)


@pytest.mark.parametrize("op", ["GRU", "LSTM"])
def test_what_a_state_begins_with_is_kept_in_files_and_pools(op, tmp_path):
    rng = np.random.default_rng(0)
    data = recurrent(op, rng, initial="learned")
    x = rng.standard_normal((6, 2, I)).astype("f4")
    whole = fastgru.load(data)(x)
    model = fastgru.load(data, open_states=True)
    assert set(model.graph.starts) == set(model.graph.states)
    model.save(tmp_path / "model.safetensors")
    again = fastgru.load(tmp_path / "model.safetensors")
    assert again.graph.states == model.graph.states
    assert again.fingerprint == model.fingerprint
    pool = fastgru.SessionPool(again, 4)
    sessions = np.array([pool.open(), pool.open()])
    for _ in range(2):
        made = np.concatenate([pool.push_rows(sessions, piece) for piece in np.split(x, 3)])
        assert np.array_equal(made, whole)
        for session in sessions.tolist():
            pool.reset(session)
    stream = again.stream(2)
    first = stream.push(x[:4])
    stream.reset(rows=[1])
    assert np.array_equal(stream.push(x[:2])[:, 1], whole[:2, 1])
    stream.reset()
    assert np.array_equal(stream.push(x[:4]), first)
    results = again.predict([x[:, 0], x[:5, 1]])
    assert np.array_equal(results[1][0], whole[:5, 1])
    with pytest.raises(fastgru.UnsupportedModelError, match="begins with numbers of its file"):
        model.to_onnx()


def test_rows_first_and_a_fixed_batch():
    rng = np.random.default_rng(1)
    data = recurrent("GRU", rng, layout=1)
    x = rng.standard_normal((2, 7, I)).astype("f4")
    assert np.array_equal(streamed(fastgru.load(data, open_states=True), x, 1, [2, 3], 2), fastgru.load(data)(x))
    data = recurrent("GRU", rng, x=(1, 1, I))  # one frame a call
    model = fastgru.load(data, open_states=True)
    assert [spec.shape for spec in model.inputs] == [(1, 1, I), (1, 1, H)]
    one = fastgru.load(data)
    stream, x = model.stream(), rng.standard_normal((2, 1, 1, I)).astype("f4")
    assert np.array_equal(stream.push(x[0]), one(x[0]))
    assert not np.array_equal(stream.push(x[1]), one(x[1]))


def test_rtneural():
    rng = np.random.default_rng(0)
    weights = [rng.normal(0, 0.3, s).tolist() for s in ((1, 3 * H), (H, 3 * H), (2, 3 * H))]
    layers = [
        {"type": "gru", "activation": "", "shape": [None, None, H], "weights": weights},
        {"type": "dense", "activation": "", "shape": [None, None, 1], "weights": [rng.normal(size=(H, 1)).tolist()]},
    ]
    data = json.dumps({"in_shape": [None, None, 1], "layers": layers}).encode()
    model = fastgru.load(data)
    with pytest.raises(fastgru.StateError, match="open_states=True"):
        model.stream()
    x = rng.standard_normal((1, 64, 1)).astype("f4")
    opened = fastgru.load(data, open_states=True)
    assert opened.graph.states == {"layers_0_gru_state_in": "layers_0_gru_state_out"}
    assert np.array_equal(streamed(opened, x, 1, [1, 20]), model(x))


@pytest.mark.parametrize("sequences", [True, False])
def test_keras_layers_that_are_not_stateful(sequences):
    keras_files = pytest.importorskip("tests.importers.keras_files")
    rng = np.random.default_rng(0)
    arrays = keras_files.gru_arrays(rng, I, H, reset_after=True)
    layers = [
        keras_files.layer(
            "GRU", "memory", units=H, reset_after=True, return_sequences=sequences, batch_input_shape=[None, None, I]
        ),
        keras_files.layer("Dense", "head", units=2),
    ]
    dense = [("kernel:0", rng.standard_normal((H, 2)).astype("f4")), ("bias:0", np.ones(2, np.float32))]
    names = ["kernel:0", "recurrent_kernel:0", "bias:0"]
    weights = {"memory": list(zip(names, arrays, strict=True)), "head": dense}
    data = keras_files.legacy(keras_files.sequential(*layers), weights, version="2.15.0")
    model, opened = fastgru.load(data), fastgru.load(data, open_states=True)
    assert opened.graph.states == {"memory_state_in": "memory_state_out"}
    x = rng.standard_normal((2, 8, I)).astype("f4")
    stream = opened.stream(2)
    made = [stream.push(piece) for piece in np.split(x, 4, axis=1)]
    assert np.array_equal(np.concatenate(made, axis=1) if sequences else made[-1], model(x))


def test_descriptions():
    rng = np.random.default_rng(0)
    shapes = {"weight_ih_l0": (3 * H, I), "weight_hh_l0": (3 * H, H), "bias_ih_l0": (3 * H,), "bias_hh_l0": (3 * H,)}
    weights = {f"enc.{name}": rng.normal(0, 0.4, shape) for name, shape in shapes.items()}
    told = {"inputs": {"x": ["T", "N", I]}, "layers": [{"type": "GRU", "prefix": "enc"}]}
    opened = fastgru.from_architecture(told, weights, open_states=True)
    x = rng.standard_normal((9, 1, I)).astype("f4")
    assert np.array_equal(streamed(opened, x, 0, [2, 3]), fastgru.from_architecture(told, weights)(x))


def conv(name, x, weight, *, pads=(0, 0), dilation=1, stride=1, taps=3):
    return helper.make_node(
        "Conv", [x, weight], [name], name=name, pads=list(pads), dilations=[dilation], strides=[stride],
        kernel_shape=[taps],
    )  # fmt: skip


@given(
    taps=st.integers(1, 4),
    dilation=st.integers(1, 3),
    apart=st.booleans(),
    value=st.sampled_from([0.0, 0.5]),
    steps=st.integers(1, 14),
    seed=st.integers(0, 99),
)
@settings(max_examples=30, deadline=None)
def test_convolutions_of_the_past(taps, dilation, apart, value, steps, seed):
    """Padded by themselves, or by a node before; then a GRU."""
    rng = np.random.default_rng(seed)
    reach = (taps - 1) * dilation
    arrays = recurrent_arrays(rng, I=4, H=H, D=1, gates=3) | {
        "w": rng.standard_normal((4, I, taps)).astype("f4"),
        "pads": np.array([0, 0, reach, 0, 0, 0]), "value": np.float32(value), "direction": np.array([1]),
    }  # fmt: skip
    head = [
        helper.make_node("Pad", ["x", "pads", "value"], ["padded"], name="pad"),
        conv("mixed", "padded", "w", dilation=dilation, taps=taps),
    ]
    if not apart:
        head = [conv("mixed", "x", "w", pads=(reach, 0), dilation=dilation, taps=taps)]
    tail = [
        helper.make_node("Relu", ["mixed"], ["relu"]),
        helper.make_node("Transpose", ["relu"], ["steps"], perm=[2, 0, 1]),
        helper.make_node("GRU", ["steps", "W", "R", "B"], ["Y"], name="gru", hidden_size=H, linear_before_reset=1),
        helper.make_node("Squeeze", ["Y", "direction"], ["y"]),
    ]
    used = {name for node in (*head, *tail) for name in node.input}
    data = file([*head, *tail], ("N", I, "T"), ["y"], {k: a for k, a in arrays.items() if k in used})
    x = rng.standard_normal((2, I, steps)).astype("f4")
    whole = fastgru.load(data)(x)
    model = fastgru.load(data, open_states=True)
    assert len(model.graph.states) == 1 + (reach > 0)
    stream = model.stream(2)
    made = [stream.push(piece) for piece in pieces(x, 2, rng.integers(0, steps + 1, 3).tolist()) if piece.shape[2]]
    assert np.array_equal(np.concatenate(made), whole)


def test_a_network_of_convolutions_alone():
    rng = np.random.default_rng(0)
    arrays = {f"w{k}": rng.standard_normal((I, I, 2)).astype("f4") for k in range(2)}
    nodes = [
        conv("a", "x", "w0", pads=(1, 0), taps=2),
        helper.make_node("Tanh", ["a"], ["b"]),
        conv("c", "b", "w1", pads=(4, 0), dilation=4, taps=2),
        helper.make_node("Add", ["c", "x"], ["y"]),
    ]
    data = file(nodes, (1, I, "T"), ["y"], arrays)
    x = rng.standard_normal((1, I, 30)).astype("f4")
    model = fastgru.load(data, open_states=True)
    assert model.graph.states == {"a_past_in": "a_past_out", "c_past_in": "c_past_out"}
    assert np.array_equal(streamed(model, x, 2, [1, 2, 9]), fastgru.load(data)(x))


def scan_file(rng, extra=(), body_outputs=("h2", "row")):
    """A recurrence that is no GRU: h' = tanh(x + w h) + h / 2."""
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["h", "w"], ["wh"]),
            helper.make_node("Add", ["wh", "s"], ["sum"]),
            helper.make_node("Tanh", ["sum"], ["t"]),
            helper.make_node("Mul", ["h", "half"], ["half_h"]),
            helper.make_node("Add", ["t", "half_h"], ["h2"]),
            helper.make_node("Sin", ["h2"], ["row"]),
        ],
        "body",
        [tensor("h", None, I), tensor("s", None, I)],
        [tensor(name, None, I) for name in body_outputs],
    )
    arrays = {
        "w": rng.standard_normal((I, I)).astype("f4"), "half": np.float32(0.5), "h0": np.zeros((2, I), np.float32),
    }  # fmt: skip
    scan = helper.make_node("Scan", ["h0", "x"], ["hn", "y"], body=body, num_scan_inputs=1, name="scan")
    return file([scan, *extra], ("T", 2, I), ["y"], arrays)


def test_the_states_of_a_scan():
    rng = np.random.default_rng(0)
    data = scan_file(rng)
    x = rng.standard_normal((9, 2, I)).astype("f4")
    model = fastgru.load(data, open_states=True)
    assert model.graph.states == {"scan_state_in": "scan_state_out"}
    assert np.array_equal(streamed(model, x, 0, [4, 5]), fastgru.load(data)(x))


def test_the_last_step_and_states_that_are_outputs():
    """What a call gives after so many frames is what the push gives that has the last of them."""
    rng = np.random.default_rng(0)
    arrays = recurrent_arrays(rng, I=I, H=H, D=1, gates=3) | {"w": rng.standard_normal((H, 2)).astype("f4")}
    nodes = [
        helper.make_node("GRU", ["x", "W", "R", "B"], ["", "state"], name="gru", hidden_size=H),
        helper.make_node("MatMul", ["state", "w"], ["y"]),
    ]
    data = file(nodes, ("T", "N", I), ["y", "state"], arrays)
    x = rng.standard_normal((6, 1, I)).astype("f4")
    model, stream = fastgru.load(data), fastgru.load(data, open_states=True).stream()
    assert stream.outputs == ("y", "state")
    for begin, end in ((0, 2), (2, 3), (3, 6)):
        y, state = stream.push(x[begin:end])
        assert np.array_equal(y, model(x[:end])[0])
        assert np.array_equal(state, model(x[:end])[1])


def test_an_open_state_without_a_known_output():
    rng = np.random.default_rng(0)
    arrays = recurrent_arrays(rng, I=I, H=H, D=1, gates=3)
    nodes = [helper.make_node("GRU", ["x", "W", "R", "B", "", "begin"], ["y"], name="gru", hidden_size=H)]
    data = file(nodes, [tensor("x", "T", 1, I), tensor("begin", 1, 1, H)], ["y"], arrays)
    x = rng.standard_normal((6, 1, I)).astype("f4")
    model = fastgru.load(data, open_states=True)
    assert model.graph.states == {"begin": "begin_out"}
    whole = fastgru.load(data)(x, np.zeros((1, 1, H)))
    assert np.array_equal(streamed(model, x, 0, [2]), whole)
    nodes[0].output.append("end")
    model = fastgru.load(file(nodes, [tensor("x", "T", 1, I), tensor("begin", 1, 1, H)], ["y", "end"], arrays))
    with pytest.raises(fastgru.StateError, match=r"by dtype and shape there could be .*'begin' -> 'end'"):
        model.stream()
    opened = fastgru.load(
        file(nodes, [tensor("x", "T", 1, I), tensor("begin", 1, 1, H)], ["y", "end"], arrays), open_states=True
    )
    assert opened.graph.states == {"begin": "end"}


def test_rows_that_are_frames():
    """A GRU over the bands of each frame is no state; one over the frames is."""
    rng = np.random.default_rng(0)
    one = recurrent_arrays(rng, I=1, H=2, D=2, gates=3)
    arrays = {f"{k}1": a for k, a in one.items()} | recurrent_arrays(rng, I=8, H=H, D=1, gates=3)
    arrays |= {"bands": np.array([2]), "flat": np.array([0, 1, -1]), "direction": np.array([1]), "at": np.array([0, 1])}
    nodes = [  # x (T, 1, 2): bands as steps, frames as rows
        helper.make_node("Transpose", ["x"], ["bt"], perm=[2, 0, 1]),
        helper.make_node(
            "GRU", ["bt", "W1", "R1", "B1"], ["Y1"], name="bands", hidden_size=2, direction="bidirectional"
        ),
        helper.make_node("Transpose", ["Y1"], ["byband"], perm=[2, 0, 1, 3]),
        helper.make_node("Reshape", ["byband", "flat"], ["flatten"]),
        helper.make_node("GRU", ["flatten", "W", "R", "B"], ["Y"], name="frames", hidden_size=H),
        helper.make_node("Squeeze", ["Y", "direction"], ["y"]),
    ]
    used = {name for node in nodes for name in node.input}
    data = file(nodes, ("T", 1, 2), ["y"], {k: a for k, a in arrays.items() if k in used})
    x = rng.standard_normal((7, 1, 2)).astype("f4")
    model = fastgru.load(data, open_states=True)
    assert list(model.graph.states) == ["frames_state_in"]
    assert np.array_equal(streamed(model, x, 0, [1, 4]), fastgru.load(data)(x))


def behind_a_gru(*tail, arrays=None, x=("T", "N", I)):
    rng = np.random.default_rng(0)
    weights = recurrent_arrays(rng, I=I, H=H, D=1, gates=3) | {"direction": np.array([1])}
    nodes = [
        helper.make_node("GRU", ["x", "W", "R", "B"], ["Y", "Y_h"], name="gru", hidden_size=H),
        helper.make_node("Squeeze", ["Y", "direction"], ["s"]),
        *tail,
    ]
    return file(nodes, x, ["y"], weights | (arrays or {}))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (recurrent("GRU", np.random.default_rng(0), direction="bidirectional"), "bidirectional.*last frame"),
        (recurrent("LSTM", np.random.default_rng(0), direction="reverse"), "reverse.*last frame"),
        (behind_a_gru(helper.make_node("Softmax", ["s"], ["y"], name="attend", axis=0)), "attend.*other frames"),
        (behind_a_gru(helper.make_node("ReduceMean", ["s", "direction0"], ["y"], name="mean"),
                      arrays={"direction0": np.array([0])}), "mean.*other frames"),
        (behind_a_gru(helper.make_node("Add", ["s", "Y_h"], ["y"], name="plus")), "plus.*depend on the last frame"),
        (behind_a_gru(helper.make_node("Add", ["s", "places"], ["y"], name="place"), x=(4, 1, I),
                      arrays={"places": np.ones((4, 1, H), np.float32)}), "place.*'places', which has a value"),
        (behind_a_gru(helper.make_node("Transpose", ["s"], ["t"], perm=[1, 2, 0]),
                      conv("around", "t", "w", pads=(1, 1)), helper.make_node("Identity", ["around"], ["y"]),
                      arrays={"w": np.ones((2, H, 3), np.float32)}), "around.*use causal convolutions"),
        (behind_a_gru(helper.make_node("GRU", ["s", "W2", "R", "B", "", "Y_h"], ["y"], name="decoder", hidden_size=H),
                      arrays={"W2": np.ones((1, 3 * H, H), np.float32)}), "decoder.*depend on the last frame"),
        (file([helper.make_node("Tanh", ["x"], ["y"])], ("T", "N", I), ["y"]), "no layer keeps a state"),
    ],
)  # fmt: skip
def test_what_cannot_be_run_frame_by_frame(data, message):
    with pytest.raises(fastgru.UnsupportedModelError, match=rf"open_states: .*{message}"):
        fastgru.load(data, open_states=True)


def test_a_state_that_inputs_decide():
    rng = np.random.default_rng(0)
    arrays = recurrent_arrays(rng, I=I, H=H, D=1, gates=3)
    nodes = [
        helper.make_node("Tanh", ["speaker"], ["begin"], name="embed"),
        helper.make_node("GRU", ["x", "W", "R", "B", "", "begin"], ["y"], name="gru", hidden_size=H),
    ]
    data = file(nodes, [tensor("x", "T", 1, I), tensor("speaker", 1, 1, H)], ["y"], arrays)
    with pytest.raises(fastgru.UnsupportedModelError, match=r"gru.*begins with 'begin', which is computed from inputs"):
        fastgru.load(data, open_states=True)


def test_a_model_whose_states_are_open_stays_as_it_is():
    rng = np.random.default_rng(0)
    opened = fastgru.load(recurrent("GRU", rng), open_states=True)
    data = opened.to_onnx()
    assert onnx.load_from_string(data).graph.input[1].name == "rnn_GRU_state_in"
    again = fastgru.load(data, open_states=True)
    assert again.graph.states == opened.graph.states
    assert [spec.name for spec in again.inputs] == ["x", "rnn_GRU_state_in"]


def test_a_public_network_whose_states_are_open(shared_models):
    """Its layers over the bands of a frame are bidirectional, and its convolutions read caches of their own."""
    path = shared_models / "gtcrn" / "gtcrn_simple.onnx"
    opened = fastgru.load(path, open_states=True)
    assert opened.fingerprint == fastgru.load(path).fingerprint


@pytest.mark.parametrize("name", ["gru.json", "gru_1d.json"])
def test_public_networks_of_rtneural(shared_models, name):
    path = shared_models / "rtneural" / name
    model, opened = fastgru.load(path), fastgru.load(path, open_states=True)
    x = np.random.default_rng(0).standard_normal((2, 50, model.inputs[0].shape[2])).astype("f4")
    assert np.array_equal(streamed(opened, x, 1, [1, 17, 18], 2), model(x))


def test_rnnoise_of_keras(shared_models):
    path = shared_models / "rnnoise" / "bd.hdf5"
    model, stream = fastgru.load(path), fastgru.load(path, open_states=True).stream()
    assert list(stream.states) == ["vad_gru_state_in", "noise_gru_state_in", "denoise_gru_state_in"]
    x = np.random.default_rng(0).standard_normal((1, 20, 42)).astype("f4")
    made = [stream.push(x[:, k : k + 5]) for k in range(0, 20, 5)]
    for k, whole in enumerate(model(x)):
        assert np.array_equal(np.concatenate([outputs[k] for outputs in made], axis=1), whole)


def test_only_true_and_false():
    with pytest.raises(fastgru.UnsupportedModelError, match="open_states is 'yes'"):
        fastgru.load(b"", open_states="yes")


@given(st.integers(2, 4), st.integers(1, 3), st.integers(1, 12), st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_convolutions_that_are_padded_on_both_sides_and_cut(taps, dilation, steps, seed):
    """The temporal blocks of PyTorch: what a convolution makes of the padding behind is cut away."""
    rng = np.random.default_rng(seed)
    reach = (taps - 1) * dilation
    ends = {"zero": np.array([0]), "end": np.array([-reach]), "axis": np.array([2])}
    nodes = [
        conv("wide", "x", "w", pads=(reach, reach), dilation=dilation, taps=taps),
        helper.make_node("Slice", ["wide", "zero", "end", "axis"], ["cut"], name="chomp"),
        helper.make_node("Relu", ["cut"], ["relu"]),
        helper.make_node("Add", ["relu", "x"], ["y"]),
    ]
    data = file(nodes, ("N", I, "T"), ["y"], ends | {"w": rng.standard_normal((I, I, taps)).astype("f4")})
    x = rng.standard_normal((2, I, steps)).astype("f4")
    model = fastgru.load(data, open_states=True)
    cuts = [cut for cut in rng.integers(1, steps + 1, 3).tolist() if cut < steps]
    assert np.array_equal(streamed(model, x, 2, sorted(set(cuts)), 2), fastgru.load(data)(x))
    nodes[3] = helper.make_node("Identity", ["wide"], ["y"])
    with pytest.raises(fastgru.UnsupportedModelError, match="output 'y' depends on the number of frames of a call"):
        fastgru.load(
            file([nodes[0], nodes[3]], ("N", I, "T"), ["y"], {"w": np.ones((I, I, taps), "f4")}), open_states=True
        )


def test_a_network_for_speech():
    """Convolutions over (time, bands), a GRU over the bands of each frame, and one over the frames of each band."""
    rng = np.random.default_rng(0)
    C, F = 4, 6

    def normal(*shape):
        return (rng.standard_normal(shape) / 2).astype("f4")

    bands = recurrent_arrays(rng, I=C, H=2, D=2, gates=3)
    frames = recurrent_arrays(rng, I=4, H=4, D=1, gates=3)
    arrays = {f"{k}1": a for k, a in bands.items()} | {f"{k}2": a for k, a in frames.items()}
    arrays |= {
        "w": normal(C, 1, 3, 3), "b": normal(C), "slope": np.abs(normal(C, 1, 1)), "scale": normal(4),
        "bias": normal(4), "head": normal(4, 1), "rows": np.array([-1, F, C]), "apart": np.array([1, -1, F, 4]),
        "axis": np.array([1]),
    }  # fmt: skip
    nodes = [  # x (1, 1, T, F)
        helper.make_node("Conv", ["x", "w", "b"], ["conv"], name="/encoder/conv", pads=[2, 1, 0, 1]),
        helper.make_node("PRelu", ["conv", "slope"], ["act"]),
        helper.make_node("Transpose", ["act"], ["tfc"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["tfc", "rows"], ["each"]),
        helper.make_node("Transpose", ["each"], ["ftc"], perm=[1, 0, 2]),
        helper.make_node("GRU", ["ftc", "W1", "R1", "B1"], ["Y1"], name="/intra/GRU", hidden_size=2,
                         direction="bidirectional", linear_before_reset=1),
        helper.make_node("Transpose", ["Y1"], ["fth"], perm=[2, 0, 1, 3]),
        helper.make_node("Reshape", ["fth", "apart"], ["intra"]),
        helper.make_node("LayerNormalization", ["intra", "scale", "bias"], ["norm"], axis=-1),
        helper.make_node("Add", ["norm", "tfc"], ["sum"]),
        helper.make_node("Transpose", ["sum"], ["tbc"], perm=[1, 0, 2, 3]),
        helper.make_node("Squeeze", ["tbc", "axis"], ["steps"]),
        helper.make_node("GRU", ["steps", "W2", "R2", "B2"], ["Y2"], name="/inter/GRU", hidden_size=4,
                         linear_before_reset=1),
        helper.make_node("Squeeze", ["Y2", "axis"], ["inter"]),
        helper.make_node("MatMul", ["inter", "head"], ["mask"]),
        helper.make_node("Sigmoid", ["mask"], ["y"]),
    ]  # fmt: skip
    used = {name for node in nodes for name in node.input}
    data = file(nodes, (1, 1, "T", F), ["y"], {k: a for k, a in arrays.items() if k in used})
    x = rng.standard_normal((1, 1, 15, F)).astype("f4")
    model = fastgru.load(data, open_states=True)
    assert list(model.graph.states) == ["encoder_conv_past_in", "inter_GRU_state_in"]
    stream = model.stream()
    made = [stream.push(piece) for piece in pieces(x, 2, [1, 2, 7])]
    assert np.array_equal(np.concatenate(made), fastgru.load(data)(x))


def test_a_convolution_whose_weight_has_unknown_sizes_is_no_sign_of_time():
    attrs = {"strides": [1], "pads": [2, 0], "dilations": [1], "group": 1}
    node = Node("conv", ("x", "w"), ("y",), attrs, "conv")
    specs = (TensorSpec("x", "float32", (1, 2, None)), TensorSpec("w", "float32", None))
    graph = Graph(specs, (TensorSpec("y", "float32", None),), (node,)).validate()
    assert time_axes(graph, infer_graph(graph)) == []

"""The ONNX operators LSTM and RNN in every form, against ONNX Runtime, onnx's own evaluator, and the definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import helper
from onnx.reference import ReferenceEvaluator
from onnx_build import make_model, ort_run, recurrent_arrays, recurrent_model

from fastgru.engine import Executable
from fastgru.errors import InvalidModelError, UnsupportedModelError
from fastgru.exporters.onnx import graph_to_onnx
from fastgru.importers.onnx import read_onnx
from fastgru.model import Model
from fastgru.reference import run_graph

TOLERANCE = 2e-6
OPS = {"LSTM": 4, "RNN": 1}
SIZES = st.integers(1, 7)


def read(model):
    return read_onnx(model.SerializeToString())


def largest_difference(model, feeds, expected):
    """By the definition and by the engine, in float32 and float64: the largest of all."""
    graph = read(model)
    differences = []
    ways = (run_graph(graph, feeds), *(Executable(graph, precision=p).run(feeds) for p in ("float32", "float64")))
    for results in ways:
        assert list(results) == list(expected)
        for name in expected:
            assert results[name].shape == expected[name].shape
            differences.append(float(np.abs(results[name] - expected[name]).max()))
    return max(differences)


def make_case(op, seed, *, T=4, N=3, I=3, H=5, direction="forward", bias=True, lengths=False, h0=False, c0=False,
              peephole=False, attributes=None, **more):  # fmt: skip
    rng = np.random.default_rng(seed)
    D = 2 if direction == "bidirectional" else 1
    feeds = {"x": rng.standard_normal((T, N, I)).astype(np.float32)}
    if lengths:
        feeds["sequence_lens"] = rng.integers(1, T + 1, N).astype(np.int32)
    for name in ["initial_h"] * h0 + ["initial_c"] * (c0 and op == "LSTM"):
        feeds[name] = rng.standard_normal((D, N, H)).astype(np.float32)
    arrays = recurrent_arrays(rng, I=I, H=H, D=D, gates=OPS[op], bias=bias, peephole=peephole and op == "LSTM")
    attributes = {"direction": direction, **(attributes or {})}
    return feeds, recurrent_model(op, feeds, arrays, attributes=attributes, **more)


@settings(max_examples=150, deadline=None)
@given(
    op=st.sampled_from(list(OPS)),
    seed=st.integers(0, 2**32 - 1),
    T=SIZES,
    N=st.integers(1, 9),
    I=SIZES,
    H=st.integers(1, 20),
    direction=st.sampled_from(["forward", "reverse", "bidirectional"]),
    bias=st.booleans(),
    lengths=st.booleans(),
    h0=st.booleans(),
    c0=st.booleans(),
    peephole=st.booleans(),
    clip=st.sampled_from([None, None, 0.4, 2.0]),
    input_forget=st.sampled_from([0, 0, 1]),
    opset=st.sampled_from([7, 9, 11, 13, 14, 18, 22]),
)
def test_onnxruntime(op, seed, clip, input_forget, **form):
    attributes = ({} if clip is None else {"clip": clip}) | ({"input_forget": input_forget} if op == "LSTM" else {})
    feeds, model = make_case(op, seed, attributes=attributes, **form)
    expected = ort_run(model, feeds)
    assume(max(np.abs(a).max() for a in expected.values()) > 100 * TOLERANCE)  # or zeros would pass
    assert largest_difference(model, feeds, expected) < TOLERANCE


@pytest.mark.parametrize("op", OPS)
def test_a_length_of_zero_gives_zeros_and_keeps_the_states(op):
    feeds, model = make_case(op, 1, lengths=True, h0=True, c0=True)
    feeds["sequence_lens"] = np.array([0, 4, 2], np.int32)
    expected = ort_run(model, feeds)
    expected["Y_h"][:, 0] = feeds["initial_h"][:, 0]  # where ONNX Runtime gives zeros
    if op == "LSTM":
        expected["Y_c"][:, 0] = feeds["initial_c"][:, 0]
    assert not expected["Y"][:, :, 0].any()
    assert largest_difference(model, feeds, expected) < TOLERANCE


@pytest.mark.parametrize("outputs", [("Y",), ("", "Y_h"), ("", "", "Y_c"), ("Y", "", "Y_c"), ("Y", "Y_h")])
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_outputs_may_be_left_out(outputs, direction):
    feeds, model = make_case("LSTM", 3, direction=direction, outputs=outputs)
    assert largest_difference(model, feeds, ort_run(model, feeds)) < TOLERANCE


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("opset", [14, 22])
def test_layout_1_is_layout_0_with_axes_swapped(op, direction, opset):
    form = {"direction": direction, "lengths": True, "h0": True, "c0": True, "opset": opset}
    feeds, model = make_case(op, 7, **form)
    expected = ort_run(model, feeds)
    model.graph.node[0].attribute.append(helper.make_attribute("layout", 1))
    swapped = {name: a if name == "sequence_lens" else a.swapaxes(0, 1) for name, a in feeds.items()}
    for info in model.graph.input:
        if info.name != "sequence_lens":
            info.CopyFrom(helper.make_tensor_value_info(info.name, info.type.tensor_type.elem_type, None))
    results = {name: a.transpose(2, 0, 1, 3) if name == "Y" else a.swapaxes(0, 1) for name, a in expected.items()}
    assert largest_difference(model, swapped, results) < TOLERANCE


def test_layout_1_against_the_evaluator_of_onnx():
    rng = np.random.default_rng(5)
    feeds = {"x": rng.standard_normal((3, 6, 4)).astype(np.float32)}
    arrays = recurrent_arrays(rng, I=4, H=5, D=1, gates=4)
    model = recurrent_model("LSTM", feeds, arrays, attributes={"layout": 1})
    expected = dict(zip(("Y", "Y_h", "Y_c"), ReferenceEvaluator(model).run(None, feeds), strict=True))
    assert largest_difference(model, feeds, expected) < TOLERANCE


ACTIVATIONS = [
    ("LSTM", "forward", ["HardSigmoid", "Tanh", "Softsign"], [0.3], [0.4]),
    ("LSTM", "forward", ["Sigmoid", "LeakyRelu", "ScaledTanh"], [0.2, 0.8], [1.2]),
    ("LSTM", "forward", ["hardsigmoid", "RELU", "Affine"], [0.2, 0.7], [0.5, 0.1]),
    ("LSTM", "bidirectional", ["Sigmoid", "Elu", "Tanh", "HardSigmoid", "Tanh", "Softplus"], [0.7, 0.25], [0.45]),
    ("RNN", "forward", ["Relu"], None, None),
    ("RNN", "reverse", ["ThresholdedRelu"], [0.1], None),
    ("RNN", "bidirectional", ["ScaledTanh", "Sigmoid"], [0.8], [1.1]),
]


@pytest.mark.parametrize(("op", "direction", "names", "alphas", "betas"), ACTIVATIONS)
def test_activations_against_onnxruntime(op, direction, names, alphas, betas):
    lists = {"activations": names, "activation_alpha": alphas, "activation_beta": betas}
    attributes = {key: value for key, value in lists.items() if value is not None}
    feeds, model = make_case(op, 11, direction=direction, attributes=attributes)
    assert largest_difference(model, feeds, ort_run(model, feeds)) < TOLERANCE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"W": (1, 20, 3), "R": (1, 15, 5)}, r"R has shape \(1, 15, 5\), expected \(D, 4H, H\)"),
        ({"W": (1, 15, 3)}, r"W has shape \(1, 15, 3\), expected \(1, 20\)"),
        ({"B": (1, 30)}, r"B has shape \(1, 30\), expected \(1, 40\)"),
        ({"P": (1, 20)}, r"P has shape \(1, 20\), expected \(1, 15\)"),
        ({"W": (2, 20, 3), "R": (2, 20, 5), "B": (2, 40), "P": (2, 15)}, "have 2 direction"),
    ],
)
def test_shapes_that_do_not_fit_are_named(change, message):
    shapes = {"W": (1, 20, 3), "R": (1, 20, 5), "B": (1, 40), "P": (1, 15)} | change
    arrays = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    model = recurrent_model("LSTM", {"x": np.zeros((2, 1, 3), np.float32)}, arrays)
    with pytest.raises(InvalidModelError, match=f"the_layer.*{message}"):
        read(model)


def test_what_is_wrong_with_attributes_is_named():
    for attributes, error, message in (
        ({"activations": ["Tanh", "Tanh"]}, UnsupportedModelError, "2 names, expected 3: f, g and h"),
        ({"activations": ["Tanh", "Tanh", "Sine"]}, UnsupportedModelError, "'Sine'"),
        ({"direction": "sideways"}, InvalidModelError, "'sideways'"),
        ({"output_sequence": 1}, UnsupportedModelError, "output_sequence"),
    ):
        _, model = make_case("LSTM", 0, attributes=attributes)
        with pytest.raises(error, match=message):
            read(model)


def test_a_stream_carries_both_states_by_name():
    feeds, _ = make_case("LSTM", 2, T=9, N=2, h0=True, c0=True)
    rng = np.random.default_rng(0)
    arrays = recurrent_arrays(rng, I=3, H=5, D=1, gates=4)
    model = recurrent_model("LSTM", feeds, arrays)
    for info in model.graph.input:
        if info.name == "x":
            info.type.tensor_type.shape.dim[0].dim_param = "T"
    graph = read(model)
    assert dict(graph.states) == {"initial_h": "Y_h", "initial_c": "Y_c"}
    whole = Model(graph).run({"x": feeds["x"], "initial_h": np.zeros((1, 2, 5)), "initial_c": np.zeros((1, 2, 5))})
    stream = Model(graph).stream(batch_size=2)
    pieces = [stream.push(feeds["x"][a:b]) for a, b in ((0, 1), (1, 4), (4, 9))]
    np.testing.assert_array_equal(np.concatenate(pieces), whole["Y"])


def test_a_layer_over_constants_folds():
    rng = np.random.default_rng(0)
    arrays = recurrent_arrays(rng, I=3, H=5, D=1, gates=4)
    layer = helper.make_node("LSTM", ["c", "W", "R", "B"], ["Y"], hidden_size=5)
    nodes = [layer, helper.make_node("Add", ["x", "Y"], ["z"])]
    x = np.ones((2, 1, 3, 5), np.float32)
    model = make_model(nodes, {"x": x}, ["z"], {**arrays, "c": rng.standard_normal((2, 3, 3)).astype(np.float32)})
    graph = read(model)
    assert [node.op for node in graph.nodes] == ["binary"]
    assert np.abs(run_graph(graph, {"x": x})["z"] - ort_run(model, {"x": x})["z"]).max() < TOLERANCE


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
@pytest.mark.parametrize("attributes", [{}, {"clip": 0.5}])
def test_what_is_written_as_onnx_is_the_same_layer(op, direction, attributes):
    form = {"lengths": True, "h0": True, "c0": True, "peephole": bool(attributes), "bias": not attributes}
    feeds, model = make_case(op, 5, direction=direction, attributes=attributes, **form)
    expected = ort_run(model, feeds)
    written = graph_to_onnx(read(model))
    results = ort_run(written, feeds)
    for name, array in expected.items():
        assert np.abs(results[name] - array).max() < TOLERANCE


def test_activations_are_written_as_onnx():
    attributes = {"activations": ["HardSigmoid", "LeakyRelu", "ScaledTanh"], "activation_alpha": [0.3, 0.1, 0.9],
                  "activation_beta": [0.4, 1.1], "input_forget": 1}  # fmt: skip
    feeds, model = make_case("LSTM", 5, attributes=attributes)
    results = ort_run(graph_to_onnx(read(model)), feeds)
    for name, array in ort_run(model, feeds).items():
        assert np.abs(results[name] - array).max() < TOLERANCE

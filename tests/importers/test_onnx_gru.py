"""The ONNX operator GRU in every form, against ONNX Runtime, onnx's own evaluator, and the formula."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import helper
from onnx.reference import ReferenceEvaluator
from onnx_build import gru_arrays, gru_model, make_model, ort_run

from fastgru.engine import Executable
from fastgru.errors import InvalidModelError, SpecError, SuspiciousModelWarning, UnsupportedModelError
from fastgru.importers.onnx import read_onnx
from fastgru.reference import run_graph

SIZES = st.integers(1, 7)
TOLERANCE = 2e-6


def read(model, **options):
    return read_onnx(model.SerializeToString(), **options)


def largest_difference(model, feeds, expected, *, precision="float32", **options):
    """By the definition in float64, and by the engine in `precision`: the larger of the two."""
    graph = read(model, **options)
    differences = []
    for results in (run_graph(graph, feeds), Executable(graph, precision=precision).run(feeds)):
        assert list(results) == list(expected)
        for name in expected:
            assert results[name].shape == expected[name].shape
            differences.append(float(np.abs(results[name] - expected[name]).max()))
    return max(differences)


def make_case(seed, *, T=4, N=3, I=3, H=5, direction="forward", bias=True, lengths=False, h0=False, lbr=0, **more):
    rng = np.random.default_rng(seed)
    D = 2 if direction == "bidirectional" else 1
    feeds = {"x": rng.standard_normal((T, N, I)).astype(np.float32)}
    if lengths:
        feeds["sequence_lens"] = rng.integers(1, T + 1, N).astype(np.int32)
    if h0:
        feeds["initial_h"] = rng.standard_normal((D, N, H)).astype(np.float32)
    attributes = {"direction": direction, "linear_before_reset": lbr}
    return feeds, gru_model(feeds, gru_arrays(rng, I=I, H=H, D=D, bias=bias), attributes=attributes, **more)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    T=SIZES,
    N=st.integers(1, 9),
    I=SIZES,
    H=st.integers(1, 20),
    direction=st.sampled_from(["forward", "reverse", "bidirectional"]),
    bias=st.booleans(),
    lengths=st.booleans(),
    h0=st.booleans(),
    lbr=st.integers(0, 1),
    opset=st.sampled_from([7, 9, 11, 13, 14, 18, 22]),
)
def test_onnxruntime(seed, **form):
    feeds, model = make_case(seed, **form)
    expected = ort_run(model, feeds)
    assume(max(np.abs(a).max() for a in expected.values()) > 100 * TOLERANCE)  # or zeros would pass
    assert largest_difference(model, feeds, expected) < TOLERANCE


@pytest.mark.parametrize("outputs", [("Y",), ("Y", ""), ("", "Y_h"), ("Y", "Y_h")])
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_outputs_may_be_left_out(outputs, direction):
    feeds, model = make_case(3, direction=direction, outputs=outputs)
    assert largest_difference(model, feeds, ort_run(model, feeds)) < TOLERANCE


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("lbr", [0, 1])
@pytest.mark.parametrize("opset", [14, 22])
def test_layout_1_against_the_evaluator_of_onnx(direction, lbr, opset):
    rng = np.random.default_rng(5)
    D = 2 if direction == "bidirectional" else 1
    feeds = {"x": rng.standard_normal((3, 6, 4)).astype(np.float32)}
    feeds["initial_h"] = rng.standard_normal((3, D, 5)).astype(np.float32)
    attributes = {"layout": 1, "direction": direction, "linear_before_reset": lbr}
    model = gru_model(feeds, gru_arrays(rng, I=4, H=5, D=D), opset=opset, attributes=attributes)
    Y, Y_h = ReferenceEvaluator(model).run(None, feeds)
    assert largest_difference(model, feeds, {"Y": Y, "Y_h": Y_h}) < TOLERANCE


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_layout_1_is_layout_0_with_axes_swapped(direction):
    feeds, model = make_case(7, direction=direction, lengths=True, h0=True)
    expected = ort_run(model, feeds)
    model.graph.node[0].attribute.append(helper.make_attribute("layout", 1))
    swapped = {
        "x": feeds["x"].swapaxes(0, 1),
        "sequence_lens": feeds["sequence_lens"],
        "initial_h": feeds["initial_h"].swapaxes(0, 1),
    }
    for info in model.graph.input:
        if info.name in swapped:
            info.CopyFrom(helper.make_tensor_value_info(info.name, info.type.tensor_type.elem_type, None))
    results = {"Y": expected["Y"].transpose(2, 0, 1, 3), "Y_h": expected["Y_h"].swapaxes(0, 1)}
    assert largest_difference(model, swapped, results) < TOLERANCE


ACTIVATIONS = [
    (["HardSigmoid", "Tanh"], [0.3], [0.4]),
    (["Sigmoid", "LeakyRelu"], [0.2], None),
    (["hardsigmoid", "RELU"], None, None),
    (["Affine", "ScaledTanh"], [0.3, 0.8], [0.1, 1.2]),
    (["HardSigmoid", "ThresholdedRelu"], [0.25, 0.1], [0.5]),
    (["Sigmoid", "Elu"], [0.7], None),
    (["Sigmoid", "Softsign"], None, None),
    (["Sigmoid", "Softplus"], None, None),
]


@pytest.mark.parametrize(("names", "alphas", "betas"), ACTIVATIONS)
def test_activations_against_onnxruntime(names, alphas, betas):
    lists = {"activations": names, "activation_alpha": alphas, "activation_beta": betas}
    rng = np.random.default_rng(11)
    feeds = {"x": rng.standard_normal((4, 2, 3)).astype(np.float32)}
    attributes = {key: value for key, value in lists.items() if value is not None}
    model = gru_model(feeds, gru_arrays(rng, I=3, H=4, D=1, scale=0.3), attributes=attributes)
    assert largest_difference(model, feeds, ort_run(model, feeds)) < TOLERANCE


def test_each_direction_has_activations_of_its_own():
    rng = np.random.default_rng(12)
    feeds = {"x": rng.standard_normal((5, 2, 3)).astype(np.float32)}
    attributes = {
        "direction": "bidirectional",
        "activations": ["HardSigmoid", "LeakyRelu", "Sigmoid", "ScaledTanh"],
        "activation_alpha": [0.3, 0.1, 0.9],
        "activation_beta": [0.45, 1.1],
    }
    model = gru_model(feeds, gru_arrays(rng, I=3, H=4, D=2, scale=0.3), attributes=attributes)
    assert largest_difference(model, feeds, ort_run(model, feeds)) < TOLERANCE


def test_clip_against_the_formula():
    rng = np.random.default_rng(13)
    H, c = 3, 0.3
    feeds = {"x": 2 * rng.standard_normal((1, 2, 3)).astype(np.float32)}
    arrays = gru_arrays(rng, I=3, H=H, D=1)
    model = gru_model(feeds, arrays, attributes={"clip": c, "linear_before_reset": 1}, outputs=("", "Y_h"))
    W, _, B = (a[0].astype(np.float64) for a in arrays.values())
    x = feeds["x"][0].astype(np.float64)
    before = [x @ W[i * H : (i + 1) * H].T + B[i * H : (i + 1) * H] for i in range(3)]
    hidden = [B[(3 + i) * H : (4 + i) * H] for i in range(3)]

    def sigmoid(a):
        return 1 / (1 + np.exp(-a))

    z = sigmoid(np.clip(before[0] + hidden[0], -c, c))
    r = sigmoid(np.clip(before[1] + hidden[1], -c, c))
    n = np.tanh(np.clip(before[2] + r * hidden[2], -c, c))
    limit = np.float32(c).astype(np.float64) - c
    assert largest_difference(model, feeds, {"Y_h": ((1 - z) * n)[None]}) < 1e-6 + abs(limit)


def test_float64_and_float16_weights():
    for dtype, tolerance in ((np.float64, 1e-12), (np.float16, 1e-12)):
        rng = np.random.default_rng(14)
        feeds = {"x": rng.standard_normal((4, 2, 3)).astype(dtype)}
        arrays = gru_arrays(rng, I=3, H=4, D=1, dtype=dtype)
        model = gru_model(feeds, arrays, outputs=("Y",))
        model.graph.output[0].type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        wide = {name: a.astype(np.float64) for name, a in arrays.items()}
        same = gru_model({"x": feeds["x"].astype(np.float64)}, wide, outputs=("Y",))
        same.graph.output[0].type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(np.dtype(np.float64))
        expected = run_graph(read(same), {"x": feeds["x"].astype(np.float64)})
        assert read(model).outputs[0].dtype == np.dtype(dtype).name
        assert largest_difference(model, feeds, expected, precision="float64") < tolerance


def _torch_like_chain():
    """Weights as exporters write them: r, z, n parts sliced apart, put together as z, r, n, with an axis added."""
    nodes, constants = [], {}
    for name in ("W", "R"):
        parts = []
        for gate, (start, end) in {"z": (1, 2), "r": (0, 1), "n": (2, 3)}.items():
            constants |= {f"s{gate}": np.array([4 * start]), f"e{gate}": np.array([4 * end])}
            nodes.append(
                helper.make_node("Slice", [f"{name}_torch", f"s{gate}", f"e{gate}", "zero"], [f"{name}{gate}"])
            )
            parts.append(f"{name}{gate}")
        nodes.append(helper.make_node("Concat", parts, [f"{name}_2d"], axis=0))
        nodes.append(helper.make_node("Unsqueeze", [f"{name}_2d", "zero"], [name]))
    constants["zero"] = np.array([0])
    return nodes, constants


def test_weights_out_of_slices_and_concats():
    rng = np.random.default_rng(15)
    feeds = {"x": rng.standard_normal((4, 2, 3)).astype(np.float32)}
    nodes, constants = _torch_like_chain()
    constants["W_torch"] = rng.standard_normal((12, 3)).astype(np.float32)
    constants["R_torch"] = rng.standard_normal((12, 4)).astype(np.float32)
    nodes.append(helper.make_node("GRU", ["x", "W", "R"], ["Y"], hidden_size=4))
    model = make_model(nodes, feeds, ["Y"], constants)
    graph = read(model)
    assert [node.op for node in graph.nodes] == ["gru", "unsqueeze"]
    assert largest_difference(model, feeds, ort_run(model, feeds)) < TOLERANCE


def test_weights_in_constant_nodes_transposed_and_cast():
    rng = np.random.default_rng(16)
    feeds = {"x": rng.standard_normal((4, 2, 3)).astype(np.float32)}
    W, R = rng.standard_normal((3, 12, 1)), rng.standard_normal((1, 12, 4)).astype(np.float32)
    nodes = [
        helper.make_node("Constant", [], ["W64"], value=helper.make_tensor("t", 11, W.shape, W.tobytes(), raw=True)),
        helper.make_node("Cast", ["W64"], ["W32"], to=1),
        helper.make_node("Transpose", ["W32"], ["W"]),
        helper.make_node("Transpose", ["W"], ["W_moved"], perm=[0, 1, 2]),
        helper.make_node("Constant", [], ["R"], value=helper.make_tensor("t", 1, R.shape, R.ravel().tolist())),
        helper.make_node("GRU", ["x", "W_moved", "R"], ["Y"], hidden_size=4),
    ]
    model = make_model(nodes, feeds, ["Y"], opset=13)
    assert largest_difference(model, feeds, ort_run(model, feeds)) < TOLERANCE


def test_old_files_list_initializers_as_inputs_too():
    feeds, model = make_case(17)
    for proto in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(proto.name, proto.data_type, list(proto.dims)))
    model.ir_version = 3
    graph = read(model)
    assert [spec.name for spec in graph.inputs] == ["x"]
    assert largest_difference(model, feeds, ort_run(model, feeds)) < TOLERANCE


def test_pytorch_with_linear_before_reset_0_warns_and_can_be_overridden():
    feeds, model = make_case(18, lbr=0, producer="pytorch")
    with pytest.warns(SuspiciousModelWarning, match=r"the_gru.*linear_before_reset=1"):
        graph = read(model)
    assert not graph.nodes[0].attrs["spec"]["reset_after"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not read(model, linear_before_reset=0).nodes[0].attrs["spec"]["reset_after"]
        forced = read(model, linear_before_reset=1)
    model.graph.node[0].attribute[-1].i = 1
    assert model.graph.node[0].attribute[-1].name == "linear_before_reset"
    expected = ort_run(model, feeds)
    results = run_graph(forced, feeds)
    assert max(np.abs(results[k] - expected[k]).max() for k in expected) < TOLERANCE


def test_linear_before_reset_takes_0_1_or_none():
    _, model = make_case(18)
    with pytest.raises(SpecError, match="linear_before_reset"):
        read(model, linear_before_reset=2)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"W": np.ones((12, 3))}, "W has shape"),
        ({"R": np.ones((12, 4))}, "R has shape"),
        ({"R": np.ones((1, 12, 5))}, "R has shape"),
        ({"B": np.ones((24,))}, "B has shape"),
        ({"W": np.full((1, 12, 3), np.nan)}, r"W \('W'\) has 36 values"),
        ({"R": np.full((1, 12, 4), np.inf)}, r"R \('R'\) has 48 values"),
        ({"W": np.ones((2, 12, 3)), "R": np.ones((2, 12, 4)), "B": np.ones((2, 24))}, "direction"),
        ({"W": np.ones((1, 0, 3)), "R": np.ones((1, 0, 0)), "B": np.ones((1, 0))}, "R has shape"),
    ],
)
def test_weights_that_contradict_each_other(arrays, message):
    rng = np.random.default_rng(19)
    given = gru_arrays(rng, I=3, H=4, D=1) | {name: a.astype(np.float32) for name, a in arrays.items()}
    model = gru_model({"x": np.zeros((2, 1, 3), np.float32)}, given)
    del model.graph.node[0].attribute[:]
    with pytest.raises(InvalidModelError, match=message) as caught:
        read(model)
    assert "the_gru" in str(caught.value)


@pytest.mark.parametrize(
    ("attributes", "error", "message"),
    [
        ({"hidden_size": 5}, InvalidModelError, "'hidden_size' is 5, but R has 4"),
        ({"direction": "sideways"}, InvalidModelError, "'direction' is 'sideways'"),
        ({"direction": "bidirectional"}, InvalidModelError, "'direction'"),
        ({"linear_before_reset": 2}, InvalidModelError, "'linear_before_reset' is 2"),
        ({"activations": ["Sigmoid", "Swish"]}, UnsupportedModelError, "'Swish'"),
        ({"activations": ["Sigmoid"]}, UnsupportedModelError, "1 names"),
        ({"activation_alpha": [0.5]}, UnsupportedModelError, "activation_alpha"),
        ({"clip": -1.0}, InvalidModelError, "clip is -1.0"),
        ({"clip": 1}, InvalidModelError, "'clip' is of type INT"),
        ({"input_forget": 1}, UnsupportedModelError, "'input_forget' does not belong"),
        ({"layout": 3}, InvalidModelError, "'layout' is 3"),
    ],
)
def test_attributes_that_are_refused(attributes, error, message):
    feeds = {"x": np.zeros((2, 1, 3), np.float32)}
    model = gru_model(feeds, gru_arrays(np.random.default_rng(20), I=3, H=4, D=1))
    node = model.graph.node[0]
    if "hidden_size" in attributes:
        del node.attribute[:]
    node.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
    with pytest.raises(error, match=message):
        read(model)


def test_layout_means_nothing_before_opset_14():
    _, model = make_case(21, opset=13)
    model.graph.node[0].attribute.append(helper.make_attribute("layout", 1))
    with pytest.raises(UnsupportedModelError, match="'layout' does not belong to GRU-7"):
        read(model)

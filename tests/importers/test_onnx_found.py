"""ONNX files as they are found: what their writers got wrong, and every reader but the strictest takes."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx_build import ort_run

import fastgru.compat.onnxruntime as drop_in
from fastgru.errors import InvalidModelError, SuspiciousModelWarning, UnsupportedModelError
from fastgru.load import load

F = TensorProto.FLOAT
info = helper.make_tensor_value_info


def model(nodes, inputs, outputs, weights=(), imports=(("", 17),)):
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(weights))
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    del made.opset_import[:]
    made.opset_import.extend(helper.make_opsetid(*entry) for entry in imports)
    return made


def shuffled(seed: int) -> ModelProto:
    """A GRU between element-wise nodes and constants, its nodes in any order."""
    rng = np.random.default_rng(0)
    sizes = {"W": (1, 12, 3), "R": (1, 12, 4), "B": (1, 24)}
    weights = [numpy_helper.from_array(rng.normal(0, 0.5, s).astype(np.float32), n) for n, s in sizes.items()]
    nodes = [
        helper.make_node("Constant", [], ["two"], value=numpy_helper.from_array(np.float32(2))),
        helper.make_node("Mul", ["x", "two"], ["x2"]),
        helper.make_node("GRU", ["x2", "W", "R", "B"], ["y0", "hn"], hidden_size=4, linear_before_reset=1),
        helper.make_node("Tanh", ["y0"], ["y1"]),
        helper.make_node("Add", ["y1", "y0"], ["y2"]),
        helper.make_node("Sub", ["y2", "two"], ["y"]),
        helper.make_node("Neg", ["y1"], ["unread"]),
    ]
    order = np.random.default_rng(seed).permutation(len(nodes))
    return model(
        [nodes[i] for i in order], [info("x", F, ["T", "N", 3])], [info("y", F, None), info("hn", F, None)], weights
    )


@pytest.mark.parametrize("seed", range(10))
def test_nodes_in_any_order(seed):
    x = np.random.default_rng(seed).standard_normal((5, 2, 3)).astype(np.float32)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        got = load(shuffled(seed).SerializeToString()).run({"x": x})
    assert [str(w.message).split(": ")[1].split(";")[0] for w in told if w.category is SuspiciousModelWarning] == [
        "some nodes read values that later nodes compute, which ONNX does not allow"
    ]
    for name, want in ort_run(shuffled(seed), {"x": x}).items():
        np.testing.assert_allclose(got[name], want, atol=1e-6)


def test_nodes_in_order_stay_as_they_are():
    """Of nodes that may go in any order, the first stays the first."""
    nodes = [helper.make_node("Neg", ["x"], ["a"]), helper.make_node("Abs", ["x"], ["b"]),
             helper.make_node("Add", ["a", "b"], ["y"])]  # fmt: skip
    graph = load(model(nodes, [info("x", F, ["N"])], [info("y", F, ["N"])]).SerializeToString()).graph
    assert [node.outputs[0].split("/")[0] for node in graph.nodes][-1] == "y"
    assert [node.attrs.get("kind") for node in graph.nodes] == ["neg", "abs", "add"]


def test_nodes_of_a_branch_in_any_order():
    """What a branch reads of the graph around it is there already."""
    branch = helper.make_graph(
        [helper.make_node("Add", ["t", "z"], ["o"]), helper.make_node("Neg", ["z"], ["t"])],
        "b",
        [],
        [info("o", F, None)],
    )
    other = helper.make_graph([helper.make_node("Identity", ["z"], ["p"])], "c", [], [info("p", F, None)])
    nodes = [
        helper.make_node("If", ["yes"], ["y"], then_branch=branch, else_branch=other),
        helper.make_node("Abs", ["x"], ["z"]),
        helper.make_node("Constant", [], ["yes"], value=numpy_helper.from_array(np.array(True))),
    ]
    data = model(nodes, [info("x", F, ["N"])], [info("y", F, ["N"])]).SerializeToString()
    with pytest.warns(SuspiciousModelWarning, match="the nodes were sorted") as told:
        loaded = load(data)
    assert len(told) == 1
    np.testing.assert_array_equal(loaded(np.float32([1, -2])), [0, 0])


@pytest.mark.parametrize(
    ("nodes", "match"),
    [
        (
            [("Add", "x b", "a"), ("Relu", "a", "b"), ("Abs", "b", "y")],
            "some nodes read each other in a cycle: '-> a', '-> b'$",
        ),
        ([("Add", "x y", "y")], "in a cycle: '-> y'$"),
        ([("Abs", "q", "y")], "reads 'q', which is missing"),
        ([("Abs", "x", "y"), ("Neg", "x", "y")], "defines 'y' a second time"),
        ([("Abs", "x", "x")], "defines 'x' a second time"),
        ([("Abs", "x", "z")], "output 'y' is missing"),
    ],
)
def test_what_no_order_mends(nodes, match):
    made = [helper.make_node(op, reads.split(), [out]) for op, reads, out in nodes]
    with pytest.raises(InvalidModelError, match=match):
        load(model(made, [info("x", F, ["N"])], [info("y", F, ["N"])]).SerializeToString())


@pytest.mark.parametrize("size", [-1, -2])
def test_a_size_below_zero_is_a_free_axis(size):
    data = model([helper.make_node("Relu", ["x"], ["y"])], [info("x", F, [size, 2])], [info("y", F, [size, 2])])
    loaded = load(data.SerializeToString())
    assert [spec.shape for spec in (*loaded.inputs, *loaded.outputs)] == [(None, 2)] * 2
    assert loaded(np.ones((3, 2), np.float32)).shape == ort_run(data, {"x": np.ones((3, 2), np.float32)})["y"].shape


@pytest.mark.parametrize("shape", [["N", 2, 1], [], [3]])
def test_a_declared_shape_of_another_rank_is_that_of_the_value(shape):
    data = model([helper.make_node("Relu", ["x"], ["y"])], [info("x", F, ["N", 2])], [info("y", F, shape)])
    with pytest.warns(
        SuspiciousModelWarning, match=f"output 'y' is declared with {len(shape)} axes, and computed with 2"
    ):
        loaded = load(data.SerializeToString())
    assert loaded.outputs[0].shape == (None, 2)
    assert loaded(np.ones((3, 2), np.float32)).shape == (3, 2)


def test_an_output_that_is_listed_twice_is_one_output():
    y = info("y", F, ["N", 2])
    data = model([helper.make_node("Neg", ["x"], ["y"])], [info("x", F, ["N", 2])], [y, y]).SerializeToString()
    x = np.ones((3, 2), np.float32)
    np.testing.assert_array_equal(load(data)(x), -x)
    session = drop_in.InferenceSession(data)
    assert [arg.name for arg in session.get_outputs()] == ["y", "y"]
    np.testing.assert_array_equal(session.run(None, {"x": x}), [-x, -x])


def test_an_input_that_is_listed_twice_is_not_read():
    x = info("x", F, ["N", 2])
    with pytest.raises(InvalidModelError, match="input 'x' occurs twice"):
        load(model([helper.make_node("Neg", ["x"], ["y"])], [x, x], [info("y", F, None)]).SerializeToString())


def test_an_initializer_that_is_there_twice():
    weight, other = (numpy_helper.from_array(np.float32([1, value]), "w") for value in (2, 3))
    node = helper.make_node("Add", ["x", "w"], ["y"])
    x, y = (info(name, F, ["N", 2]) for name in "xy")
    loaded = load(model([node], [x], [y], [weight, weight]).SerializeToString())
    np.testing.assert_array_equal(loaded(np.zeros((1, 2), np.float32)), [[1, 2]])
    with pytest.raises(InvalidModelError, match="initializer 'w' occurs twice, with different contents"):
        load(model([node], [x], [y], [weight, other]).SerializeToString())


def test_domains_that_are_not_imported():
    """Those that onnxruntime knows mean their first version, any other is not read."""
    for domain, error, match in (
        ("com.microsoft", UnsupportedModelError, r"operator Attention \(com.microsoft opset 1\) is not implemented"),
        ("ai.onnx.ml", UnsupportedModelError, r"operator Attention \(ai.onnx.ml opset 1\) is not implemented"),
        ("some.where", InvalidModelError, "the model imports no opset of domain 'some.where'"),
    ):
        node = helper.make_node("Attention", ["x"], ["y"], domain=domain)
        with pytest.raises(error, match=match):
            load(model([node], [info("x", F, ["N"])], [info("y", F, ["N"])]).SerializeToString())
    node = helper.make_node("Relu", ["x"], ["y"])
    with pytest.raises(InvalidModelError, match=r"does not name an opset of ai\.onnx"):
        load(model([node], [info("x", F, ["N"])], [info("y", F, ["N"])], imports=[]).SerializeToString())

"""What a session says of a model before it runs: shapes that follow, and what is wrong with it, as onnxruntime does."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from ort_models import BOTH, X, info, model

import fastgru.compat.onnxruntime as ours
from fastgru.errors import FastGRUError


def test_weights_of_a_gru_are_fed_where_the_file_lists_them_as_inputs():
    """As PyTorch writes them with keep_initializers_as_inputs=True."""
    rng = np.random.default_rng(0)
    sizes = {"W": (1, 12, 2), "R": (1, 12, 4), "B": (1, 24)}
    held = {name: rng.normal(0, 0.5, size).astype(np.float32) for name, size in sizes.items()}
    inputs = [info(name, TensorProto.FLOAT, size) for name, size in sizes.items()]
    node = helper.make_node("GRU", ["x", "W", "R", "B"], ["y"], hidden_size=4, linear_before_reset=1)
    weights = [numpy_helper.from_array(array, name) for name, array in held.items()]
    x, y = info("x", TensorProto.FLOAT, ["T", "N", 2]), info("y", TensorProto.FLOAT, None)
    data = model([node], [x, *inputs], [y], weights)
    feeds = {"x": rng.standard_normal((5, 3, 2)).astype(np.float32)}
    for fed in ({}, {"R": -held["R"]}, {"W": 2 * held["W"], "B": held["B"] + 1}, {}):
        theirs, mine = (importlib.import_module(package).InferenceSession(data) for package in BOTH)
        assert [a.name for a in mine.get_overridable_initializers()] == ["W", "R", "B"]
        want, got = (session.run(None, {**feeds, **fed})[0] for session in (theirs, mine))
        np.testing.assert_allclose(got, want, atol=1e-6)


# What a file leaves out of the shapes of its outputs: (nodes, inputs, declared shape of y).
SHAPES: dict[str, tuple[Any, Any, Any]] = {
    "nothing declared": (("Relu", ["x"], {}), [("x", ["N", 2])], None),
    "sizes that are free": (("Relu", ["x"], {}), [("x", ["N", 2])], [None, None]),
    "a name of its own": (("Relu", ["x"], {}), [("x", ["N", 2])], ["M", None]),
    "a size that is wrong": (("Relu", ["x"], {}), [("x", ["N", 2])], ["N", 7]),
    "a sum of sizes": (("Concat", ["x", "x"], {"axis": 0}), [("x", ["N", 2])], None),
    "a product of sizes": (("Flatten", ["x"], {}), [("x", ["A", "B", "C"])], None),
    "sizes without names": (("Transpose", ["x"], {}), [("x", [None, 3])], None),
    "a broadcast": (("Add", ["x", "z"], {}), [("x", ["A", 1]), ("z", ["B", 3])], None),
    "no rank at all": (("Relu", ["x"], {}), [("x", None)], None),
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_of_outputs_follow_from_those_of_inputs(ort, name):
    (op, sources, attrs), inputs, declared = SHAPES[name]
    specs = [info(key, TensorProto.FLOAT, shape) for key, shape in inputs]
    data = model([helper.make_node(op, sources, ["y"], **attrs)], specs, [info("y", TensorProto.FLOAT, declared)])
    theirs = importlib.import_module(BOTH[0]).InferenceSession(data).get_outputs()[0]
    mine = ort.InferenceSession(data).get_outputs()[0]
    assert (mine.name, mine.type, mine.shape) == (theirs.name, theirs.type, theirs.shape)


def test_shapes_of_a_gru_are_inferred():
    weights = [numpy_helper.from_array(np.ones(s, np.float32), n) for n, s in (("W", (1, 12, 2)), ("R", (1, 12, 4)))]
    node = helper.make_node("GRU", ["x", "W", "R"], ["y", "hn"], hidden_size=4)
    outputs = [info(name, TensorProto.FLOAT, None) for name in ("y", "hn")]
    data = model([node], [info("x", TensorProto.FLOAT, ["T", "N", 2])], outputs, weights)
    for package in BOTH:
        shapes = [a.shape for a in importlib.import_module(package).InferenceSession(data).get_outputs()]
        assert shapes == [["T", 1, "N", 4], [1, "N", 4]]


def faulty(op: str, inputs: list[tuple[str, int, Any]], **more: Any) -> bytes:
    node = helper.make_node(op, more.pop("reads", [name for name, _, _ in inputs]), ["y"], **more.pop("attrs", {}))
    node.domain = more.pop("domain", "")
    outputs = more.pop("outputs", [info("y", inputs[0][1], inputs[0][2])])
    nodes = [*more.pop("before", ()), node, *more.pop("after", ())]
    return model(nodes, [info(*spec) for spec in inputs], outputs, **more)


F, I16, B = TensorProto.FLOAT, TensorProto.INT16, TensorProto.BOOL
FAULTY = {
    "an operator that nobody knows": faulty("Mystery", [("x", F, ["N", 2])]),
    "a domain that is not imported": faulty("Mystery", [("x", F, ["N", 2])], domain="some.where"),
    "an attribute that nobody knows": faulty("Relu", [("x", F, ["N", 2])], attrs={"steep": 1}),
    "too many inputs": faulty("Relu", [("x", F, ["N", 2])], reads=["x", "x"]),
    "a value that nothing computes": faulty("Add", [("x", F, ["N", 2])], reads=["x", "q"]),
    "a value that is computed twice": faulty(
        "Relu", [("x", F, ["N", 2])], after=[helper.make_node("Relu", ["x"], ["y"])]
    ),
    "an output that nothing computes": faulty("Relu", [("x", F, ["N", 2])], outputs=[info("z", F, ["N", 2])]),
    "nodes that wait for each other": faulty(
        "Add", [("x", F, ["N", 2])], reads=["x", "z"], after=[helper.make_node("Relu", ["y"], ["z"])]
    ),
    "an input that is there twice": faulty("Relu", [("x", F, ["N", 2]), ("x", F, ["N", 2])], reads=["x"]),
}


@pytest.mark.parametrize("name", FAULTY)
def test_faults_of_a_model_are_the_same_errors(name):
    errors = []
    for package in BOTH:
        with pytest.raises(Exception) as caught:
            importlib.import_module(package).InferenceSession(FAULTY[name])
        errors.append(caught.value)
    theirs, mine = errors
    assert type(mine).__name__ == type(theirs).__name__
    assert isinstance(mine, FastGRUError)


REFUSED_MODELS = {
    "sizes that depend on data": model(
        [helper.make_node("ConstantOfShape", ["x"], ["y"])],
        [info("x", TensorProto.INT64, [1])],
        [info("y", F, ["N"])],
    ),
    "a product of integers": faulty("MatMul", [("x", TensorProto.INT32, [2, 2]), ("z", TensorProto.INT32, [2, 2])]),
    "strings": faulty("Identity", [("x", TensorProto.STRING, ["N"])]),
    "an operator of another opset": faulty("Relu", [("x", F, ["N", 2])], opset=3),
}


def test_a_model_in_the_format_of_ort_is_refused_by_name(tmp_path):
    theirs = importlib.import_module(BOTH[0])
    options = theirs.SessionOptions()
    options.log_severity_level, options.optimized_model_filepath = 4, str(tmp_path / "model.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    theirs.InferenceSession(faulty("Relu", [("x", F, ["N", 2])]), options)
    with pytest.raises(ours.onnxruntime_pybind11_state.NotImplemented, match="load the original ONNX file"):
        ours.InferenceSession(str(tmp_path / "model.ort"))


@pytest.mark.parametrize("name", REFUSED_MODELS)
def test_what_cannot_run_is_found_when_the_session_is_made(name):
    with pytest.raises(ours.onnxruntime_pybind11_state.NotImplemented):
        ours.InferenceSession(REFUSED_MODELS[name])


# What shows only when the numbers come: a node, its free inputs, what it is fed. w is (3, 2).
MISFITS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "Gather": ("w x", {"x": np.int64([0, 7])}, {}),
    "GatherElements": ("w x", {"x": np.int64([[7]])}, {}),
    "GatherND": ("w x", {"x": np.int64([[7]])}, {}),
    "MatMul": ("x w", {"x": X}, {}),
    "Gemm": ("x w", {"x": X}, {}),
    "Add": ("x w", {"x": np.ones((2, 5), np.float32)}, {}),
    "Concat": ("x w", {"x": np.ones((2, 5), np.float32)}, {"axis": 0}),
    "LayerNormalization": ("w x", {"x": np.ones(7, np.float32)}, {}),
}


@pytest.mark.parametrize("op", MISFITS)
def test_what_a_run_raises_is_of_onnxruntimes_tree(op):
    reads, feeds, attrs = MISFITS[op]
    weight = numpy_helper.from_array(X, "w")
    inputs = [info(n, helper.np_dtype_to_tensor_dtype(a.dtype), [None] * a.ndim) for n, a in feeds.items()]
    node = helper.make_node(op, reads.split(), ["y"], **attrs)
    data = model([node], inputs, [helper.make_empty_tensor_value_info("y")], [weight])
    errors = []
    for package in BOTH:
        session = importlib.import_module(package).InferenceSession(data, providers=["CPUExecutionProvider"])
        with pytest.raises(Exception) as caught:
            session.run(None, feeds)
        errors.append(caught.value)
    theirs, mine = errors
    assert type(theirs).__name__ in ("Fail", "InvalidArgument")
    assert isinstance(mine, getattr(ours.onnxruntime_pybind11_state, type(theirs).__name__))


def test_what_fits_nothing_is_found_when_the_session_is_made():
    inputs = [("x", F, [3, 2]), ("z", F, [3, 2])]
    for package in BOTH:
        state = importlib.import_module(f"{package}.capi.onnxruntime_pybind11_state")
        with pytest.raises(state.Fail):
            importlib.import_module(package).InferenceSession(faulty("MatMul", inputs))

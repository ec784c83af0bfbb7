"""Models: by position and by name, into arrays of the caller, pickled, saved."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import fastgru
from fastgru import Linear, Model, Sequential, Softmax, Tanh
from fastgru.errors import ShapeError
from fastgru.graph import Graph, Node, TensorSpec


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).standard_normal(shape).astype(np.float32)


def model(**how) -> Model:
    return Model(Sequential(Linear(normal(6, 4)), Tanh(), Linear(normal(4, 6)), Softmax(dim=-1)).to_graph(), **how)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_model_is_the_same_pickled_and_saved(precision, tmp_path):
    own, x = model(precision=precision), normal(5, 4)
    y = own(x)
    assert y.dtype == precision
    own.save(tmp_path / "model.safetensors")
    for other in (
        pickle.loads(pickle.dumps(own)),
        fastgru.load(tmp_path / "model.safetensors", precision=precision),
        fastgru.load((tmp_path / "model.safetensors").read_bytes(), precision=precision),
    ):
        assert (other.precision, other.threads, other.fingerprint) == (precision, 1, own.fingerprint)
        assert (other.inputs, other.outputs) == (own.inputs, own.outputs)
        np.testing.assert_array_equal(other(x), y)


def test_an_array_that_cannot_be_written_is_refused():
    own, x = model(), normal(5, 4)
    locked = np.zeros((5, 4), np.float32)
    locked.flags.writeable = False
    for out, said in (
        ({"y": locked}, "not writable"),
        ({"y": [0.0]}, "got list"),
        (np.zeros((5, 4), np.float32), "expected arrays by output name"),
    ):
        with pytest.raises(ShapeError, match=said):
            own.run({"x": x}, out=out)
    assert not locked.any()


def two_outputs() -> Model:
    """y = tanh(W x) is there before z = x + y reads x once more."""
    nodes = (
        Node("linear", ("x", "w"), ("a",)),
        Node("activation", ("a",), ("y",), {"kind": "tanh"}),
        Node("binary", ("x", "y"), ("z",), {"kind": "add"}),
    )
    specs = [TensorSpec(name, "float32", (None, 16)) for name in "xyz"]
    return Model(Graph((specs[0],), tuple(specs[1:]), nodes, {"w": normal(16, 16) / 4}))


def test_an_output_may_lie_over_an_input_and_not_over_another():
    own, x = two_outputs(), normal(5, 16)
    y, z = own(x)
    for name in "yz":
        mine = x.copy()
        got = own.run({"x": mine}, out={name: mine})
        assert got[name] is mine
        np.testing.assert_array_equal(got["y"], y)
        np.testing.assert_array_equal(got["z"], z)
    room = np.zeros((7, 16), np.float32)
    with pytest.raises(ShapeError, match="'y' and 'z' overlap"):
        own.run({"x": x}, out={"y": room[:5], "z": room[2:]})


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (None, "expected arrays by name: x"),
        ([normal(5, 4)], "expected arrays by name: x"),
        ({}, "missing x"),
        ({"x": normal(5, 4), 3: 4, "u": 1}, "unknown 3, u"),
        ({"x": [[1.0], [1.0, 2.0]]}, "input 'x': list cannot become an array"),
        ({"x": normal(5, 3)}, r"input 'x': got shape \(5, 3\)"),
        ({"x": np.zeros((5, 4), int)}, "got dtype int64"),
        ({"x": "text"}, "got dtype"),
    ],
)
def test_inputs_that_do_not_fit(inputs, said):
    with pytest.raises(ShapeError, match=said):
        model().run(inputs)


def test_inputs_by_position_are_counted():
    with pytest.raises(ShapeError, match="got 2 inputs, expected 1: x"):
        model()(normal(5, 4), normal(5, 4))

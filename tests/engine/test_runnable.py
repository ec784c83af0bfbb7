"""The one interface of what runs: a whole program, and a graph of which onnx runs a node."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

import fastgru
from fastgru import Stream
from fastgru.engine import Executable, Runnable, make_runnable
from fastgru.engine.route import Route
from fastgru.errors import ShapeError, StateError, UnsupportedModelError
from fastgru.graph import Graph, Node, TensorSpec
from fastgru.reference.foreign import foreign_node

PACKAGE = Path(fastgru.__file__).parent
X = np.array([[-1.5, 0.5, 2.0]], np.float32)


def runnable(*, foreign: bool, **options) -> Runnable:
    """y = det(stack of x) where foreign, else relu(x); n = s + x."""
    spec = TensorSpec("x", "float32", (None, 3))
    proto = helper.make_node("Det", ["x"], ["y"])
    node = (
        foreign_node(proto, ["x"], ["y"], opsets={"": 20}, dtypes=["float32"])
        if foreign
        else Node("activation", ("x",), ("y",), {"kind": "relu"})
    )
    add = Node("binary", ("s", "x"), ("n",), {"kind": "add"})
    x = TensorSpec("x", "float32", (3, 3)) if foreign else spec
    outputs = TensorSpec("y", "float32", None), TensorSpec("n", "float32", None)
    graph = Graph((x, TensorSpec("s", "float32", (None, 3))), outputs, (node, add), {}, {"s": "n"})
    return make_runnable(graph, **options)


@pytest.mark.parametrize("foreign", [False, True])
def test_both_run_bind_and_carry_a_state(foreign):
    made, x = runnable(foreign=foreign), np.diag([2.0, 3.0, 4.0]).astype(np.float32)
    want = np.float32(24) if foreign else x
    out = {"n": np.empty((3, 3), np.float32)}
    results = made.run({"x": x, "s": x}, out)
    np.testing.assert_array_equal(results["y"], want)
    assert results["n"] is out["n"]
    np.testing.assert_array_equal(out["n"], 2 * x)
    assert {name: a.dtype.name for name, a in made.bind({"x": x.tolist(), "s": x}).items()} == dict.fromkeys(
        ("x", "s"), "float32"
    )
    stream = Stream(made, made.graph.states, 3)
    for _ in range(3):
        np.testing.assert_array_equal(stream.push(x), want)
    np.testing.assert_array_equal(stream.state["s"], 3 * x)
    again = Stream(runnable(foreign=foreign), {"s": "n"}, batch_size=3)
    again.load_state(stream.save_state())
    np.testing.assert_array_equal(again.state["s"], 3 * x)
    with pytest.raises(ShapeError, match="expected 1: x"):
        stream.push(x, x)
    for wrong in (np.empty((2, 2), np.float32), (np.empty((), np.float32),) * 2, [0.0]):
        with pytest.raises(ShapeError, match="out: got"):
            stream.push(x, out=wrong)
    np.testing.assert_array_equal(stream.state["s"], 3 * x)
    for pairs in ({}, {"s": "m"}, {"s": "n", "x": "y"}):
        with pytest.raises(StateError):
            Stream(made, pairs)


@pytest.mark.parametrize("foreign", [False, True])
def test_both_plan_what_they_run_and_give_what_is_defined(foreign, monkeypatch):
    made, x = runnable(foreign=foreign), np.diag([2.0, 3.0, 4.0]).astype(np.float32)
    planned: list[dict[str, tuple[int, ...]]] = []
    plan = Executable._route

    def route(self, shapes):
        planned.append(dict(shapes))
        return plan(self, shapes)

    monkeypatch.setattr(Executable, "_route", route)
    made.run({"x": x, "s": x})
    run, planned[:] = list(planned), []
    with monkeypatch.context() as patch:
        patch.setattr(Route, "call", None)
        results = made.plan({"x": x, "s": x})
    assert planned == run
    assert all(array.dtype == np.float32 for array in results.values())
    np.testing.assert_array_equal(results["y"], np.float32(24) if foreign else x)
    np.testing.assert_array_equal(results["n"], 2 * x)
    with pytest.raises(ShapeError):
        made.plan({"x": x[:, :2], "s": x})


def test_each_says_what_it_cannot():
    whole, parted = runnable(foreign=False), runnable(foreign=True)
    assert whole.route({"x": (1, 3), "s": (1, 3)}) is not None
    assert parted.route({"x": (3, 3), "s": (3, 3)}) is None
    assert whole.profile({"x": X, "s": X})
    assert dict(whole.weight_precisions) == {}
    with pytest.raises(UnsupportedModelError, match="no profile"):
        parted.profile({})
    with pytest.raises(UnsupportedModelError, match="planned partition by partition"):
        _ = parted.weight_precisions
    for made in (whole, parted):
        assert made.to_graph() is made.graph
        assert made.fingerprint != (parted if made is whole else whole).fingerprint
    with pytest.raises(UnsupportedModelError, match="one precision for all the others"):
        runnable(foreign=True, precision={"n": "int8", "*": "float32"})
    for options in ({"precision": "float8"}, {"threads": 0}):
        for foreign in (False, True):
            with pytest.raises(UnsupportedModelError):
                runnable(foreign=foreign, **options)


def test_nobody_outside_the_engine_asks_which_it_is():
    named = re.compile(r"isinstance\([^)]*\b(Executable|Partitioned|Runnable)\b|\bPartitioned\b")
    files = [path for path in PACKAGE.rglob("*.py") if path.parent.name != "engine"]
    assert [path.name for path in files if named.search(path.read_text(encoding="utf-8"))] == []

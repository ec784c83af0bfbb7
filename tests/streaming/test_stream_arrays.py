"""Arrays that a stream is given, and what it keeps for their shapes."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
from users import H, frames, network

from fastgru import Model
from fastgru.errors import ShapeError, StateError
from fastgru.graph import Graph, Node, TensorSpec


def test_a_stream_of_arrays_with_dtypes_of_their_own():
    stream, x = network().stream(4), frames(2, 4)
    want, copy = stream.fork().push(x), pickle.loads(pickle.dumps(x))
    for _ in range(2):
        np.testing.assert_array_equal(stream.fork().push(copy), want)
        np.testing.assert_array_equal(stream.fork().push(x.view(np.recarray), out=np.empty_like(copy)), want)


def test_whole_numbers_that_a_state_does_not_hold():
    node = Node("binary", ("x", "s"), ("n",), {"kind": "add"})
    specs = TensorSpec("x", "int32", (None,)), TensorSpec("s", "int32", (None,))
    outputs = (TensorSpec("y", "int32", None), TensorSpec("n", "int32", None))
    copy = Node("binary", ("x", "x"), ("y",), {"kind": "add"})
    stream = Model(Graph(specs, outputs, (copy, node), {}, {"s": "n"})).stream(2)
    stream.set_state({"s": np.array([7, -1], np.int64)})
    with pytest.raises(ShapeError, match="do not fit"):
        stream.set_state({"s": np.array([2**40 + 7, -1])})
    assert stream.state["s"].tolist() == [7, -1]
    y = stream.push(np.array([1, 2], np.int32), out=np.zeros(2, np.int32))
    assert y.tolist() == [2, 4]
    with pytest.raises(ShapeError, match="share memory"):
        stream.push(np.array([1, 2], np.int32), out=np.lib.stride_tricks.as_strided(np.zeros(1, np.int32), (2,), (0,)))


def test_an_output_that_is_listed_twice():
    graph = network().graph
    model = Model(replace(graph, outputs=(graph.outputs[0], *graph.outputs)))
    stream = model.stream(4)
    assert stream.outputs == ("y",)
    np.testing.assert_array_equal(stream.push(frames(3, 4)), Model(graph).stream(4).push(frames(3, 4)))


def test_a_state_that_is_no_mapping():
    with pytest.raises(StateError, match="NoneType"):
        network().stream().set_state(None)


def test_plans_of_a_stream_have_a_bound():
    graph = network().graph
    model = Model(graph, plan_bytes=4 << 20)
    stream, held = model.stream(4), model._runnable.budget
    for steps in range(1, 120):
        stream.push(frames(steps, 4))
        assert held.used <= 4 << 20
    assert len(stream._others) < 118
    want = Model(graph).stream(4)
    for steps in range(1, 120):
        want.push(frames(steps, 4))
    np.testing.assert_array_equal(stream.push(frames(3, 4)), want.push(frames(3, 4)))
    before = held.used
    del stream
    model.run({"x": frames(1), "h0": np.zeros((1, 1, H), np.float32)})
    assert held.used < before

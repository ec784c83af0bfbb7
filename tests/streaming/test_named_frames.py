"""Frames by name, for models of several inputs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastgru
from fastgru import SessionPool, ShapeError, StateError
from fastgru.graph import Graph, Node, TensorSpec

N = ("T", "N", None)


def model() -> fastgru.Model:
    """x and gain (T, N, 4), h (1, N, 4) -> y and total (T, N, 4), h_out: a sum that goes on from frame to frame."""
    frame = (None, None, 4)
    specs = [TensorSpec("x", "float32", frame, N), TensorSpec("gain", "float32", frame, N)]
    state = TensorSpec("h", "float32", (1, None, 4), (None, "N", None))
    nodes = (
        Node("binary", ("x", "gain"), ("scaled",), {"kind": "mul"}),
        Node("concat", ("h", "scaled"), ("all",), {"axis": 0}),
        Node("cumsum", ("all",), ("sums",), {"axis": 0, "reverse": False, "exclusive": False}),
        Node("slice", ("sums", "one", "end", "zero"), ("y",)),
        Node("binary", ("x", "y"), ("total",), {"kind": "add"}),
        Node("slice", ("sums", "last", "end", "zero"), ("h_out",)),
    )
    constants = {"one": np.array([1]), "zero": np.array([0]), "end": np.array([1 << 40]), "last": np.array([-1])}
    outputs = [TensorSpec("y", "float32", frame), TensorSpec("total", "float32", frame)]
    graph = Graph(
        (*specs, state), (*outputs, TensorSpec("h_out", "float32", (1, None, 4))), nodes, constants,
        states={"h": "h_out"},
    )  # fmt: skip
    return fastgru.Model(graph)


MODEL = model()


@given(st.integers(1, 4), st.integers(1, 3), st.booleans(), st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_names_in_any_order_give_what_the_order_of_the_inputs_gives(steps, rows, into, seed):
    rng = np.random.default_rng(seed)
    stream, other = MODEL.stream(rows), MODEL.stream(rows)
    assert stream.inputs == ("x", "gain")
    for _ in range(3):
        x, gain = rng.standard_normal((2, steps, rows, 4)).astype("f4")
        out = tuple(np.empty((steps, rows, 4), np.float32) for _ in range(2)) if into else None
        made = stream.push({"gain": gain, "x": x.tolist() if seed % 2 else x}, out=out)
        for a, b in zip(made, other.push(x, gain), strict=True):
            assert a.tobytes() == b.tobytes()
        assert made is out or not into
    stream.warm_up({"gain": gain, "x": x})
    assert stream.save_state() == other.save_state()


def test_pools_and_predict():
    rng = np.random.default_rng(0)
    x, gain = rng.standard_normal((2, 3, 2, 4)).astype("f4")
    expected = MODEL.stream(2).push(x, gain)
    pool = SessionPool(MODEL, 4, batch_axes={"x": 1, "gain": 1})
    pool.warm_up({"x": x, "gain": gain})
    sessions = np.array([pool.open(), pool.open()])
    for _ in range(2):
        made = pool.push_rows(sessions, {"gain": gain, "x": x})
        assert all(np.array_equal(a, b) for a, b in zip(made, expected, strict=True))
        for session in sessions.tolist():
            pool.reset(session)
    by_session = pool.push({int(s): {"gain": gain[:, [k]], "x": x[:, [k]]} for k, s in enumerate(sessions)})
    for k, s in enumerate(sessions.tolist()):
        assert np.array_equal(by_session[s][0], expected[0][:, [k]])


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ({"x": 0}, "push: missing gain; expected x, gain"),
        ({"x": 0, "gain": 0, "gian": 0}, "push: unknown gian; expected x, gain"),
        ({1: 0}, "push: missing x, gain; unknown 1"),
    ],
)
def test_names_that_do_not_fit(frames, message):
    stream = MODEL.stream()
    with pytest.raises(ShapeError, match=message):
        stream.push(frames)
    with pytest.raises(StateError, match="'h' is a state, which the stream keeps"):
        stream.push({"x": 0, "gain": 0, "h": 0})


def test_one_input_takes_its_name_too():
    gates = [(np.eye(4), np.eye(4))] * 3
    gru = fastgru.GRU.from_gates(**dict(zip(("reset", "update", "candidate"), gates, strict=True)))
    x = np.ones((2, 1, 4), np.float32)
    assert np.array_equal(gru.stream().push({"x": x}), gru.stream().push(x))

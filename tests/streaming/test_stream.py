"""Streams: whatever the chunks, the bits of one call; the state saved, taken up, forked; what does not fit refused."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from fastgru import GRU, Embedding, Gate, Linear, Model, Sequential, from_architecture
from fastgru.engine.worth import Costs
from fastgru.errors import ShapeError, StateError
from fastgru.graph import Graph, Node, TensorSpec
from fastgru.reference import run_graph
from fastgru.spec import GRUSpec

T, N, I, H = 12, 2, 8, 8


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(np.float32) / 2


def gru(seed: int = 0) -> GRU:
    gate = [Gate(normal(H, I, seed=10 * seed + k), normal(H, H, seed=10 * seed + k + 3)) for k in range(3)]
    return GRU.from_gates(reset=gate[0], update=gate[1], candidate=gate[2])


def two_ways() -> Graph:
    """Two inputs, two outputs, two states: "a" is a plain GRU over x, "b" is one over u from its last step back."""
    constants, nodes = {}, []
    for name, x, direction in (("a", "x", "forward"), ("b", "u", "reverse")):
        constants |= {f"w_{name}": normal(3 * H, I, seed=5), f"r_{name}": normal(3 * H, H, seed=len(nodes))}
        inputs = (x, f"h_{name}", "", "", f"w_{name}", f"r_{name}", "", "")
        spec = GRUSpec(I, H, direction).to_dict()
        nodes.append(Node("gru", inputs, (f"y_{name}", f"{name}_out"), {"spec": spec}, name))
    shape, state = (None, None, I), (1, None, H)
    inputs = [TensorSpec("x", "float32", shape), TensorSpec("h_a", "float32", state)]
    inputs += [TensorSpec("u", "float32", shape), TensorSpec("h_b", "float32", state)]
    outputs = [TensorSpec(n, "float32", None) for n in ("a_out", "y_a", "b_out", "y_b")]
    return Graph(tuple(inputs), tuple(outputs), tuple(nodes), constants, {"h_a": "a_out", "h_b": "b_out"})


@cache
def plain(precision: str = "float32", threads: int = 1) -> Model:
    net = Sequential(gru(), gru(1), Linear(normal(3, H)))
    return Model(net.to_graph(initial_state=True), precision=precision, threads=threads)


def pushed(stream, x, sizes):
    assert sum(sizes) == len(x)
    return np.concatenate([stream.push(part) for part in np.split(x, np.cumsum(sizes)[:-1])])


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("sizes", [[1] * T, [T], [3, 4, 5], [1, 1, 7, 1, 2], [5, 0, 7]])
def test_chunks_give_the_bits_of_one_call(precision, threads, sizes):
    model, x = plain(precision, threads), normal(T, N, I).astype(precision)
    zeros = np.zeros((1, N, H))
    whole = model.run({"x": x, "h0_0": zeros, "h0_1": zeros})
    stream = model.stream(N)
    np.testing.assert_array_equal(pushed(stream, x, sizes), whole["y"])
    for name, output in model.graph.states.items():
        np.testing.assert_array_equal(stream.state[name], whole[output])
    definition = run_graph(model.graph, {"x": x, "h0_0": zeros, "h0_1": zeros}, dtype="float64")["y"]
    assert np.abs(definition).max() > 0.1
    np.testing.assert_allclose(whole["y"], definition, atol=2e-6 if precision == "float32" else 1e-12)


def test_timing_a_team_on_a_new_shape_leaves_the_state_alone(monkeypatch):
    monkeypatch.setattr(
        "fastgru.engine.worth.wake_costs", lambda members: Costs(0.0, 0.0)
    )  # no estimate is clear enough
    plain.cache_clear()
    x, zeros = normal(T, N, I), np.zeros((1, N, H), np.float32)
    whole = plain().run({"x": x, "h0_0": zeros, "h0_1": zeros})["y"]
    np.testing.assert_array_equal(pushed(plain(threads=2).stream(N), x, [1, 2, 3, 4, 2]), whole)


def test_several_inputs_outputs_and_states():
    graph = two_ways()
    stream = Model(graph).stream(N)
    assert (stream.inputs, stream.outputs) == (("x", "u"), ("y_a", "y_b"))
    state = {"h_a": np.zeros((1, N, H)), "h_b": np.zeros((1, N, H))}
    for k, steps in enumerate((1, 4, 1, 2)):
        x, u = normal(steps, N, I, seed=k), normal(steps, N, I, seed=-k - 1 + 9)
        wanted = run_graph(graph, {"x": x, "u": u, **state}, dtype="float64")
        state = {"h_a": wanted["a_out"], "h_b": wanted["b_out"]}
        out = tuple(np.full((steps, N, H), np.nan, np.float32) for _ in range(2)) if k % 2 else None
        got = stream.push(x, u, out=out)
        assert out is None or got is out
        for y, name in zip(got, ("y_a", "y_b"), strict=True):
            np.testing.assert_allclose(y, wanted[name], atol=2e-6)
    for name, array in stream.state.items():
        np.testing.assert_allclose(array, state[name], atol=2e-6)


def test_ids_of_any_integer_dtype():
    net = Sequential(Embedding(normal(20, I)), gru())
    model = Model(net.to_graph(initial_state=True))
    ids = np.random.default_rng(0).integers(0, 20, (T, N))
    whole = model(ids, np.zeros((1, N, H)))[0]
    for dtype in ("int64", "int32", "uint8"):
        stream = model.stream(N)
        np.testing.assert_array_equal(pushed(stream, ids.astype(dtype), [1, 5, 6]), whole)
    before = stream.state["h0"]
    for bad in (np.full((1, N), 20), np.full((1, N), -1), np.full((1, N), 0.5), np.zeros((1, N + 1), int)):
        with pytest.raises(ShapeError):
            stream.push(bad)
        np.testing.assert_array_equal(stream.state["h0"], before)


def test_a_state_is_saved_taken_up_set_and_reset():
    model, x = plain(), normal(T, N, I)
    wanted = pushed(model.stream(N), x, [T])
    stream = model.stream(N)
    first = stream.push(x[:5])
    blob, state = stream.save_state(), stream.state
    np.testing.assert_array_equal(np.concatenate([first, stream.push(x[5:])]), wanted)

    other = plain(threads=2).stream(N)
    other.load_state(blob)
    np.testing.assert_array_equal(other.push(x[5:]), wanted[5:])
    other.set_state(state)
    np.testing.assert_array_equal(other.push(x[5:6]), wanted[5:6])
    other.reset()
    assert not any(a.any() for a in other.state.values())
    np.testing.assert_array_equal(other.push(x), wanted)

    for wrong in (blob[:-1], blob[:-1] + bytes([blob[-1] ^ 1]), blob[::-1], b"", "text", None):
        with pytest.raises(StateError, match="saved state"):
            other.load_state(wrong)
    for stranger in (plain("float64").stream(N), plain().stream(N + 1), Model(two_ways()).stream(N)):
        with pytest.raises(StateError, match="saved state"):
            stranger.load_state(blob)


def test_a_fork_goes_its_own_way():
    model, x = plain(), normal(T, N, I)
    wanted = pushed(model.stream(N), x, [T])
    for steps in (4, 5):  # the state lies in one set of arrays or in the other
        stream = model.stream(N)
        for frame in np.split(x[:steps], steps):
            stream.push(frame)
        fork = stream.fork()
        np.testing.assert_array_equal(fork.push(x[steps:]), wanted[steps:])
        fork.reset()
        np.testing.assert_array_equal(stream.push(x[steps:]), wanted[steps:])


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_stream_is_forked_or_saved_and_not_copied(make):
    with pytest.raises(TypeError, match=r"fork\(\).*save_state\(\)"):
        make(plain().stream(N))


def test_out_is_filled_and_checked():
    x = normal(1, N, I)
    wanted = plain().stream(N).push(x)
    for warm in (False, True):
        for out in (np.empty((1, N, 3), np.float32), np.empty((1, N, 6), np.float32)[..., ::2]):
            stream = plain().stream(N)
            if warm:
                stream.push(x)
                stream.reset()
            assert stream.push(x, out=out) is out
            np.testing.assert_array_equal(out, wanted)
    locked = np.zeros((1, N, 3), np.float32)
    locked.flags.writeable = False
    before = stream.state
    for wrong in (locked, np.zeros((1, N, 3)), np.zeros((1, N, 4), np.float32), [0.0], 3, (np.zeros(1), np.zeros(1))):
        with pytest.raises(ShapeError, match="out"):
            stream.push(x, out=wrong)
    assert not locked.any()
    for name, array in stream.state.items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("view", ["the same", "another view"])
def test_a_frame_may_be_written_over(view):
    """A network that reads its input from the end while its output is written from the start."""
    bounds = {"starts": -1, "ends": np.iinfo(np.int64).min, "axes": 0, "steps": -1}
    constants = {name: np.array([value], np.int64) for name, value in bounds.items()}
    constants |= {"w": normal(3 * H, I), "r": normal(3 * H, H, seed=1)}
    spec = GRUSpec(I, H).to_dict()
    nodes = (
        Node("gru", ("x", "h0", "", "", "w", "r", "", ""), ("g", "hn"), {"spec": spec}),
        Node("slice", ("x", *bounds), ("flipped",)),
        Node("binary", ("flipped", "g"), ("y",), {"kind": "add"}),
    )
    inputs = (TensorSpec("x", "float32", (None, None, I)), TensorSpec("h0", "float32", (1, None, H)))
    outputs = (TensorSpec("y", "float32", None), TensorSpec("hn", "float32", None))
    model = Model(Graph(inputs, outputs, nodes, constants, {"h0": "hn"}))
    x = normal(7, N, I)
    wanted = model.stream(N).push(x)
    stream = model.stream(N)
    stream.push(x)
    stream.reset()
    room = np.concatenate([x, x])
    frame = room[:7]
    out = frame if view == "the same" else room[:7]
    np.testing.assert_array_equal(stream.push(frame, out=out), wanted)


def test_pushes_that_do_not_fit():
    stream = plain().stream(N)
    for frames in ((), (normal(1, N, I),) * 2, (normal(1, N, I + 1),), (normal(N, I),), ([[1.0], [1.0, 2.0]],), ("x",)):
        with pytest.raises(ShapeError):
            stream.push(*frames)
    for name, array in (("h0_0", normal(1, N, H) + 0j), ("h0_0", [[1], [1, 2]]), ("h0_0", normal(1, N, H + 1))):
        with pytest.raises(ShapeError, match="state 'h0_0'"):
            stream.set_state({name: array})
    with pytest.raises(StateError, match="'h9' is unknown"):
        stream.set_state({"h9": normal(1, N, H)})


@pytest.mark.parametrize("named", [True, False])
def test_frames_of_other_rows_are_blamed_and_not_the_state(named):
    graph = plain().graph
    inputs = graph.inputs if named else tuple(replace(spec, dims=()) for spec in graph.inputs)
    model = Model(replace(graph, inputs=inputs))
    time = "T" if named else r"\?"
    few = (
        rf"input 'x': got shape \(1, 2, {I}\), expected \({time}, 1, {I}\): the stream has 1 row,"
        r" and model\.stream\(batch_size=2\) makes a stream of 2 rows$"
    )
    for push in (model.stream().push, model.stream().warm_up):
        with pytest.raises(ShapeError, match=few):
            push(normal(1, 2, I))
    with pytest.raises(ShapeError, match=r"the stream has 2 rows, and .*batch_size=1.* of 1 row$"):
        model.stream(2).push(normal(1, 1, I))
    with pytest.raises(ShapeError, match=r"the stream has 2 rows$"):
        model.stream(2).push(normal(1, 0, I))


def test_frames_of_another_width_are_blamed_and_not_the_state():
    x, h = (TensorSpec(name, "float32", (None, None), ("N", "W")) for name in "xh")
    nodes = Node("binary", ("x", "h"), ("hn",), {"kind": "add"}), Node("unary", ("hn",), ("y",), {"kind": "neg"})
    outputs = TensorSpec("y", "float32", None), TensorSpec("hn", "float32", None)
    stream = Model(Graph((x, h), outputs, nodes, {}, {"h": "hn"})).stream(batch_axes={"h": 0})
    stream.push(normal(1, 5))
    with pytest.raises(ShapeError, match=r"input 'x': got shape \(1, 4\), expected \(N, W\) with W = 5 as in 'h'"):
        stream.push(normal(1, 4))


@pytest.mark.parametrize("batch_size", [0, -1, 1.5, True, None, "2"])
def test_a_batch_size_is_a_number_of_rows(batch_size):
    with pytest.raises(ShapeError, match="batch_size"):
        plain().stream(batch_size)


def test_states_that_do_not_fit():
    model = plain()
    for state, said in (
        ({}, "no state is known"),
        ({"h0_0": "nothing"}, "expected an input of"),
        ({"nothing": "y"}, "expected an input of"),
        ({"h0_0": "h_n_0", "h0_1": "h_n_0"}, "share an output"),
        ({"x": "y", "h0_0": "h_n_0", "h0_1": "h_n_1"}, "every input is a state"),
    ):
        with pytest.raises(StateError, match=said):
            model.stream(N, state=state)
    with pytest.raises(StateError, match=r"next value 'y' has\s+shape"):
        model.stream(N, state={"h0_0": "y", "h0_1": "h_n_1"}).push(normal(1, N, I))

    counted = Graph(
        (TensorSpec("x", "float32", (1, 4)), TensorSpec("count", "int64", (1, 4))),
        (TensorSpec("y", "float32", (1, 4)),),
        (Node("cast", ("count",), ("c",), {"to": "float32"}), Node("binary", ("c", "x"), ("y",), {"kind": "add"})),
    )
    with pytest.raises(StateError, match="'count' is int64, but its next value 'y' is float32"):
        Model(counted).stream(state={"count": "y"})


def test_warming_up_moves_no_state():
    stream, other = plain().stream(), plain().stream()
    for step in range(3):
        before = stream.save_state()
        stream.warm_up(normal(1 + step, 1, I, seed=9))
        assert stream.save_state() == before
        x = normal(1 + step, 1, I, seed=step)
        np.testing.assert_array_equal(stream.push(x), other.push(x))
    for wrong in ((normal(1, 1, I + 1),), (), (normal(1, 1, I),) * 2):
        with pytest.raises(ShapeError, match=r"^warm_up: got \d arrays, expected 1: x$|^input 'x'"):
            stream.warm_up(*wrong)


def test_a_push_of_other_steps_than_the_model_is_fixed_to_names_the_remedy() -> None:
    rng = np.random.default_rng(0)
    weights = {"weight_ih_l0": rng.normal(size=(12, 3)), "weight_hh_l0": rng.normal(size=(12, 4))}
    layers = [{"type": "Tanh"}, {"type": "GRU", "prefix": "", "batch_first": True}]
    net = from_architecture({"inputs": {"x": ["N", 20, 3]}, "layers": layers}, weights, open_states=True)
    assert np.shape(net.stream().push(np.zeros((1, 20, 3), np.float32))) == (1, 20, 4)
    said = r"takes exactly 20 steps in each push; loaded with inputs=\{'x': \(None, None, 3\)\} it takes any number"
    with pytest.raises(ShapeError, match=said):
        net.stream().push(np.zeros((1, 1, 3), np.float32))
    with pytest.raises(ShapeError, match=r"expected \(N, 20, 3\)$"):
        net.stream().push(np.zeros((1, 20, 4), np.float32))

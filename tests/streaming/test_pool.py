"""A pool of sessions: whatever is pushed together, each session gets the bits of a stream of its own."""

from __future__ import annotations

import copy
import pickle
import threading

import numpy as np
import pytest

from fastgru import GRU, Embedding, Gate, Linear, Model, Sequential
from fastgru.errors import SessionError, ShapeError, StateError, UnsupportedModelError
from fastgru.graph import Graph, Node, TensorSpec
from fastgru.streaming import SessionPool

I, H = 8, 8


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(np.float32) / 2


def gru(seed: int = 0, *, batch_first: bool = False) -> GRU:
    gate = [Gate(normal(H, I, seed=10 * seed + k), normal(H, H, seed=10 * seed + k + 3)) for k in range(3)]
    return GRU.from_gates(reset=gate[0], update=gate[1], candidate=gate[2], batch_first=batch_first)


def net(batch_first: bool = False, precision: str = "float32") -> Model:
    layers = gru(batch_first=batch_first), gru(1, batch_first=batch_first), Linear(normal(3, H))
    return Model(Sequential(*layers).to_graph(initial_state=True), precision=precision)


def frame(seed: int, steps: int = 1, *, batch_first: bool = False) -> np.ndarray:
    return normal(*((1, steps, I) if batch_first else (steps, 1, I)), seed=seed)


def test_a_pool_shows_what_it_takes_and_how_many_there_are():
    pool = SessionPool(net(), 4)
    pool.open()
    assert repr(pool) == "SessionPool(x -> y, 1 of 4 sessions open)"


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_sessions_come_and_go_with_the_bits_of_single_streams(batch_first, precision):
    model = net(batch_first, precision)
    pool, rng = SessionPool(model, 21), np.random.default_rng(7)
    streams = {}
    pushed = set()
    for turn in range(40):
        if len(pool) < 21 and (len(pool) < 4 or rng.random() < 0.7):
            streams[pool.open()] = model.stream(1)
        elif rng.random() < 0.3:
            gone = int(rng.choice(pool.sessions))
            pool.close(gone)
            del streams[gone]
        chosen = rng.permutation(pool.sessions)[: rng.integers(1, len(pool) + 1)].tolist()
        steps = int(rng.integers(1, 4))
        frames = {s: frame(100 * turn + s, steps, batch_first=batch_first) for s in chosen}
        pushed.add(len(frames))
        got = pool.push(frames)
        assert list(got) == chosen
        for session, y in got.items():
            np.testing.assert_array_equal(y, streams[session].push(frames[session]))
    assert max(pushed) > 8
    for session, stream in streams.items():
        assert pool.save(session) == stream.save_state()


def test_tokens_and_several_arrays():
    words = Model(Sequential(Embedding(normal(11, I)), gru(batch_first=True)).to_graph(initial_state=True))
    pool, streams = SessionPool(words, 4), {}
    for _ in range(3):
        streams[pool.open()] = words.stream(1)
    ids = {s: np.array([[k, 10 - k]]) for k, s in enumerate(streams)}
    before = {s: pool.save(s) for s in streams}
    for wrong in (np.array([[1, 11]]), np.array([[0.5, 1.0]])):
        with pytest.raises(ShapeError):
            pool.push({**ids, list(ids)[1]: wrong})
        assert {s: pool.save(s) for s in streams} == before
    for session, y in pool.push(ids).items():
        np.testing.assert_array_equal(y, streams[session].push(ids[session]))

    nodes = (
        Node("binary", ("a", "s"), ("s_out",), {"kind": "add"}),
        Node("binary", ("s_out", "b"), ("y",), {"kind": "mul"}),
        Node("unary", ("s_out",), ("z",), {"kind": "neg"}),
    )
    specs = tuple(TensorSpec(name, "float32", (None, 2)) for name in ("a", "b", "s"))
    outputs = tuple(TensorSpec(name, "float32", None) for name in ("y", "z", "s_out"))
    model = Model(Graph(specs, outputs, nodes, {}, {"s": "s_out"}))
    pool = SessionPool(model, 2)
    first, second = pool.open(), pool.open()
    frames = {first: (np.ones((1, 2)), np.full((1, 2), 3.0)), second: (np.zeros((1, 2)), np.ones((1, 2)))}
    for k in (1, 2):
        got = pool.push(frames)
        np.testing.assert_array_equal(got[first], np.array([[[3 * k] * 2], [[-k] * 2]], np.float32))
        np.testing.assert_array_equal(got[second], np.zeros((2, 1, 2)))


def test_a_state_moves_between_pools_and_streams():
    model = net()
    pool, other = SessionPool(model, 3), SessionPool(model, 1)
    session = pool.open()
    pool.push({session: frame(1)})
    stream = model.stream(1)
    stream.load_state(pool.save(session))
    moved = other.open(pool.save(session))
    wanted = stream.push(frame(2))
    np.testing.assert_array_equal(other.push({moved: frame(2)})[moved], wanted)
    pool.load(session, other.save(moved))
    assert pool.save(session) == stream.save_state()
    pool.reset(session)
    assert pool.save(session) == model.stream(1).save_state()
    blob = stream.save_state()
    for wrong in (blob[:-1], b"", model.stream(2).save_state(), net(precision="float64").stream(1).save_state()):
        with pytest.raises(StateError, match="saved state"):
            pool.load(session, wrong)
        with pytest.raises(StateError, match="saved state"):
            pool.open(wrong)
    assert len(pool) == 1


def test_rows_of_a_push_and_forks():
    model = net()
    pool, streams = SessionPool(model, 40), {}
    assert pool.warm_up(frame(1)) is None
    for _ in range(19):
        streams[pool.open()] = model.stream(1)
    for k, n in enumerate((1, 7, 19, 12, 0, 3)):
        sessions = np.random.default_rng(k).permutation(list(streams))[:n]
        x = normal(1 + k % 2, n, I, seed=k)
        out = np.empty((1 + k % 2, n, 3), np.float32) if k % 2 else None
        y = pool.push_rows(sessions, x, out=out)
        assert y.shape == (1 + k % 2, n, 3)
        assert out is None or y is out
        for i, session in enumerate(sessions.tolist()):
            np.testing.assert_array_equal(y[:, i : i + 1], streams[session].push(x[:, i : i + 1]))
        if n:
            forked = pool.fork(session)
            streams[forked] = streams[session].fork()
            assert pool.save(forked) == pool.save(session)
    for session, stream in streams.items():
        assert pool.save(session) == stream.save_state()
    first, second = list(streams)[:2]
    before = pool.save(first)
    with pytest.raises(ShapeError, match=f"{first} comes twice"):
        pool.push_rows([first, second, first], normal(1, 3, I))
    with pytest.raises(ShapeError, match="a row for each session"):
        pool.push_rows([first, second], normal(1, 3, I))
    for wrong in (np.array([0.5]), [[first]], [None]):
        with pytest.raises(ShapeError, match="sessions"):
            pool.push_rows(wrong, normal(1, 1, I))
    for out in (np.empty((1, 1, 3)), np.empty((1, 2, 3), np.float32), (np.empty((1, 1, 3), np.float32),) * 2):
        with pytest.raises(ShapeError, match="out"):
            pool.push_rows([first], normal(1, 1, I), out=out)
    pool.close(second)
    for gone in (second, second + (5 << 32), -1, 0, 1 << 62):
        with pytest.raises(SessionError, match=f"session {gone} is not open"):
            pool.push_rows([first, gone], normal(1, 2, I))
    successor = pool.open()
    assert successor != second
    with pytest.raises(SessionError, match=f"session {second} is not open"):
        pool.push_rows([second], normal(1, 1, I))
    assert pool.save(first) == before


def test_frames_of_different_lengths_in_one_push():
    model = net()
    pool, streams = SessionPool(model, 9), {}
    for _ in range(9):
        streams[pool.open()] = model.stream(1)
    for step in range(3):
        frames = {s: frame(10 * step + k, 1 + k % 4) for k, s in enumerate(streams)}
        got = pool.push(frames)
        assert list(got) == list(frames)
        for session, y in got.items():
            np.testing.assert_array_equal(y, streams[session].push(frames[session]))


def test_a_place_that_was_given_up_starts_from_zeros():
    pool = SessionPool(net(), 1)
    first = pool.open()
    wanted = pool.push({first: frame(1)})[first]
    with pytest.raises(SessionError, match="all 1 sessions are in use"):
        pool.open()
    pool.close(first)
    second = pool.open()
    assert second != first
    np.testing.assert_array_equal(pool.push({second: frame(1)})[second], wanted)
    for call in (
        lambda: pool.push({first: frame(1)}),
        lambda: pool.push({second: frame(1), "x": frame(1)}),
        lambda: pool.close(first),
        lambda: pool.save(first),
        lambda: pool.reset(first),
        lambda: pool.load(first, pool.save(second)),
    ):
        with pytest.raises(SessionError, match="is not open"):
            call()


def test_frames_that_do_not_fit():
    pool = SessionPool(net(), 2)
    first, second = pool.open(), pool.open()
    before = pool.save(first)
    for wrong in (normal(1, 2, I), normal(1, 1, I + 1), normal(I), (frame(1), frame(1)), [[1.0], [1.0, 2.0]]):
        with pytest.raises(ShapeError):
            pool.push({first: wrong})
    with pytest.raises(ShapeError):
        pool.push({first: frame(1), second: normal(1, 1, I + 1)})
    assert pool.push({}) == {}
    assert pool.save(first) == before
    for capacity in (0, -1, True, 1.5, None):
        with pytest.raises(ShapeError, match="capacity"):
            SessionPool(net(), capacity)
    for capacity in (10**13, 2**62, 10**30):
        with pytest.raises(ShapeError, match=f"capacity is {capacity}.*more than memory can hold"):
            SessionPool(net(), capacity)


def mixing(kind: str) -> Model:
    """s_out = s + x + something of every row of x."""
    nodes = (
        Node("reduce", ("x",), ("all",), {"kind": kind, "axes": [0], "keepdims": True}),
        Node("binary", ("x", "all"), ("y",), {"kind": "add"}),
        Node("binary", ("y", "s"), ("s_out",), {"kind": "add"}),
    )
    specs = tuple(TensorSpec(name, "float32", (None, 2)) for name in ("x", "s"))
    outputs = tuple(TensorSpec(name, "float32", None) for name in ("y", "s_out"))
    return Model(Graph(specs, outputs, nodes, {}, {"s": "s_out"}))


@pytest.mark.parametrize("kind", ["sum", "mean", "max"])
@pytest.mark.parametrize("value", [0, -50])
def test_a_model_whose_rows_depend_on_one_another_is_refused(kind, value):
    pool = SessionPool(mixing(kind), 2)
    session = pool.open()
    before = pool.save(session)
    with pytest.raises(UnsupportedModelError, match="rows of this model depend on one another"):
        pool.push({session: np.full((1, 2), value, np.float32)})
    assert pool.save(session) == before


def centred(dtype: str, entries: int, shift: int = 0) -> Model:
    """y is row `x` + `shift` of a table, less the mean over the batch; s_out = s + y."""
    made = {"table": normal(entries, 2), "shift": np.array(shift, np.int64)}
    nodes = (
        Node("cast", ("x",), ("n",), {"to": "int64"}),
        *([Node("binary", ("n", "shift"), ("ids",), {"kind": "add"})] if shift else []),
        Node("gather", ("table", "ids" if shift else "n"), ("e",), {"axis": 0}),
        Node("reduce", ("e",), ("mean",), {"kind": "mean", "axes": [0], "keepdims": True}),
        Node("binary", ("e", "mean"), ("y",), {"kind": "sub"}),
        Node("binary", ("s", "y"), ("s_out",), {"kind": "add"}),
    )
    specs = TensorSpec("x", dtype, (None,)), TensorSpec("s", "float32", (None, 2))
    outputs = tuple(TensorSpec(name, "float32", None) for name in ("y", "s_out"))
    return Model(Graph(specs, outputs, nodes, made, {"s": "s_out"}))


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "bool", "float32"])
@pytest.mark.parametrize("value", [0, 1])
def test_rows_of_integers_that_depend_on_one_another_are_refused(dtype, value):
    pool = SessionPool(centred(dtype, 2), 2)
    with pytest.raises(UnsupportedModelError, match="rows of this model depend on one another"):
        pool.push({pool.open(): np.array([value], dtype)})


def test_a_model_that_takes_no_other_frames_is_refused():
    pool = SessionPool(centred("int64", 8, 7), 2)  # only 0 and negative numbers are ids
    with pytest.raises(UnsupportedModelError, match="takes none of those that were drawn"):
        pool.push({pool.open(): np.array([0])})


def test_rows_whose_states_depend_on_one_another_are_refused():
    """The frames do not count, and the state of each row is the number of its steps."""
    nodes = (
        Node("binary", ("s", "one"), ("s_out",), {"kind": "add"}),
        Node("reduce", ("s",), ("mean",), {"kind": "mean", "axes": [0], "keepdims": True}),
        Node("binary", ("s", "mean"), ("off",), {"kind": "sub"}),
        Node("binary", ("off", "x"), ("y",), {"kind": "add"}),
    )
    specs = tuple(TensorSpec(name, "float32", (None, 1)) for name in ("x", "s"))
    outputs = tuple(TensorSpec(name, "float32", None) for name in ("y", "s_out"))
    pool = SessionPool(Model(Graph(specs, outputs, nodes, {"one": np.ones((1, 1), np.float32)}, {"s": "s_out"})), 2)
    with pytest.raises(UnsupportedModelError, match="rows of this model depend on one another"):
        pool.push({pool.open(): np.zeros((1, 1), np.float32)})


def test_a_state_that_depends_on_other_rows_is_named_as_a_state():
    nodes = (
        Node("unary", ("x",), ("y",), {"kind": "neg"}),
        Node("reduce", ("x",), ("all",), {"kind": "sum", "axes": [0], "keepdims": True}),
        Node("binary", ("all", "s"), ("s_out",), {"kind": "add"}),
    )
    specs = tuple(TensorSpec(name, "float32", (None, 2)) for name in ("x", "s"))
    outputs = tuple(TensorSpec(name, "float32", None) for name in ("y", "s_out"))
    pool = SessionPool(Model(Graph(specs, outputs, nodes, {}, {"s": "s_out"})), 2)
    with pytest.raises(UnsupportedModelError, match=r"^state 's': a row of a batch of 2 differs"):
        pool.push({pool.open(): np.zeros((1, 2), np.float32)})


def test_a_batch_that_is_not_1_or_not_known_is_refused():
    def model(*shape):
        nodes = (
            Node("binary", ("x", "s"), ("s_out",), {"kind": "add"}),
            Node("unary", ("x",), ("y",), {"kind": "neg"}),
        )
        specs = tuple(TensorSpec(name, "float32", shape) for name in ("x", "s"))
        outputs = tuple(TensorSpec(name, "float32", None) for name in ("y", "s_out"))
        return Model(Graph(specs, outputs, nodes, {}, {"s": "s_out"}))

    with pytest.raises(UnsupportedModelError, match=r"input 'x' has the shape \(3, 2\).*expected an axis of size 1"):
        SessionPool(model(3, 2), 4)
    with pytest.raises(StateError, match=r"is not known; give batch_axes="):
        SessionPool(model(None, None), 4)
    with pytest.raises(UnsupportedModelError, match="fixed size 2"):
        SessionPool(model(None, 2), 4, batch_axes={"s": 1, "x": 1})
    with pytest.raises(StateError, match="no state is known"):
        SessionPool(model(None, 2), 4, state={})
    with pytest.raises(StateError, match="batch_axes"):
        SessionPool(model(None, 2), 4, batch_axes={"z": 0})


def test_threads_share_a_pool():
    model = net()
    pool = SessionPool(model, 4)
    results, sessions = {}, [pool.open() for _ in range(4)]

    def serve(session):
        results[session] = [pool.push({session: frame(1000 * session + k)})[session] for k in range(30)]

    threads = [threading.Thread(target=serve, args=(s,)) for s in sessions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for session in sessions:
        stream = model.stream(1)
        for k, y in enumerate(results[session]):
            np.testing.assert_array_equal(y, stream.push(frame(1000 * session + k)))


def test_a_pool_is_not_copied():
    pool = SessionPool(net(), 3)
    for copying in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot be copied or pickled"):
            copying(pool)
    for wrong in ([frame(1)], None, "frames"):
        with pytest.raises(ShapeError, match="expected a mapping from sessions to frames"):
            pool.push(wrong)


def test_rows_come_back_however_sessions_end():
    pool = SessionPool(net(), 3)
    for _ in range(20):
        sessions = [pool.open() for _ in range(3)]
        with pytest.raises(SessionError, match="all 3 sessions are in use"):
            pool.open()
        with pytest.raises(StateError):
            pool.open(b"no state")
        for session in sessions:
            pool.close(session)
            with pytest.raises(SessionError, match="is not open"):
                pool.close(session)

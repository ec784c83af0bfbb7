"""Whatever comes and goes, is forked, saved and pushed together, each session has the bits of a stream of its own."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgru import GRU, Gate, Linear, Model, Sequential
from fastgru.errors import UnsupportedModelError
from fastgru.graph import Graph, Node, TensorSpec
from fastgru.spec import GRUSpec
from fastgru.streaming import SessionPool

I, H = 8, 8


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(np.float32) / 2


def stack(precision: str = "float32", *, batch_first: bool = False, threads: int = 1) -> Model:
    layers = []
    for seed in (0, 1):
        gate = [Gate(normal(H, I, seed=10 * seed + k), normal(H, H, seed=10 * seed + k + 3)) for k in range(3)]
        layers.append(GRU.from_gates(reset=gate[0], update=gate[1], candidate=gate[2], batch_first=batch_first))
    graph = Sequential(*layers, Linear(normal(3, H))).to_graph(initial_state=True)
    return Model(graph, precision=precision, threads=threads)


def two_ways() -> Model:
    """Two inputs, two outputs and two states, of GRUs that run forward, and back from the last step."""
    constants, nodes = {}, []
    for name, x, direction in (("a", "x", "forward"), ("b", "u", "reverse")):
        constants |= {f"w_{name}": normal(3 * H, I, seed=5), f"r_{name}": normal(3 * H, H, seed=len(nodes))}
        inputs = (x, f"h_{name}", "", "", f"w_{name}", f"r_{name}", "", "")
        nodes.append(Node("gru", inputs, (f"y_{name}", f"{name}_out"), {"spec": GRUSpec(I, H, direction).to_dict()}))
    shape, state = (None, None, I), (1, None, H)
    specs = [TensorSpec(name, "float32", state if name.startswith("h") else shape) for name in ("x", "h_a", "u", "h_b")]
    outputs = [TensorSpec(name, "float32", None) for name in ("a_out", "y_a", "b_out", "y_b")]
    return Model(Graph(tuple(specs), tuple(outputs), tuple(nodes), constants, {"h_a": "a_out", "h_b": "b_out"}))


def odd_sizes() -> Model:
    """Rows of three bytes, of an input and an output, and a state of integers beside one of floats."""
    nodes = (
        Node("cast", ("m",), ("f",), {"to": "float32"}),
        Node("cast", ("m",), ("i",), {"to": "int64"}),
        Node("binary", ("f", "x"), ("d",), {"kind": "mul"}),
        Node("binary", ("s", "d"), ("s_out",), {"kind": "add"}),
        Node("binary", ("c", "i"), ("c_out",), {"kind": "add"}),
        Node("compare", ("s_out", "d"), ("more",), {"kind": "greater"}),
        Node("unary", ("s_out",), ("y",), {"kind": "neg"}),
    )
    specs = [TensorSpec("m", "bool", (None, 3)), TensorSpec("s", "float32", (None, 3))]
    specs += [TensorSpec("x", "float32", (None, 3)), TensorSpec("c", "int64", (None, 3))]
    outputs = [TensorSpec("more", "bool", None), TensorSpec("s_out", "float32", None)]
    outputs += [TensorSpec("c_out", "int64", None), TensorSpec("y", "float32", None)]
    return Model(Graph(tuple(specs), tuple(outputs), nodes, {}, {"s": "s_out", "c": "c_out"}))


def fixed(model: Model) -> Model:
    """The same with a batch of 1."""
    graph, axes = model.graph, SessionPool(model, 1).batch_axes
    specs = [
        replace(spec, shape=tuple(1 if i == axes[spec.name] else n for i, n in enumerate(spec.shape)))
        for spec in graph.inputs
    ]
    return Model(replace(graph, inputs=tuple(specs)), precision=model.precision, threads=model.threads)


def without_rows() -> Model:
    """States without an axis for rows, one without any axis; sessions lie along another axis of each output."""
    nodes = (
        Node("squeeze", ("x",), ("d",), {"axes": [1]}),
        Node("binary", ("s", "d"), ("s_out",), {"kind": "add"}),
        Node("binary", ("n", "one"), ("n_out",), {"kind": "add"}),
        Node("unsqueeze", ("s_out",), ("y",), {"axes": [2]}),
        Node("unsqueeze", ("s_out",), ("u",), {"axes": [0]}),
        Node("cast", ("n_out",), ("f",), {"to": "float32"}),
        Node("binary", ("u", "f"), ("z",), {"kind": "mul"}),
    )
    specs = [TensorSpec("x", "float32", (2, 1, 3)), TensorSpec("s", "float32", (2, 3)), TensorSpec("n", "int64", ())]
    outputs = [TensorSpec("y", "float32", None), TensorSpec("z", "float32", (None, 2, 3))]
    outputs += [TensorSpec("s_out", "float32", None), TensorSpec("n_out", "int64", None)]
    states, constants = {"s": "s_out", "n": "n_out"}, {"one": np.array(1, np.int64)}
    return Model(Graph(tuple(specs), tuple(outputs), nodes, constants, states))


MODELS = {
    "float32": stack,
    "float64": lambda: stack("float64"),
    "bfloat16": lambda: stack("bfloat16"),
    "int8": lambda: stack("int8"),
    "batch first": lambda: stack(batch_first=True),
    "two threads": lambda: stack(threads=2),
    "two ways": two_ways,
    "odd sizes": odd_sizes,
    "fixed": lambda: fixed(stack()),
    "fixed, int8": lambda: fixed(stack("int8")),
    "fixed, two threads": lambda: fixed(stack(threads=2)),
    "fixed, batch first": lambda: fixed(stack(batch_first=True)),
    "fixed, two ways": lambda: fixed(two_ways()),
    "fixed, odd sizes": lambda: fixed(odd_sizes()),
    "without rows": without_rows,
}


@cache
def model_of(name: str) -> Model:
    return MODELS[name]()


def drawn(name: str, pool: SessionPool, rng: np.random.Generator, steps: int) -> tuple[np.ndarray, ...]:
    """Frames of one session."""
    if name == "without rows":
        return (rng.standard_normal((2, 1, 3)).astype(np.float32),)
    if "odd sizes" in name:
        return rng.random((1, 3)) < 0.5, rng.standard_normal((1, 3)).astype(np.float32)
    shape = (1, steps, I) if "batch first" in name else (steps, 1, I)
    dtype = np.float64 if name == "float64" else np.float32
    return tuple(rng.standard_normal(shape).astype(dtype) for _ in pool.inputs)


def same(got, want) -> None:
    for a, b in zip(
        got if isinstance(got, tuple) else (got,), want if isinstance(want, tuple) else (want,), strict=True
    ):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def push(name: str, pool: SessionPool, streams: dict, rng: np.random.Generator, *, rows: bool) -> None:
    chosen = rng.permutation(list(streams))[: rng.integers(0, len(streams) + 1)].tolist()
    steps = int(rng.integers(0, 4))
    frames = {s: drawn(name, pool, rng, steps if rows else int(rng.integers(0, 4))) for s in chosen}
    if rows and chosen:
        axes = [pool.batch_axes[n] for n in pool.inputs]
        joined = tuple(np.concatenate(a, k) for a, k in zip(zip(*frames.values(), strict=True), axes, strict=True))
        x = joined if len(joined) > 1 else joined[0]
        made = pool.push_rows(np.array(chosen), x)
        axes = [2, 0] if name == "without rows" else [pool.batch_axes[pool.inputs[0]]] * len(pool.outputs)
        results = made if isinstance(made, tuple) else (made,)
        got = {s: tuple(np.take(y, [i], k) for y, k in zip(results, axes, strict=True)) for i, s in enumerate(chosen)}
    else:
        got = pool.push({s: a if len(a) > 1 else a[0] for s, a in frames.items()})
    assert list(got) == chosen
    for session in chosen:
        same(got[session], streams[session].push(*frames[session]))


@pytest.mark.parametrize("name", MODELS)
@given(seed=st.integers(0, 2**32), kinds=st.lists(st.sampled_from("oofcrslppppddd"), min_size=5, max_size=40))
@settings(max_examples=12)
def test_sessions_come_and_go_with_the_bits_of_streams(name, seed, kinds):
    model, rng = model_of(name), np.random.default_rng(seed)
    pool = SessionPool(model, 45)
    streams = {pool.open(): model.stream() for _ in range(int(rng.integers(1, 40)))}
    ended, blob = [], None
    for kind in kinds:
        some = int(rng.choice(list(streams))) if streams else None
        if kind == "o" and len(pool) < 45:
            streams[pool.open()] = model.stream()
        elif kind == "p":
            push(name, pool, streams, rng, rows=True)
        elif kind == "d":
            push(name, pool, streams, rng, rows=False)
        elif some is None:
            continue
        elif kind == "f" and len(pool) < 45:
            streams[pool.fork(some)] = streams[some].fork()
        elif kind == "c":
            pool.close(some)
            ended.append(some)
            del streams[some]
        elif kind == "r":
            pool.reset(some)
            streams[some].reset()
        elif kind == "s":
            blob = pool.save(some)
        elif kind == "l" and blob is not None:
            pool.load(some, blob)
            streams[some].load_state(blob)
    assert pool.sessions == tuple(streams)
    assert not set(ended) & set(streams)
    for session, stream in streams.items():
        assert pool.save(session) == stream.save_state()


def test_frames_and_results_of_any_layout():
    """Frames that are strided, of another dtype, or lists; results over the frames, strided, or of another layout."""
    model = stack()
    pool = SessionPool(model, 20)
    sessions = [pool.open() for _ in range(20)]
    streams = [model.stream() for _ in sessions]
    x = normal(2, 20, I)

    def check(frames, **options):
        want = np.concatenate([s.push(x[:, i : i + 1]) for i, s in enumerate(streams)], 1)
        np.testing.assert_array_equal(pool.push_rows(sessions, frames, **options), want)
        if "out" in options:
            np.testing.assert_array_equal(options["out"], want)

    wide = np.zeros((2, 40, 2 * I), np.float32)
    wide[:, ::2, ::2] = x
    big = x.astype(x.dtype.newbyteorder())
    for frames in (x, wide[:, ::2, ::2], np.asfortranarray(x), x.astype(np.float64), x.tolist(), big, (x,)):
        check(frames)
    for out in (np.empty((2, 20, 3), np.float32), np.empty((2, 40, 3), np.float32)[:, ::2]):
        check(x, out=out)
    shared = np.concatenate([x, np.zeros_like(x)])
    over = shared.reshape(-1)[: 2 * 20 * 3].reshape(2, 20, 3)  # written over the frames
    check(shared[:2], out=over)
    for numbers in (np.array(sessions, np.uint64), np.array(sessions)[::-1][::-1], tuple(sessions)):
        pool.push_rows(numbers, x)


def test_nothing_is_planned_after_the_first_push_of_a_shape(monkeypatch):
    model = stack()
    pool = SessionPool(model, 50)
    sessions = np.array([pool.open() for _ in range(50)])
    pool.push_rows(sessions[:1], normal(1, 1, I))
    pool.warm_up(normal(3, 1, I))

    def planned(*arguments, **options):
        raise AssertionError("planned")

    monkeypatch.setattr("fastgru.engine.executable.make_program", planned)
    for n in (*range(51), *range(50, 0, -7)):
        for steps in (1, 3):
            assert pool.push_rows(sessions[:n], normal(steps, n, I)).shape == (steps, n, 3)
    with pytest.raises(AssertionError, match="planned"):
        pool.push_rows(sessions, normal(2, 50, I))


def test_memory_comes_with_the_sessions():
    """Blocks of slots are added, and never moved."""
    model = stack()
    pool = SessionPool(model, 5000)
    first = pool.open()
    pool.push_rows([first], normal(1, 1, I))
    before, where = pool.save(first), pool._store._blocks[0].ctypes.data
    assert len(pool._store._blocks) == 1
    others = [pool.open() for _ in range(4999)]
    assert len(pool._store._blocks) > 1
    assert pool._store._blocks[0].ctypes.data == where
    assert pool.save(first) == before
    x = normal(1, 5000, I)
    pool.push_rows([first, *others], x)
    for k in (0, 1234, 4999):
        stream = model.stream()
        if k == 0:
            stream.load_state(before)
        stream.push(x[:, k : k + 1])
        assert pool.save([first, *others][k]) == stream.save_state()


@pytest.mark.parametrize("batch_first", [False, True])
def test_the_axis_of_the_rows_is_seen_in_the_states(batch_first):
    """Where neither the file nor the caller says which axis of the frames it is."""
    graph = stack(batch_first=batch_first).graph
    blind = [TensorSpec(spec.name, spec.dtype, spec.shape) for spec in graph.inputs]
    model = Model(Graph(tuple(blind), graph.outputs, graph.nodes, graph.constants, graph.states))
    for pool in (SessionPool(model, 2), SessionPool(model, 2, state=graph.states)):
        assert pool.batch_axes == {"x": 0 if batch_first else 1, **dict.fromkeys(graph.states, 1)}


@pytest.mark.parametrize("name", ["float32", "odd sizes", "fixed", "fixed, two ways", "without rows"])
def test_the_bits_are_the_same_where_no_single_program_does_the_work(name, monkeypatch):
    model, rng = model_of(name), np.random.default_rng(0)
    monkeypatch.setattr("fastgru.engine.executable.Executable.planned", lambda self, shapes: None)
    pool = SessionPool(model, 40)
    streams = {pool.open(): model.stream() for _ in range(40)}
    for k in range(8):
        push(name, pool, streams, rng, rows=k % 2 == 0)
    for session, stream in streams.items():
        assert pool.save(session) == stream.save_state()


def test_an_output_without_an_axis_for_sessions_is_refused():
    nodes = (
        Node("binary", ("x", "s"), ("s_out",), {"kind": "add"}),
        Node("squeeze", ("x",), ("y",), {"axes": [0]}),
    )
    specs = tuple(TensorSpec(name, "float32", (1, 2)) for name in ("x", "s"))
    outputs = tuple(TensorSpec(name, "float32", None) for name in ("y", "s_out"))
    with pytest.raises(UnsupportedModelError, match=r"output 'y' has the shape \(2,\).*keep a stream for each session"):
        SessionPool(Model(Graph(specs, outputs, nodes, {}, {"s": "s_out"})), 4)


def test_the_axis_of_sessions_is_given_where_a_batch_is_fixed():
    graph = fixed(stack()).graph
    free = [replace(spec, shape=(None, None, I)) if spec.name == "x" else spec for spec in graph.inputs]
    model = Model(replace(graph, inputs=tuple(free)))
    with pytest.raises(UnsupportedModelError, match=r"input 'x' has the shape \(\?, \?, 8\)"):
        SessionPool(model, 4)
    pool, streams = SessionPool(model, 4, batch_axes={"x": 1}), [model.stream() for _ in range(4)]
    sessions, x = [pool.open() for _ in streams], normal(3, 4, I)
    for _ in range(2):
        want = np.concatenate([stream.push(x[:, i : i + 1]) for i, stream in enumerate(streams)], 1)
        np.testing.assert_array_equal(pool.push_rows(sessions, x), want)
    assert pool.batch_axes == {"x": 1}

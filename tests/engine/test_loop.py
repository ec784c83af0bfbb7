"""Loops and branches in programs: banks, blocks, teams, what is counted, what an error leaves behind."""

import math
import signal
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from engine_cases import loop_body, looping, normal

import fastgru
from fastgru.engine import Executable
from fastgru.engine.ahead import Steps, _nbytes
from fastgru.engine.ops import loop as lowering
from fastgru.errors import InvalidModelError, ShapeError, UnsupportedModelError
from fastgru.graph import Graph, Node, TensorSpec
from fastgru.reference import run_graph

ADD, TANH = {"kind": "add"}, {"kind": "tanh"}


def graph_of(node, inputs, outputs, constants=None):
    specs = tuple(TensorSpec(name, a.dtype.name, (None,) * a.ndim) for name, a in inputs.items())
    return Graph(
        specs, tuple(TensorSpec(name, dtype, None) for name, dtype in outputs.items()), (node,), constants or {}
    )


def cell(hidden=24):
    """h' = tanh(h W + x), stacked along both axes, one of them from the end."""
    body = loop_body(
        Node("matmul", ("h", "W"), ("hw",)), Node("binary", ("hw", "x"), ("s",), ADD),
        Node("activation", ("s",), ("h2",), TANH), inputs="i h x", captured="W", outputs="- h2 h2 s",
    )  # fmt: skip
    node = Node(
        "loop", ("", "", "h0", "xs", "W"), ("hn", "ys", "zs"), looping(body, out=(0, 1), out_backward=(False, True))
    )
    feeds = {"xs": normal(9, 2, hidden), "h0": normal(2, hidden)}
    W = normal(hidden, hidden) / np.float32(2 * hidden**0.5)  # so that differences die out
    return graph_of(node, feeds, dict.fromkeys(("hn", "ys", "zs"), "float32"), {"W": W}), feeds


def halving():
    """Rows until the largest of them is small."""
    body = loop_body(
        Node("binary", ("v", "half"), ("w",), {"kind": "mul"}),
        Node("reduce", ("w",), ("m",), {"kind": "max", "axes": [], "keepdims": False}),
        Node("compare", ("m", "least"), ("on",), {"kind": "greater"}),
        inputs="i v", captured="half least", outputs="on w w i",
    )  # fmt: skip
    node = Node("loop", ("", "", "v0", "half", "least"), ("vn", "rows", "numbers"), looping(body, 1, (), (), (0, 0)))
    feeds = {"v0": abs(normal(5)) + 1, "least": np.float32(1e-3)}
    outputs = {"vn": "float32", "rows": "float32", "numbers": "int64"}
    return graph_of(node, feeds, outputs, {"half": np.float32(0.5)}), feeds


def equal(got, want, tolerance=1e-6):
    assert list(got) == list(want)
    for name, array in want.items():
        assert got[name].shape == array.shape, name
        np.testing.assert_allclose(got[name], array, rtol=tolerance, atol=tolerance)


def test_states_and_what_is_stacked_where_it_belongs():
    graph, feeds = cell()
    runnable = Executable(graph)
    for T in (9, 1, 0, 2):
        given = feeds | {"xs": feeds["xs"][:T]}
        equal(runnable.run(given), run_graph(graph, given), 1e-5)


def test_an_output_may_be_an_array_of_the_callers():
    graph, feeds = cell()
    runnable = Executable(graph)
    want = runnable.run(feeds)
    out = {name: np.empty_like(a) for name, a in want.items()}
    again = runnable.run(feeds, out)
    assert all(again[name] is out[name] for name in out)
    equal(out, want, 0)
    ended, given = halving()
    rows = Executable(ended).run(given)
    out = {name: np.empty_like(a) for name, a in rows.items()}
    equal(Executable(ended).run(given, out), rows, 0)
    with pytest.raises(ShapeError, match="rows"):
        Executable(ended).run(given, {"rows": np.empty((1, 5), np.float32)})


def test_a_team_gives_the_same_bits():
    graph, feeds = cell(160)
    alone, shared = Executable(graph), Executable(graph, threads=2)
    equal(shared.run(feeds), alone.run(feeds), 0)
    around = Graph(
        graph.inputs, (TensorSpec("t", "float32", None),),
        (Node("linear", ("xs", "V"), ("us",)),
         Node("loop", ("", "", "h0", "us", "W"), ("hn", "ys", "zs"), graph.nodes[0].attrs),
         Node("linear", ("ys", "V"), ("t",))),
        {**graph.constants, "V": normal(160, 160)},
    )  # fmt: skip
    one, two = Executable(around), Executable(around, threads=2)
    program = two.program({"xs": (9, 2, 160), "h0": (2, 160)})
    assert program.members == 2
    frame_of = [np.empty(slot.shape, slot.dtype) for slot in program.outputs.values()]
    from fastgru.engine.program import CallFrame, Joined
    from fastgru.engine.threads import team_address

    arrays = tuple(feeds[name] for name in program.inputs)
    CallFrame(program).run(arrays, tuple(frame_of), Joined(team_address(2), 0, asleep=True))
    np.testing.assert_array_equal(frame_of[0], one.run(feeds)["t"])


@pytest.mark.parametrize("nbytes", [1, 100, 1000, 1 << 20])
def test_rows_in_blocks_of_any_size(nbytes, monkeypatch):
    monkeypatch.setattr(lowering, "_BLOCK_BYTES", nbytes)
    graph, feeds = halving()
    runnable = Executable(graph)
    for scale in (1, 1e-3, 1e3, 1):
        given = feeds | {"v0": feeds["v0"] * np.float32(scale)}
        got = runnable.run(given)
        equal(got, run_graph(graph, given, dtype="float32"), 0)
        assert got["numbers"].tolist() == list(range(len(got["rows"])))


def test_many_threads_run_one_loop_of_unknown_length():
    graph, feeds = halving()
    runnable, results = Executable(graph), {}
    want = {
        scale: run_graph(graph, feeds | {"v0": feeds["v0"] * np.float32(scale)}, dtype="float32") for scale in (1, 50)
    }

    def work(number, scale):
        for _ in range(50):
            results[number] = runnable.run(feeds | {"v0": feeds["v0"] * np.float32(scale)})
            equal(results[number], want[scale], 0)

    threads = [threading.Thread(target=work, args=(i, (1, 50)[i % 2])) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4


def test_a_run_that_ends_early_leaves_nothing_behind():
    graph, feeds = halving()
    bounded = Node(
        "loop", graph.nodes[0].inputs, graph.nodes[0].outputs, {**graph.nodes[0].attrs, "max_iterations": 20}
    )
    runnable = Executable(Graph(graph.inputs, graph.outputs, (bounded,), graph.constants))
    want = runnable.run(feeds)
    for _ in range(3):
        with pytest.raises(ShapeError, match="takes more than 20 iterations"):
            runnable.run(feeds | {"v0": feeds["v0"] * np.float32(1e9)})
        equal(runnable.run(feeds), want, 0)


class StopError(Exception):
    """Of a signal handler."""


def test_a_signal_ends_a_loop():
    def stop(number, frame):
        raise StopError

    graph, feeds = halving()
    node = Node("loop", graph.nodes[0].inputs, ("vn", "", ""), {**graph.nodes[0].attrs, "max_iterations": 1 << 40})
    endless = Graph(graph.inputs, graph.outputs[:1], (node,), {"half": np.float32(1)})
    runnable, before = Executable(endless), signal.signal(signal.SIGALRM, stop)
    try:
        for _ in range(2):
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            start = time.perf_counter()
            with pytest.raises(StopError):
                runnable.run(feeds)
            assert time.perf_counter() - start < 2
    finally:
        signal.signal(signal.SIGALRM, before)
    assert runnable.run(feeds | {"least": np.float32(1e9)})["vn"].tolist() == feeds["v0"].tolist()


def test_what_is_copied_for_a_body_is_copied_once():
    """A product with a transposed sequence of the graph around it: the copy stands before the loop."""
    body = loop_body(
        Node("transpose", ("K",), ("Kt",), {"perm": [0, 2, 1]}), Node("reshape", ("Kt", "flat"), ("rows",)),
        Node("reduce", ("rows",), ("m",), {"kind": "sum", "axes": [0], "keepdims": False}),
        Node("binary", ("h", "m"), ("h2",), ADD), inputs="i h x", captured="K flat", outputs="- h2",
    )  # fmt: skip
    node = Node("loop", ("", "", "h0", "xs", "K", "flat"), ("hn",), looping(body))
    feeds = {"xs": normal(4, 5), "h0": normal(5), "K": normal(6, 5, 7)}
    graph = graph_of(node, feeds, {"hn": "float32"}, {"flat": np.array([-1, 5])})
    runnable = Executable(graph)
    equal(runnable.run(feeds), run_graph(graph, feeds), 1e-5)
    names = runnable.program({name: a.shape for name, a in feeds.items()}).names
    copies = [i for i, name in enumerate(names) if name.startswith(("copy", "transpose"))]
    assert copies[0] < names.index("loop_begin_int64")


def test_what_a_loop_and_one_other_read_is_there_for_both():
    """An element-wise operation is carried out within its only reader, but not where a loop reads it, too."""
    body = loop_body(
        Node("matmul", ("h", "W"), ("hw",)), Node("binary", ("hw", "x"), ("h2",), ADD),
        inputs="i h x", captured="W", outputs="- h2 h2",
    )  # fmt: skip
    nodes = (
        Node("activation", ("xs",), ("a",), TANH), Node("activation", ("h0",), ("b",), TANH),
        Node("activation", ("a",), ("za",), TANH), Node("activation", ("b",), ("zb",), TANH),
        Node("loop", ("", "", "b", "a", "W"), ("hn", "ys"), looping(body, out=(0,))),
    )  # fmt: skip
    feeds = {"xs": normal(9, 2, 20), "h0": normal(2, 20)}
    specs = tuple(TensorSpec(name, "float32", (None,) * a.ndim) for name, a in feeds.items())
    outputs = tuple(TensorSpec(name, "float32", None) for name in ("hn", "ys", "za", "zb"))
    graph = Graph(specs, outputs, nodes, {"W": normal(20, 20) / np.float32(40)})
    equal(Executable(graph).run(feeds), run_graph(graph, feeds), 1e-5)


class Sequences:
    """A random body over sequences of several ranks, along any axes and from either end."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.values, self.nodes, self.constants = {"x": 2, "v": 1, "b": 2, "h": 2}, [], {}
        for i in range(int(self.rng.integers(3, 12))):
            self.add(f"n{i}")

    def constant(self, array):
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(array, np.float32)
        return name

    def pick(self, rank=None):
        names = [name for name, of in self.values.items() if rank is None or of == rank]
        return names[int(self.rng.integers(len(names)))]

    def add(self, name):
        kind = ["linear", "matmul", "binary", "activation", "layer_norm", "softmax", "concat", "fixed"][
            int(self.rng.integers(8))
        ]
        x = self.pick()
        rank, axis = self.values[x], [-1, self.values[x] - 1][int(self.rng.integers(2))]
        if kind == "linear":
            node = Node("linear", (x, self.constant(self.rng.standard_normal((6, 6)) / 6)), (name,))
        elif kind == "matmul":
            node = Node("matmul", (x, self.constant(self.rng.standard_normal((6, 6)) / 6)), (name,))
        elif kind == "binary":
            y = self.pick()
            rank = max(rank, self.values[y])
            node = Node("binary", (x, y), (name,), ADD)
        elif kind == "fixed":
            given = self.constant(self.rng.standard_normal([(), (6,), (1, 6)][int(self.rng.integers(3))]))
            rank = max(rank, self.constants[given].ndim)
            node = Node("binary", (given, x), (name,), {"kind": "mul"})
        elif kind == "activation":
            node = Node("activation", (x,), (name,), TANH)
        elif kind == "layer_norm":
            node = Node("layer_norm", (x, self.constant(np.ones(6))), (name,), {"axis": axis, "epsilon": 1e-3})
        elif kind == "softmax":
            node = Node("softmax", (x,), (name,), {"axis": axis})
        else:
            self.nodes.append(Node("concat", (x, self.pick(rank)), (f"{name}c",), {"axis": axis}))
            node = Node("linear", (f"{name}c", self.constant(self.rng.standard_normal((6, 12)) / 9)), (name,))
        self.nodes.append(node)
        self.values[name] = rank

    def graph(self):
        last = self.pick(2)
        self.nodes += [Node("binary", ("h", last), ("s",), ADD), Node("activation", ("s",), ("h2",), TANH)]
        body = loop_body(
            *self.nodes, inputs="i h x v b", captured=" ".join(self.constants), outputs=f"- h2 h2 {self.pick()}"
        )
        attrs = looping(body, 1, (0, 1, 1), (False, False, True), (0, 0))
        node = Node("loop", ("", "", "h0", "xs", "vs", "bs", *self.constants), ("hn", "ys", "zs"), attrs)
        feeds = {"h0": normal(2, 6), "xs": normal(7, 2, 6), "vs": normal(6, 7), "bs": normal(2, 7, 6)}
        return graph_of(node, feeds, dict.fromkeys(("hn", "ys", "zs"), "float32"), self.constants), feeds


@pytest.mark.parametrize("seed", range(60))
def test_what_depends_on_sequences_alone_is_made_ahead_with_the_same_bits(seed, monkeypatch):
    graph, feeds = Sequences(seed).graph()
    got = Executable(graph).run(feeds)
    equal(got, run_graph(graph, feeds), 1e-4)
    monkeypatch.setattr(lowering, "made_ahead", lambda builder, nodes, *given: nodes)
    for name, array in Executable(graph).run(feeds).items():
        np.testing.assert_array_equal(got[name].view(np.int32), array.view(np.int32))


def test_a_linear_layer_over_a_sequence_stands_before_the_loop():
    body = loop_body(
        Node("linear", ("x", "V"), ("xv",)), Node("matmul", ("h", "W"), ("hw",)),
        Node("binary", ("hw", "xv"), ("s",), ADD), Node("activation", ("s",), ("h2",), TANH),
        inputs="i h x", captured="V W", outputs="- h2 h2",
    )  # fmt: skip
    node = Node("loop", ("", "", "h0", "xs", "V", "W"), ("hn", "ys"), looping(body, out=(0,)))
    feeds = {"xs": normal(9, 2, 5), "h0": normal(2, 24)}
    graph = graph_of(node, feeds, dict.fromkeys(("hn", "ys"), "float32"), {"V": normal(24, 5), "W": normal(24, 24)})
    timings = Executable(graph).profile(feeds)
    assert [t.count for t in timings if t.handler == "linear_float32"] == [1, 9]


@pytest.mark.parametrize("stack", [(), (3,)])
def test_a_matrix_from_outside_is_packed_once(stack):
    """Computed, so that no pack can be kept; it keeps the bits of a matrix that is packed in every iteration."""

    def run(inside):
        nodes = [Node("activation", ("m",), ("n",), TANH)]
        body = loop_body(
            *nodes[:inside], Node("matmul", ("h", "n"), ("hm",)), Node("binary", ("hm", "x"), ("h2",), ADD),
            inputs="i h x", captured="m" if inside else "n", outputs="- h2 h2",
        )  # fmt: skip
        loop = Node("loop", ("", "", "h0", "xs", "m" if inside else "n"), ("hn", "ys"), looping(body, out=(0,)))
        specs = tuple(TensorSpec(name, "float32", (None,) * a.ndim) for name, a in feeds.items())
        outputs = tuple(TensorSpec(name, "float32", None) for name in ("hn", "ys"))
        executable = Executable(Graph(specs, outputs, (*nodes[inside:], loop), {}))
        names = executable.program({name: a.shape for name, a in feeds.items()}).names
        return executable.run(feeds), [name for name in names if name.startswith(("pack", "loop", "matmul"))]

    feeds = {"xs": normal(5, *stack, 2, 20), "h0": normal(*stack, 2, 20), "m": normal(*stack, 20, 20)}
    (packed, names), (plain, others) = run(0), run(1)
    assert names == ["pack_panels_float32", "loop_begin_int64", "matmul_float32", "loop_next_int64"]
    assert "pack_panels_float32" not in others
    for name in packed:
        np.testing.assert_array_equal(packed[name].view(np.int32), plain[name].view(np.int32))


def test_a_profile_says_how_often():
    graph, feeds = cell()
    timings = fastgru.Model(graph).profile(feeds)
    assert {t.count for t in timings if t.handler.startswith(("linear", "fusion"))} == {9}
    ended, given = halving()
    rows = len(Executable(ended).run(given)["rows"])
    assert {t.count for t in fastgru.Model(ended).profile(given)} == {rows, 1}


def state_of(**more):
    body = loop_body(*more.pop("nodes"), inputs="i h", captured=more.pop("captured", ""), outputs=more.pop("outputs"))
    return Node("loop", more.pop("given"), ("hn",), looping(body, 1, (), ()) | more)


@pytest.mark.parametrize(
    ("node", "error", "said"),
    [
        (state_of(nodes=[Node("concat", ("h", "h"), ("h2",), {"axis": 0})], outputs="- h2", given=("n", "", "h0")),
         UnsupportedModelError, r"state 0 .*\(3,\) before an iteration.*\(6,\) after it.*keeps its shape"),
        (state_of(nodes=[Node("cast", ("h",), ("h2",), {"to": "int64"})], outputs="- h2", given=("n", "", "h0")),
         UnsupportedModelError, r"state 0 .*float32 .* int64 .*keeps its shape"),
        (state_of(nodes=[Node("unary", ("h",), ("h2",), {"kind": "odd"})], outputs="- h2", given=("n", "", "h0")),
         UnsupportedModelError, "odd"),
        (state_of(nodes=[Node("nothing", ("h",), ("h2",))], outputs="- h2", given=("n", "", "h0")),
         UnsupportedModelError, "'nothing'"),
        (state_of(nodes=[Node("unary", ("lost",), ("h2",), {"kind": "neg"})], outputs="- h2", given=("n", "", "h0")),
         InvalidModelError, "'lost'"),
        (state_of(nodes=[Node("unary", ("h",), ("n",), {"kind": "neg"})], outputs="- n", given=("n", "", "h0")),
         InvalidModelError, "defines 'n' a second time"),
        (state_of(nodes=[], outputs="- h -", given=("n", "", "h0"), output_axes=[0], output_backward=[False]),
         InvalidModelError, "may be absent"),
        (state_of(nodes=[], outputs="- h", given=("n", "", "h0"), max_iterations=0),
         InvalidModelError, "max_iterations"),
        (state_of(nodes=[], outputs="- h", given=("h0", "", "h0")), ShapeError, "limit"),
        (state_of(nodes=[], outputs="h h", given=("n", "", "h0")), ShapeError, "whether a loop goes on"),
        (state_of(nodes=[], outputs="- h", given=("n", "", "h0"), states=2), InvalidModelError, "do not fit 2 states"),
    ],
)  # fmt: skip
def test_what_is_no_loop_is_refused(node, error, said):
    graph = graph_of(node, {"h0": np.ones(3, np.float32), "n": np.array(4)}, {"hn": "float32"})
    with pytest.raises(error, match=said):
        Executable(graph).run({"h0": np.ones(3, np.float32), "n": np.array(4)})


@pytest.mark.parametrize(
    ("step", "outside", "nbytes"), [((1, 4), (3, 1), 7 * 12 * 4), ((4,), (4,), 7 * 4 * 4), ((4,), (3,), 0)]
)
def test_the_bytes_of_what_is_made_ahead_are_those_of_the_broadcast_shape(step, outside, nbytes):
    def value(*shape):
        return SimpleNamespace(shape=shape, size=math.prod(shape), dtype="float32")

    node = Node("binary", ("x", "c"), ("y",), {"kind": "add"})
    assert _nbytes(node, [Steps(value(7, *step), backward=False)], {"c": value(*outside)}) == nbytes

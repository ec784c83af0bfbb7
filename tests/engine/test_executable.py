"""The object that runs: program cache, frames, threads, arrays of the caller, errors at run time."""

from __future__ import annotations

import pickle
import threading

import numpy as np
import pytest
from engine_cases import normal

from fastgru.budget import Budget
from fastgru.engine import Executable
from fastgru.errors import InvalidModelError, ShapeError, UnsupportedModelError
from fastgru.graph import Graph, Node, TensorSpec
from fastgru.reference import run_graph
from fastgru.spec import GRUSpec


def graph_of(nodes, inputs, outputs, constants=None):
    specs = tuple(TensorSpec(n, a.dtype.name, (None,) * a.ndim) for n, a in inputs.items())
    return Graph(specs, tuple(TensorSpec(o, "float32", None) for o in outputs), tuple(nodes), constants or {})


def network():
    """Ids -> embedding -> GRU -> linear -> softmax."""
    H, I, V = 24, 12, 30
    weights = {"table": normal(V, I), "w": normal(3 * H, I) / 4, "r": normal(3 * H, H) / 4, "o": normal(V, H)}
    spec = GRUSpec(I, H, batch_first=True).to_dict()
    nodes = [
        Node("embedding", ("ids", "table"), ("e",), name="lookup"),
        Node("gru", ("e", "", "", "", "w", "r", "", ""), ("h", "h_n"), {"spec": spec}),
        Node("linear", ("h", "o"), ("logits",)),
        Node("softmax", ("logits",), ("p",), {"axis": -1}),
    ]
    ids = np.random.default_rng(0).integers(0, V, (3, 11))
    return graph_of(nodes, {"ids": ids}, ["p", "h_n"], weights), ids


def test_plans_of_ever_new_shapes_have_a_bound():
    graph = graph_of([Node("activation", ("x",), ("y",), {"kind": "tanh"})], {"x": normal(1)}, ["y"])
    executable = Executable(graph, budget=Budget(1 << 20))
    for n in range(200):
        x = normal(n)
        np.testing.assert_allclose(executable.run({"x": x})["y"], np.tanh(x), atol=1e-6)
    assert 3 < len(executable._routes) < 200
    assert len(executable._routes) == len(executable.budget)
    assert executable.budget.used == sum(route.nbytes for route in executable._routes.values()) <= 1 << 20
    assert ((199,),) in executable._routes
    assert ((3,),) not in executable._routes
    forgotten = normal(3)
    np.testing.assert_allclose(executable.run({"x": forgotten})["y"], np.tanh(forgotten), atol=1e-6)


def test_a_plan_that_is_used_outlasts_those_that_are_not():
    graph = graph_of([Node("activation", ("x",), ("y",), {"kind": "tanh"})], {"x": normal(1)}, ["y"])
    executable = Executable(graph, budget=Budget(1 << 20))
    for n in range(200):
        executable.run({"x": normal(5)})
        executable.run({"x": normal(n)})
    assert ((5,),) in executable._routes


def test_no_room_for_plans_keeps_the_newest():
    graph = graph_of([Node("activation", ("x",), ("y",), {"kind": "tanh"})], {"x": normal(1)}, ["y"])
    executable = Executable(graph, budget=Budget(0))
    for n in (3, 4, 3):
        executable.run({"x": normal(n)})
        assert list(executable._routes) == [((n,),)]
    with pytest.raises(ShapeError, match="plan_bytes is -1"):
        Budget(-1)


def test_packed_weights_are_shared_by_all_programs():
    graph, ids = network()
    executable = Executable(graph)
    programs = [executable.program({"ids": (n, t)}) for n, t in ((1, 1), (3, 11), (2, 5))]
    large = [{id(a) for a in p.constants if a.nbytes > 1000} for p in programs]
    assert large[0]
    assert large[0] == large[1] == large[2]
    assert executable.run({"ids": ids})["p"].shape == (3, 11, 30)


def test_concurrent_calls_give_the_same_bits():
    graph, ids = network()
    executable = Executable(graph)
    shapes = [ids, ids[:1], ids[:, :4], ids[1:]]
    alone = [executable.run({"ids": i}) for i in shapes]
    failures = []

    def work(seed):
        order = np.random.default_rng(seed).integers(0, len(shapes), 40)
        for k in order:
            got = executable.run({"ids": shapes[k]})
            if any(got[name].tobytes() != alone[k][name].tobytes() for name in got):
                failures.append(k)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_out_arrays_are_filled_and_checked():
    graph, ids = network()
    executable = Executable(graph)
    wanted = executable.run({"ids": ids})
    mine = np.full((3, 11, 30), np.nan, np.float32)
    got = executable.run({"ids": ids}, out={"p": mine})
    assert got["p"] is mine
    np.testing.assert_array_equal(mine, wanted["p"])
    for wrong in (
        np.empty((3, 11, 30)),
        np.empty((3, 30, 11), np.float32),
        np.empty((3, 11, 60), np.float32)[..., ::2],
    ):
        with pytest.raises(ShapeError, match="out 'p'"):
            executable.run({"ids": ids}, out={"p": wrong})
    with pytest.raises(ShapeError, match="unknown outputs"):
        executable.run({"ids": ids}, out={"q": mine})


def test_an_id_outside_the_table_names_node_and_index():
    graph, ids = network()
    executable = Executable(graph)
    good = executable.run({"ids": ids})
    for wrong in (30, -1):
        bad = ids.copy()
        bad[1, 2] = wrong
        with pytest.raises(ShapeError, match=rf"embedding 'lookup'.*{wrong}.*30"):
            executable.run({"ids": bad})
    np.testing.assert_array_equal(executable.run({"ids": ids})["p"], good["p"])


@pytest.mark.parametrize(
    ("node", "feeds", "message"),
    [
        (Node("gather", ("x", "i"), ("y",), {"axis": 0}), {"x": normal(4), "i": np.array([0, 4])}, "4 .* 4 entries"),
        (
            Node("gather_elements", ("x", "i"), ("y",), {"axis": 0}),
            {"x": normal(4), "i": np.array([0, -5])},
            "-5 .* 4 entries",
        ),
        (Node("last", ("x", "i"), ("y",)), {"x": normal(2, 3, 1), "i": np.array([4, 1])}, "length 4"),
        (
            Node("binary", ("i", "x"), ("y",), {"kind": "div"}),
            {"x": np.array([3, 0]), "i": np.array([4, 1])},
            "by zero",
        ),
        (
            Node("binary", ("i", "x"), ("y",), {"kind": "mod"}),
            {"x": np.array([3, 0]), "i": np.array([4, 1])},
            "by zero",
        ),
        (
            Node("binary", ("i", "x"), ("y",), {"kind": "pow"}),
            {"x": np.array([3, -2]), "i": np.array([4, 1])},
            "negative power -2",
        ),
    ],
)
def test_data_out_of_range_is_an_error_of_the_node(node, feeds, message):
    executable = Executable(graph_of([node], feeds, ["y"]))
    with pytest.raises(ShapeError, match=f"{node.op} 'y'.*{message}"):
        executable.run(feeds)


def test_everything_that_cannot_run_is_listed_at_once():
    x = {"x": normal(3)}
    nodes = [
        Node("warp", ("x",), ("a",), name="first"),
        Node("activation", ("x",), ("b",), {"kind": "swoosh"}, name="second"),
        Node("softmax", ("x",), ("c",), {"axis": 0, "spline": 1}, name="third"),
        Node("activation", ("x",), ("d",), {"kind": "tanh"}, name="fourth"),
    ]
    with pytest.raises(UnsupportedModelError) as caught:
        Executable(graph_of(nodes, x, ["a", "b", "c", "d"]))
    for name in ("3 node(s)", "warp 'first'", "swoosh", "softmax 'third'", "spline"):
        assert name in str(caught.value)
    assert "fourth" not in str(caught.value)


def test_a_missing_input_or_attribute_is_named():
    with pytest.raises(InvalidModelError, match=r"softmax 'y'.*axis"):
        Executable(graph_of([Node("softmax", ("x",), ("y",))], {"x": normal(3)}, ["y"]))


def test_precisions_and_inputs_are_checked():
    graph, ids = network()
    with pytest.raises(UnsupportedModelError, match="float8"):
        Executable(graph, precision="float8")
    with pytest.raises(ShapeError, match="missing"):
        Executable(graph).run({})
    with pytest.raises(ShapeError, match="ids"):
        Executable(graph).run({"ids": ids[0]})


def test_outputs_that_are_inputs_constants_or_one_value_twice():
    x = {"x": normal(2, 3)}
    nodes = [
        Node("activation", ("x",), ("a",), {"kind": "relu"}),
        Node("reshape", ("a", "flat"), ("b",)),
        Node("cast", ("k",), ("n",), {"to": "int32"}),
    ]
    graph = graph_of(nodes, x, ["x", "a", "b", "k", "n"], {"flat": np.array([-1]), "k": np.array(2.5, np.float32)})
    got = Executable(graph).run(x)
    np.testing.assert_array_equal(got["x"], x["x"])
    assert got["x"] is not x["x"]
    np.testing.assert_array_equal(got["b"], np.maximum(x["x"], 0).reshape(-1))
    np.testing.assert_array_equal(got["a"], np.maximum(x["x"], 0))
    assert got["k"] == np.float32(2.5)
    assert got["k"].shape == ()
    assert got["n"] == 2


def test_constants_known_in_one_plan_only_stay_there():
    """A weight that follows from the shape of an input differs from plan to plan, under one name."""
    nodes = [
        Node("shape", ("x",), ("s",), {}),
        Node("cast", ("s",), ("f",), {"to": "float32"}),
        Node("unsqueeze", ("f",), ("w",), {"axes": [0]}),
        Node("linear", ("v", "w"), ("y",)),
    ]
    feeds = {"x": normal(2, 3), "v": np.ones((1, 2), np.float32)}
    executable = Executable(graph_of(nodes, feeds, ["y"]))
    assert executable.run(feeds)["y"] == 5
    assert executable.run({**feeds, "x": normal(7, 1)})["y"] == 8


def test_calls_like_the_last_one_give_the_same_and_check_as_much():
    """The second call of a kind goes straight to its program: nothing else may differ."""
    rng = np.random.default_rng(0)
    graph = Graph(
        (TensorSpec("x", "float32", (None, 3)),),
        (TensorSpec("y", "float32", None), TensorSpec("z", "float32", None)),
        (
            Node("slice", ("x", "last", "first", "axes", "back"), ("y",)),
            Node("binary", ("x", "one"), ("z",), {"kind": "add"}),
        ),
        {
            "last": np.array([-1]),
            "first": np.array([-100]),
            "axes": np.array([0]),
            "back": np.array([-1]),
            "one": np.float32(1),
        },
    )
    executable = Executable(graph)
    x = rng.standard_normal((5, 3)).astype(np.float32)
    given = {"y": np.empty_like(x), "z": np.empty_like(x)}
    for _ in range(3):
        for out in (None, given):
            result = executable.run({"x": x}, out)
            np.testing.assert_array_equal(result["y"], x[::-1])
            np.testing.assert_array_equal(result["z"], x + 1)
            assert out is None or result["y"] is out["y"]
        strided = executable.run({"x": np.asfortranarray(x)})
        np.testing.assert_array_equal(strided["y"], x[::-1])
        over = x.copy()
        np.testing.assert_array_equal(executable.run({"x": over}, {**given, "y": over})["z"], x + 1)
        np.testing.assert_array_equal(over, x[::-1])
        with pytest.raises(ShapeError, match="overlap"):
            executable.run({"x": x}, {"y": given["y"], "z": given["y"]})
        with pytest.raises(ShapeError, match="x"):
            executable.run({"x": x[:, :2]})
        with pytest.raises(ShapeError, match="w"):
            executable.run({"w": x})
        frozen = np.empty_like(x)
        frozen.flags.writeable = False
        with pytest.raises(ShapeError, match="y"):
            executable.run({"x": x}, {"y": frozen, "z": given["z"]})


@pytest.mark.parametrize(
    ("op", "constant", "attrs"),
    [
        ("expand", [1 << 30, 2, 3, 4], {}),
        ("tile", [1, 1 << 62, 4], {}),
        ("tile", [1 << 31, 1, 1], {}),
        ("pad", [0, 0, 0, 1 << 40, 0, 0], {"mode": "constant"}),
        ("pad", [0, 0, 0, 0, 0, 1 << 31], {"mode": "reflect"}),
        ("resize", [1.0, 1.0, 1e30], {"mode": "nearest", "coordinates": "asymmetric"}),
    ],
)
def test_a_few_numbers_ask_for_no_memory_to_speak_of(op, constant, attrs):
    """Products of sizes may pass 64 bits."""
    x = normal(2, 3, 4)
    reads = ("x", "", "k") if op == "resize" else ("x", "k")
    graph = graph_of([Node(op, reads, ("y",), attrs)], {"x": x}, ["y"], {"k": np.array(constant)})
    with pytest.raises(ShapeError, match=r"'y': a tensor of shape .* takes [0-9]{10,} bytes, expected at most"):
        Executable(graph).run({"x": x})


@pytest.mark.parametrize(("op", "count"), [("reshape", 24), ("expand", 4), ("tile", 2)])
def test_sizes_are_vectors_of_integers(op, count):
    x = normal(2, 3, 4)
    for constant in (np.array([[count]]), np.array([float(count)])):
        graph = graph_of([Node(op, ("x", "k"), ("y",))], {"x": x}, ["y"], {"k": constant})
        with pytest.raises(ShapeError, match=f"{op} 'y': .*expected a vector of integers"):
            Executable(graph).run({"x": x})


def test_arrays_of_subclasses_and_with_dtypes_of_their_own():
    """A pickled array has an object for its dtype that is equal to NumPy's, but another."""
    graph = graph_of([Node("binary", ("x", "x"), ("y",), {"kind": "add"})], {"x": normal(2, 3)}, ["y"])
    executable, x = Executable(graph), normal(2, 3)
    for change in (lambda a: pickle.loads(pickle.dumps(a)), lambda a: a.view(np.recarray)):
        given, out = change(x), change(np.empty_like(x))
        for _ in range(2):
            assert executable.run({"x": given}, {"y": out})["y"] is out
            np.testing.assert_array_equal(out, 2 * x)
            np.testing.assert_array_equal(executable.run({"x": given})["y"], 2 * x)
    graph = graph_of([Node("binary", ("i", "i"), ("y",), {"kind": "add"})], {"i": np.arange(3)}, ["y"])
    for dtype in (np.longlong, np.int_, np.dtype(np.int64, metadata={"a": 1})):
        got = Executable(graph).run({"i": np.arange(3).astype(dtype)})["y"]
        np.testing.assert_array_equal(got, [0, 2, 4])


def test_what_is_no_mapping_is_refused_after_a_good_call_too():
    graph = graph_of([Node("binary", ("x", "x"), ("y",), {"kind": "add"})], {"x": normal(3)}, ["y"])
    executable = Executable(graph)
    for _ in range(2):
        for wrong in ([normal(3)], (normal(3),), "x", {"x"}, None, 1, normal(1, 3)):
            with pytest.raises(ShapeError, match="expected arrays by name"):
                executable.run(wrong)
        executable.run({"x": normal(3)})


def test_an_out_mapping_is_asked_once():
    class Changes(dict):
        def items(self):
            return {"y": np.empty(3, np.float32)}.items()

    graph = graph_of([Node("binary", ("x", "x"), ("y",), {"kind": "add"})], {"x": normal(3)}, ["y"])
    with pytest.raises(ShapeError, match="out 'y': got float64"):
        Executable(graph).run({"x": normal(3)}, Changes(y=np.empty(3)))


def test_no_size_is_negative():
    x = normal(2, 1)
    graph = graph_of([Node("expand", ("x", "k"), ("y",))], {"x": x}, ["y"], {"k": np.array([2, -2])})
    for run in (Executable(graph).run, lambda inputs: run_graph(graph, inputs)):
        with pytest.raises(ShapeError, match="expected sizes of at least 0"):
            run({"x": x})


def test_an_activation_of_integers_is_refused_by_name():
    x = np.arange(3)
    graph = graph_of([Node("activation", ("x",), ("y",), {"kind": "tanh"})], {"x": x}, ["y"])
    with pytest.raises(UnsupportedModelError, match="activation 'y': tanh of int64 is not implemented; cast its input"):
        Executable(graph).run({"x": x})

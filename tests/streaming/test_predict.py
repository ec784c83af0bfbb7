"""Sequences of any lengths, side by side in batches: the bits of calls one by one, in order, within a budget."""

from __future__ import annotations

import gc
import pickle
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from users import child

import fastgru
from fastgru.graph import Graph, Node, TensorSpec
from fastgru.model import Model

I, H = 5, 9
rng = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return (0.4 * rng.standard_normal(shape)).astype(np.float32)


def gru(size: int = I, **options: Any) -> fastgru.GRU:
    D = 2 if options.get("direction") == "bidirectional" else 1
    return fastgru.GRU.from_onnx(normal(D, 3 * H, size), normal(D, 3 * H, H), normal(D, 6 * H), **options)


def linear(outputs: int, inputs: int) -> fastgru.Linear:
    return fastgru.Linear(normal(outputs, inputs), normal(outputs))


def tcn(pads: list[int]) -> Model:
    """A convolution over (N, C, T), then layer normalisation over the channels."""
    nodes = (
        Node("conv", ("x", "w"), ("c",), {"strides": [1], "pads": pads, "dilations": [1], "group": 1}),
        Node("transpose", ("c",), ("t",), {"perm": [0, 2, 1]}),
        Node("layer_norm", ("t",), ("y",), {"axis": -1, "epsilon": 1e-5}),
    )
    x, y = TensorSpec("x", "float32", (None, I, None)), TensorSpec("y", "float32", (None, None, H))
    return Model(Graph((x,), (y,), nodes, {"w": normal(H, I, 3)}))


def pooled(kind: str) -> Model:
    """A causal pool over (N, C, T), then a sum of products over the channels."""
    sliding = {"strides": [1], "pads": [2, 0], "dilations": [1], "kernel": [3], "kind": kind}
    nodes = (
        Node("pool", ("x",), ("p",), sliding),
        Node("einsum", ("p", "w"), ("y",), {"equation": "nct,oc->nto"}),
    )
    x, y = TensorSpec("x", "float32", (None, I, None)), TensorSpec("y", "float32", (None, None, H))
    return Model(Graph((x,), (y,), nodes, {"w": normal(H, I)}))


def of(net: fastgru.Layer, **options: Any) -> Model:
    return Model(net.to_graph(**options))


def stateful(**options: Any) -> Model:
    return of(gru(**options), initial_state=True)


NETWORKS: dict[str, Callable[[], Any]] = {
    "GRU": lambda: gru(layout=1),
    "GRU, time first": gru,
    "bidirectional": lambda: gru(direction="bidirectional", threads=2),
    "reverse, int8": lambda: gru(direction="reverse", precision="int8"),
    "last step": lambda: fastgru.Sequential(gru(layout=1), fastgru.LastStep(batch_first=True), linear(3, H)),
    "tagger": lambda: fastgru.Sequential(
        gru(layout=1), fastgru.LayerNorm(H), linear(3, H), fastgru.Softmax(-1)
    ),
    "two layers": lambda: fastgru.Sequential(gru(), gru(H), linear(3, H)),
    "model with a state": stateful,
    "model with lengths": lambda: of(gru(direction="bidirectional", layout=1), lengths=True),
    "model of the last step": lambda: of(fastgru.Sequential(gru(), fastgru.LastStep(), linear(3, H))),
    "causal convolution": lambda: tcn([2, 0]),
    "causal mean": lambda: pooled("average"),
    "causal maximum": lambda: pooled("max"),
}  # fmt: skip


def one_by_one(net: Any, x: np.ndarray) -> tuple[np.ndarray, ...]:
    """What a call with this sequence alone gives, without an axis for the batch."""
    if isinstance(net, fastgru.GRU):
        return net(x)
    if isinstance(net, fastgru.Layer):
        row = 0 if net.batch_first else 1
        y = net(np.expand_dims(x, row))
        return (y.squeeze(row if y.ndim == 3 else 0),)
    names = [spec.name for spec in net.inputs]
    time_first = net.inputs[0].dims[:1] == ("T",)
    feeds = {"x": np.expand_dims(x, 1 if time_first else 0)}
    if "h0" in names:
        feeds["h0"] = np.zeros((1, 1, H), np.float32)
    if "lengths" in names:
        feeds["lengths"] = np.array([len(x)])
    made = net.run(feeds)
    return tuple(
        a.squeeze(1 if name.startswith("h_n") or (time_first and a.ndim == 3) else 0) for name, a in made.items()
    )


def same(net: Any, sequences: list[np.ndarray], results: list[Any]) -> None:
    assert len(results) == len(sequences)
    for x, result in zip(sequences, results, strict=True):
        expected = one_by_one(net, x)
        found = result if isinstance(result, tuple) else (result,)
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            assert a.shape == b.shape
            assert a.dtype == b.dtype
            assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("name", NETWORKS)
@settings(max_examples=12, deadline=None)
@given(lengths=st.lists(st.integers(1, 70), max_size=40), rows=st.integers(1, 40), lists=st.booleans())
def test_the_bits_are_those_of_calls_one_by_one(name: str, lengths: list[int], rows: int, lists: bool) -> None:
    net = NETWORKS[name]()
    axis = 1 if name.startswith("causal") else 0
    sequences = [np.ascontiguousarray(np.moveaxis(normal(T, I), 0, axis)) for T in lengths]
    made = net.predict(sequences if lists else iter(sequences), max_rows=rows, budget=1 << 20)
    assert isinstance(made, list) == lists
    same(net, sequences, list(made))


def test_an_array_or_a_tuple_of_sequences_gives_a_list() -> None:
    net, sequences = gru(), normal(4, 6, I)
    for given_as in (sequences, tuple(sequences), list(sequences)):
        results = net.predict(given_as)
        assert isinstance(results, list)
        same(net, list(sequences), results)


def test_sequences_of_different_lengths_share_a_batch() -> None:
    for name, make in NETWORKS.items():
        net = make()
        net.predict([])
        predictor = (net._predicting if isinstance(net, fastgru.Layer) else net).predictor
        assert (predictor.layout.apart, predictor.layout.unequal) == ("", ""), name


def test_what_looks_ahead_shares_a_batch_with_its_like_alone() -> None:
    model = tcn([1, 1])
    sequences = [normal(I, T) for T in (4, 7, 4, 7, 9)]
    with pytest.warns(
        UserWarning, match="of equal lengths share a batch, because conv 'c' may use later steps"
    ) as told:
        results = model.predict(sequences)
    assert told[0].filename == __file__
    same(model, sequences, results)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it is said once
        model.predict(sequences)
    mean = of(fastgru.Sequential(gru(), linear(2, H)))
    nodes = (*mean.graph.nodes, Node("reduce", ("y",), ("m",), {"kind": "mean", "axes": [0], "keepdims": False}))
    pooled = Model(Graph(mean.inputs, (TensorSpec("m", "float32", (None, 2)),), nodes, mean.graph.constants))
    with pytest.warns(UserWarning, match="because reduce 'm' may use later steps or the number of steps") as told:
        results = list(pooled.predict(iter(steps := [normal(T, I) for T in (3, 5, 3)])))
    assert told[0].filename == __file__
    for x, y in zip(steps, results, strict=True):
        assert y.tobytes() == pooled(x[:, None])[0].tobytes()


def test_rows_that_depend_on_one_another_run_alone() -> None:
    net = of(gru())
    y = net.graph.outputs[0].name
    nodes = (*net.graph.nodes, Node("reduce", (y,), ("m",), {"kind": "max", "axes": [1], "keepdims": True}),
             Node("binary", (y, "m"), ("z",), {"kind": "sub"}))  # fmt: skip
    model = Model(Graph(net.inputs, (TensorSpec("z", "float32", (None, None, H)),), nodes, net.graph.constants))
    sequences = [normal(T, I) for T in (4, 7, 4)]
    for x, z in zip(sequences, model.predict(sequences), strict=True):
        assert z.tobytes() == model(x[:, None])[:, 0].tobytes()
    assert "joins rows" in model._predictor.layout.apart


def test_a_batch_of_a_fixed_size() -> None:
    graph = gru(layout=1).to_graph()
    x = TensorSpec("x", "float32", (1, None, I))
    model = Model(Graph((x,), graph.outputs, graph.nodes, graph.constants))
    sequences = [normal(T, I) for T in (4, 7)]
    for a, (y, h) in zip(sequences, model.predict(sequences), strict=True):
        whole = model(a[None])
        assert y.tobytes() == whole[0][0].tobytes()
        assert h.tobytes() == whole[1][:, 0].tobytes()


def test_a_generator_is_read_as_far_as_the_budget_goes() -> None:
    taken = []

    def source() -> Iterator[np.ndarray]:
        frame = np.empty((200, 64), np.float32)  # one array for all, as readers of files have it
        for k in range(100):
            taken.append(k)
            frame[...] = k
            yield frame

    net = gru(64)
    results = net.predict(source(), budget=1 << 20)
    assert taken == []
    y, _ = next(results)
    assert 1 < len(taken) < 20
    assert y.tobytes() == net(np.zeros((200, 64), np.float32))[0].tobytes()
    y, _ = next(results)
    assert y.tobytes() == net(np.ones((200, 64), np.float32))[0].tobytes()
    assert len(list(results)) == 98


def test_memory_stays_within_the_budget() -> None:
    net = gru(64)
    sequences = (np.ones((T, 64), np.float32) for T in rng.integers(10, 400, 3000))
    list(net.predict([np.ones((400, 64), np.float32)]))
    gc.collect()
    tracemalloc.start()
    for _ in net.predict(sequences, budget=32 << 20):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 32 << 20


def test_what_goes_wrong_names_the_sequence() -> None:
    net = gru()
    good = normal(4, I)
    for bad, message in (
        (normal(4, I + 1), rf"^sequence 2: input 'x': got shape \(4, {I + 1}\), expected \(T, {I}\)$"),
        (normal(1, 4, I), rf"^sequence 2: .*got shape \(1, 4, {I}\), expected \(T, {I}\), without a batch$"),
        ("text", "^sequence 2: input 'x': got dtype <U4, expected float32$"),
        (np.ones((4, I), int), "sequence 2: .*int64"),
        (
            (good, good),
            "sequence 2: got 2 arrays, expected 1: x; predict takes no states, because each sequence begins with their",
        ),
        ({"x": good, "h0": good}, "sequence 2: .*unknown h0; expected x; predict takes no states"),
    ):
        results = net.predict(iter([good, good, bad, good]))
        assert len([next(results), next(results)]) == 2
        with pytest.raises(fastgru.ShapeError, match=message):
            next(results)
    ids = fastgru.Sequential(fastgru.Embedding(normal(7, I)), gru())
    with pytest.raises(fastgru.ShapeError, match="sequence 1: "):
        ids.predict([np.array([1, 2]), np.array([3, 9, 1]), np.array([4])])
    with pytest.raises(fastgru.ShapeError, match=r"sequence 0: its 9000 steps take .* give budget=\d+ or more"):
        net.predict([normal(9000, I)], budget=1 << 20)


def test_what_an_iterator_raises_comes_in_its_turn() -> None:
    def source() -> Iterator[np.ndarray]:
        yield normal(3, I)
        raise OSError("the file ends")

    results = gru().predict(source())
    next(results)
    with pytest.raises(OSError, match="the file ends") as caught:
        next(results)
    assert "sequence 1" in caught.value.__notes__[0]


@pytest.mark.parametrize("threads", [1, 2])
def test_ctrl_c_ends_it(threads: int) -> None:
    net = gru(threads=threads)

    def interrupt(done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        net.predict([normal(50, I) for _ in range(300)], max_rows=4, progress=interrupt)
    assert not [t for t in threading.enumerate() if t.name.startswith("fastgru-predict")]
    same(net, xs := [normal(3, I)], net.predict(xs))


_INTERRUPTED = """
import sys, threading
import numpy as np
import fastgru
rng = np.random.default_rng(0)
normal = lambda *shape: rng.standard_normal(shape).astype(np.float32) / 20
net = fastgru.GRU.from_onnx(normal(1, 1536, 512), normal(1, 1536, 512), layout=1, threads=int(sys.argv[1]))
net.predict([normal(3, 512)] * 2)
def source():
    x = normal(4000, 512)
    for k in range(10**6):
        yield x
try:
    print("begun", flush=True)
    for _ in net.predict(source(), budget=1 << 30):
        pass
finally:
    print([each.name for each in threading.enumerate()], flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to one process")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("after_s", [0.2, 1.5])
def test_ctrl_c_in_the_middle_of_long_batches_ends_all_threads(threads: int, after_s: float) -> None:
    with child(
        [sys.executable, "-c", _INTERRUPTED, str(threads)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        time.sleep(after_s)
        process.send_signal(signal.SIGINT)
        said, errors = process.communicate(timeout=120)
    assert said == "['MainThread']\n"
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert process.returncode == -signal.SIGINT


def test_a_generator_that_is_given_up_leaves_no_thread() -> None:
    results = gru(threads=2).predict(normal(50, I) for _ in range(3000))
    next(results)
    results.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("fastgru-predict")]


def test_progress(capsys: pytest.CaptureFixture[str]) -> None:
    seen = []
    gru().predict([normal(3, I)] * 5, max_rows=2, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (5, 5)
    assert seen == sorted(seen)
    gru().predict([normal(3, I)] * 5, progress=True)
    assert "5 of 5 sequences" in capsys.readouterr().err
    list(gru().predict(iter([normal(3, I)]), progress=True))
    assert "1 sequence, " in capsys.readouterr().err
    list(gru().predict(iter([]), progress=True))
    assert capsys.readouterr().err == ""


def test_several_calls_at_once() -> None:
    net = gru(threads=2)
    sequences = [normal(T, I) for T in range(1, 60)]
    found: list[list[Any]] = []
    threads = [threading.Thread(target=lambda: found.append(net.predict(sequences))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for results in found:
        same(net, sequences, results)
    same(net, sequences[:3], pickle.loads(pickle.dumps(net)).predict(sequences[:3]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_rows": 0}, "max_rows is 0"),
        ({"max_rows": True}, "max_rows is True"),
        ({"budget": 100}, "budget is 100, expected an integer of at least 1048576"),
        ({"progress": 3}, "progress is 3"),
        ({"sequences": "text"}, "got str"),
        ({"sequences": 3}, "got int"),
        (
            {"sequences": pd.DataFrame({"a": [1.0]})},
            r"predict: got DataFrame, .*: give one array for each sequence, such as frame\[columns\].to_numpy\(\)",
        ),
    ],
)
def test_arguments_are_checked(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(fastgru.ShapeError, match=message):
        gru().predict(**{"sequences": iter([]), **arguments})


def test_networks_that_cannot_take_sequences_say_so() -> None:
    with pytest.raises(fastgru.UnsupportedModelError, match="predict needs a layer that runs along time"):
        linear(3, I).predict([normal(4, I)])
    graph = gru(layout=1).to_graph()
    x = TensorSpec("x", "float32", (4, 6, I))
    with pytest.raises(fastgru.UnsupportedModelError, match=r"are not known.*model.stream\(\)"):
        Model(Graph((x,), graph.outputs, graph.nodes, graph.constants)).predict([])


def test_layers_that_share_the_input_of_their_states_share_batches() -> None:
    """The model that is shipped, whose two layers cut their states out of one input."""
    model = fastgru.load(fastgru.demo_path())
    assert (model.predictor.layout.apart, model.predictor.layout.unequal) == ("", "")
    sequences = [np.arange(T) % 60 for T in (9, 1, 40, 3)]
    for tokens, (logits, hn) in zip(sequences, model.predict(sequences), strict=True):
        y, h = model(tokens[None], np.zeros((2, 1, 192), np.float32))
        np.testing.assert_array_equal(logits, y[0])
        np.testing.assert_array_equal(hn, h[:, 0])

"""Models that are served: with a pool, with streams, without a state; and the names by which requests call them."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastgru
from fastgru import GRU, Gate, Linear, Model, Sequential
from fastgru.graph import Graph, Node, TensorSpec
from fastgru.serve.errors import ServeError
from fastgru.serve.fields import DATATYPES, Field, dtype_of
from fastgru.serve.models import Served
from fastgru.serve.refusals import no_sequences
from fastgru.serve.repository import Repository
from fastgru.serve.rows import Streams
from fastgru.serve.scheduler import Job, Scheduler
from fastgru.serve.settings import Settings
from fastgru.streaming import SessionPool


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(np.float32) / 2


def net() -> Model:
    gate = [Gate(normal(8, 8, seed=k), normal(8, 8, seed=k + 3)) for k in range(3)]
    gru = GRU.from_gates(reset=gate[0], update=gate[1], candidate=gate[2])
    return Model(Sequential(gru, Linear(normal(3, 8))).to_graph(initial_state=True))


def rows(op: str = "binary", **attrs: Any) -> Model:
    """Without a state: of each row, or of all rows together."""
    attrs = attrs or {"kind": "add"}
    node = Node(op, ("x", "x") if op == "binary" else ("x",), ("y",), attrs)
    return Model(
        Graph((TensorSpec("x", "float32", (None, 4)),), (TensorSpec("y", "float32", None),), (node,), {}),
    )


def serve(model: Model) -> Served:
    return Repository({"m": model}, Settings(capacity=16)).get("m")


def answers(served: Served, *frames: np.ndarray) -> list[Job]:
    async def work() -> list[Job]:
        scheduler, deadline = Scheduler(), time.monotonic_ns() + 60 * 10**9
        jobs = [Job(served, None, (x,), deadline, lambda job: None) for x in frames]
        done = await asyncio.gather(*map(scheduler.run, jobs))
        await scheduler.drain(1)
        return done

    return asyncio.run(work())


def test_states_are_not_among_what_requests_carry():
    served = serve(net())
    assert served.inputs == (Field("x", "FP32", np.dtype(np.float32), (-1, -1, 8)),)
    assert [field.shape for field in served.outputs] == [(-1, -1, 3)]
    assert (served.name, served.version, served.is_stateful) == ("m", "1", True)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ((), "got 0 inputs, expected 1: x"),
        ((np.zeros((1, 1, 7), np.float32),), r"input 'x': got float32 \[1, 1, 7\], expected float32 \[-1, -1, 8\]"),
        ((np.zeros((1, 8), np.float32),), r"got float32 \[1, 8\], expected float32 \[-1, -1, 8\]"),
        ((np.zeros((1, 1, 8)),), r"got float64 \[1, 1, 8\], expected float32"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_by_name(frames, message):
    served = serve(net())
    served.check((np.zeros((3, 2, 8), np.float32),))
    with pytest.raises(ServeError, match=message) as caught:
        served.check(frames)
    assert caught.value.status == 400


def test_rows_of_requests_without_a_state_run_together():
    served = serve(rows())
    frames = [normal(1, 4, seed=k) for k in range(7)]
    for done, x in zip(answers(served, *frames), frames, strict=True):
        np.testing.assert_array_equal(done.outputs[0], x + x)
    assert served.statistics.batches.keys() == {7}


@pytest.mark.parametrize("model", [rows(), rows("softmax", axis=0)])
def test_each_row_of_a_request_is_an_inference(model):
    served = serve(model)
    answers(served, *[normal(3, 4, seed=k) for k in range(5)], normal(1, 4))
    assert (served.statistics.requests, served.statistics.inferences) == (6, 16)
    answers(served, normal(3, 5))  # refused
    assert (served.counts.requests, served.counts.inferences) == (6, 16)


@pytest.mark.parametrize("steps", [1, 200])
def test_each_row_of_a_request_without_a_sequence_is_an_inference(steps):
    served = serve(net())
    answers(served, normal(steps, 3, 8), normal(steps, 1, 8), normal(steps, 100, 8))
    assert (served.statistics.requests, served.statistics.inferences) == (3, 104)


def test_rows_that_depend_on_one_another_do_not():
    served = serve(rows("softmax", axis=0))
    frames = [normal(3, 4, seed=k) for k in range(5)]
    for done, x in zip(answers(served, *frames), frames, strict=True):
        np.testing.assert_allclose(done.outputs[0].sum(0), 1, rtol=1e-5)
        np.testing.assert_array_equal(done.outputs[0], served.model(x))


@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_rows_that_depend_on_one_another_do_not_where_zeros_hide_it(dtype):
    """The frames of the trial before the first request are zeros, and so is what their mean is taken off."""
    nodes = (
        Node("cast", ("x",), ("f",), {"to": "float32"}),
        Node("reduce", ("f",), ("mean",), {"kind": "mean", "axes": [0], "keepdims": True}),
        Node("binary", ("f", "mean"), ("y",), {"kind": "sub"}),
    )
    graph = Graph((TensorSpec("x", dtype, (None, 4)),), (TensorSpec("y", "float32", None),), nodes, {})
    frames = [np.full((1, 4), k, dtype) for k in range(5)]
    for done in answers(serve(Model(graph)), *frames):
        np.testing.assert_array_equal(done.outputs[0], np.zeros((1, 4), np.float32))


def test_rows_of_ids_run_together():
    nodes = (Node("gather", ("table", "x"), ("y",), {"axis": 0}),)
    specs = TensorSpec("x", "int64", (None, 2)), TensorSpec("y", "float32", None)
    served = serve(Model(Graph(specs[:1], specs[1:], nodes, {"table": normal(3, 4)})))
    frames = [np.full((1, 2), k, np.int64) for k in range(3)]
    for done, x in zip(answers(served, *frames), frames, strict=True):
        np.testing.assert_array_equal(done.outputs[0], normal(3, 4)[x])
    assert served.statistics.batches.keys() == {3}


def summing(*shape: int) -> Model:
    """y is the sum of all frames."""
    nodes = (
        Node("binary", ("x", "s"), ("s_out",), {"kind": "add"}),
        Node("binary", ("x", "s"), ("y",), {"kind": "add"}),
    )
    specs = tuple(TensorSpec(name, "float32", shape) for name in ("x", "s"))
    outputs = tuple(TensorSpec(name, "float32", shape) for name in ("y", "s_out"))
    return Model(Graph(specs, outputs, nodes, {}, {"s": "s_out"}))


def check_against_streams(served: Served, *shape: int) -> None:
    async def work() -> None:
        scheduler, deadline = Scheduler(), time.monotonic_ns() + 60 * 10**9
        sessions, streams = [served.sessions.begin(k) for k in (1, 2, 3)], [served.model.stream() for _ in range(3)]
        for step in range(3):
            frames = [normal(*shape, seed=10 * step + k) for k in range(3)]
            jobs = [Job(served, s, (x,), deadline, lambda job: None) for s, x in zip(sessions, frames, strict=True)]
            for done, stream, x in zip(await asyncio.gather(*map(scheduler.run, jobs)), streams, frames, strict=True):
                np.testing.assert_array_equal(done.outputs[0], stream.push(x))
            (alone,) = [await scheduler.run(Job(served, None, (frames[0],), deadline, lambda job: None))]
            np.testing.assert_array_equal(alone.outputs[0], served.model.stream().push(frames[0]))
        fork = served.sessions.fork(sessions[0], 9)
        assert served.sessions.save(fork) == served.sessions.save(sessions[0]) == streams[0].save_state()
        await scheduler.drain(1)

    asyncio.run(work())


def test_the_sessions_of_a_model_of_a_fixed_batch_are_those_of_a_pool(shared_models):
    served = serve(fastgru.load(shared_models / "gtcrn" / "gtcrn_simple.onnx"))
    assert isinstance(served.pool, SessionPool)
    assert served.batch_axes == (0,)
    check_against_streams(served, 1, 257, 1, 2)
    assert max(served.statistics.batches) == 3


def test_sequences_of_a_model_of_a_fixed_batch_are_cut():
    graph = net().graph
    inputs = [replace(s, shape=(None, 1, 8) if s.name == "x" else (1, 1, 8)) for s in graph.inputs]
    served = serve(Model(replace(graph, inputs=tuple(inputs))))
    assert isinstance(served.pool, SessionPool)
    assert served.batch_axes == (1,)
    assert served.group((normal(300, 1, 8),), True).parts
    check_against_streams(served, 300, 1, 8)
    with pytest.raises(ServeError, match=r"expected float32 \[-1, 1, 8\]"):
        served.check((normal(1, 2, 8),))


def test_sessions_that_no_pool_takes_have_a_stream_each():
    served = serve(summing(2, 4))
    assert isinstance(served.pool, Streams)
    check_against_streams(served, 2, 4)


def test_there_are_as_many_sessions_as_memory_holds():
    model = summing(1, 1 << 21)
    served = Repository({"m": model}, Settings(capacity=1 << 28)).get("m")
    assert isinstance(served.pool, SessionPool)
    assert 0 < served.sessions.capacity < 1 << 28
    check_against_streams(served, 1, 1 << 21)


def test_the_index_knows_what_was_named_at_the_start(tmp_path: Path):
    path = tmp_path / "net.safetensors"
    net().save(path)
    models = Repository({"a": path, "b": net()}, Settings(capacity=4))
    assert models.index() == [("a", "1", "READY", ""), ("b", "1", "READY", "")]
    ended = []
    session = models.get("a").sessions.begin(1)
    session.on_end = ended.append
    models.unload("a")
    assert ended == ["unloaded"]
    assert session.ended == "unloaded"
    assert models.index()[0] == ("a", "1", "UNAVAILABLE", "unloaded")
    for name, version, message in (
        ("a", None, "is not loaded; the loaded models are b"),
        ("b", "2", "version '2',"),
        ("c", None, "'c'"),
    ):
        with pytest.raises(ServeError, match=message) as caught:
            models.get(name, version)
        assert caught.value.status == 404
    with pytest.raises(ServeError, match="was not named at the start; the models named then are a, b"):
        models.load("c")
    assert models.load("a") is models.get("a")
    assert len(models.get("a").sessions) == 0


def test_datatypes_are_those_of_the_protocol():
    for name, dtype in DATATYPES.items():
        assert dtype_of(name) == dtype
    for name in ("FP16", "BF16", "BYTES"):
        with pytest.raises(ServeError, match=f"'{name}': no model takes it; expected one of BOOL"):
            dtype_of(name)
    with pytest.raises(ServeError, match="there is no such datatype"):
        dtype_of("FP31")


def test_inputs_that_may_be_states_are_told(caplog: pytest.LogCaptureFixture):
    shape = (1, None, 4)
    x, h = TensorSpec("x", "float32", shape), TensorSpec("my_state", "float32", shape)
    node = Node("binary", ("x", "my_state"), ("y",), {"kind": "add"})
    graph = Graph((x, h), (TensorSpec("y", "float32", shape),), (node,), {})
    with caplog.at_level("WARNING", "fastgru.serve"):
        serve(Model(graph))
        serve(net())
        serve(Model(replace(graph, states={"my_state": "y"})))
    (line,) = caplog.messages
    assert "model m: my_state may be states" in line


def test_states_that_begin_inside_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    gate = [Gate(normal(8, 8, seed=k), normal(8, 8, seed=k + 3)) for k in range(3)]
    gru = GRU.from_gates(reset=gate[0], update=gate[1], candidate=gate[2])
    inside = Model(Sequential(gru).to_graph())
    inside.save(tmp_path / "m.safetensors")
    with caplog.at_level("INFO", "fastgru.serve"):
        served = serve(inside)
        opened = Repository({"m": tmp_path / "m.safetensors"}, Settings(open_states=True)).get("m")
        others = serve(net()), serve(rows())
    assert served.can_open
    assert not any(other.can_open for other in (opened, *others))
    (line,) = [line for line in caplog.messages if "states" in line]
    assert "model m: its states begin inside its file" in line
    message = str(no_sequences("m", served.can_open))
    assert message.startswith("model 'm' keeps no state, so it has no sequences; its states begin inside its file")
    assert "--open-states" not in str(no_sequences("m", can_open=False))

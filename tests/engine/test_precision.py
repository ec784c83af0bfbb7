"""Which node has weights of low precision, and what such a model is to its user."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from deep_model import deep, outputs
from hypothesis import given, settings
from hypothesis import strategies as st
from slowness import within

import fastgru
from fastgru.engine import Executable
from fastgru.errors import UnsupportedModelError
from fastgru.graph import Graph, Node, TensorSpec
from fastgru.precisions import AUTO, LOWP
from fastgru.reference.gru import gru_cell
from fastgru.reference.lowp import PRODUCTS, quantised, rounded
from fastgru.simd.target import TARGET, runnable
from fastgru.spec import GRUSpec, GRUWeights
from fastgru.streaming import SessionPool


def network(H):
    rng = np.random.default_rng(0)

    def uniform(*shape):
        return rng.uniform(-0.1, 0.1, shape).astype(np.float32)

    weights = {"weight_ih_l0": uniform(3 * H, 24), "weight_hh_l0": uniform(3 * H, H)}
    weights |= {"bias_ih_l0": uniform(3 * H), "bias_hh_l0": uniform(3 * H)}
    table = fastgru.Embedding(uniform(30, 24))
    return fastgru.Sequential(table, fastgru.GRU.from_torch(weights), fastgru.Linear(uniform(40, H))).to_graph()


@pytest.mark.parametrize("precision", LOWP)
def test_a_model_of_low_precision_has_float32_at_its_ends(precision):
    graph = network(128)
    model = fastgru.Model(graph, precision=precision)
    assert model.precision == precision
    assert [spec.dtype for spec in (*model.inputs, *model.outputs)] == ["int64", "float32"]
    ids = np.arange(12).reshape(6, 2)
    y = model(ids)
    assert y.dtype == np.float32
    exact = fastgru.Model(graph)(ids)
    assert 0 < np.abs(y - exact).max() < 0.02
    handlers = Executable(graph, precision=precision).program({"x": (6, 2)}).handlers
    for op in ("embedding", "gru_reset_after", "linear"):
        assert f"{op}_{precision}_float32" in handlers


def test_overrides_are_taken_at_their_word():
    graph = network(32)
    gru = next(node for node in graph.nodes if node.op == "gru")
    name = gru.outputs[0]
    chosen = Executable(graph, precision={name: "int8"}).weight_precisions
    assert {n: c.precision for n, c in chosen.items() if c.precision != "float32"} == {name: "int8"}
    with pytest.raises(UnsupportedModelError, match="nobody"):
        Executable(graph, precision={"nobody": "int8"})
    with pytest.raises(UnsupportedModelError, match="int4"):
        Executable(graph, precision={name: "int4"})
    with pytest.raises(UnsupportedModelError, match="cannot be int8 in a model that computes in float64"):
        Executable(graph, precision={"*": "float64", name: "int8"})


def test_one_plan_of_precisions_goes_from_the_call_to_the_packs():
    """What the model reports, what the lowerings ask and which layouts were packed are the same."""
    graph = network(128)
    executable = Executable(graph, precision={"*": "bfloat16", graph.nodes[-1].outputs[0]: "int8"})
    plan = executable.precisions
    assert executable.weight_precisions == plan.weights
    assert list(plan.lowp.values()) == ["bfloat16", "bfloat16", "int8"]
    assert [chosen.op for chosen in plan.weights.values()] == ["embedding", "gru", "linear"]
    executable.program({"x": (6, 2)})
    packed = {key: next(iter(set(key) & set(LOWP)), None) for key in executable._packs}
    assert set(packed.values()) >= {"bfloat16", "int8"}


@cache
def deep_model(precision, threads=1):
    return fastgru.Model(deep(), precision=precision, threads=threads)


@pytest.mark.parametrize("precision", LOWP)
def test_every_layer_of_a_model_is_the_definition_of_it(precision):
    graph = deep()
    inner = [name for node in graph.nodes for name in node.outputs[:1]]
    shown = replace(graph, outputs=tuple(TensorSpec(name, "float32", None) for name in inner), states={})
    executable = Executable(shown, precision=precision)
    assert {c.precision for c in executable.weight_precisions.values()} == {precision}
    ids = np.random.default_rng(2).integers(0, 30, (9, 5))
    feeds = {spec.name: np.zeros((1, 5, spec.shape[2]), np.float32) for spec in graph.inputs[1:]}
    got = list(executable.run({"x": ids, **feeds}).values())
    nodes = [node for node in graph.nodes if node.outputs[0] in inner]
    assert [node.op for node in nodes] == ["embedding", "gru", "gru", "linear"]
    table = graph.constants[nodes[0].inputs[1]]
    q, scale = quantised(table)
    kept = rounded(table) if precision == "bfloat16" else q.astype(np.float32) * scale[:, None]
    np.testing.assert_array_equal(got[0], kept[ids])
    for node, x, y in zip(nodes[1:3], got, got[1:], strict=False):
        spec = GRUSpec.from_dict(node.attrs["spec"])
        weights = GRUWeights(*(graph.constants.get(name) for name in node.inputs[4:8]))
        before = np.concatenate([np.zeros_like(y[:1]), y[:-1]]).astype(np.float64)
        flat = (x.astype(np.float64).reshape(-1, spec.input_size), before.reshape(-1, spec.hidden_size))
        wanted = gru_cell(spec, weights, *flat, product=PRODUCTS[precision]).reshape(y.shape)
        # r * h is rounded, too, which may fall on either side of a half.
        assert np.abs(y - wanted).max() <= (3e-6 if spec.reset_after else 3e-3 * np.abs(y).max())
    weight, bias = (graph.constants[name] for name in nodes[3].inputs[1:3])
    wanted = PRODUCTS[precision](got[2].astype(np.float64), weight.astype(np.float64)) + bias
    np.testing.assert_allclose(got[3], wanted, rtol=0, atol=3e-6)


@settings(max_examples=25, deadline=None)
@given(
    precision=st.sampled_from(LOWP),
    sizes=st.lists(st.integers(0, 6), min_size=1, max_size=5),
    N=st.integers(0, 13),
    threads=st.sampled_from([1, 2]),
    data=st.data(),
)
def test_rows_have_their_bits_in_any_chunks_company_and_team(precision, sizes, N, threads, data):
    ids = np.random.default_rng(N).integers(0, 30, (sum(sizes), N))
    model = deep_model(precision)
    states = {spec.name: np.zeros((1, N, spec.shape[2]), np.float32) for spec in model.inputs[1:]}
    y = next(iter(model.run({"x": ids, **states}).values()))
    assert y.shape == (sum(sizes), N, 64)
    other = deep_model(precision, threads)
    chunks = np.split(ids, np.cumsum(sizes)[:-1])
    if N:
        stream = other.stream(batch_size=N)
        np.testing.assert_array_equal(np.concatenate([stream.push(chunk) for chunk in chunks]), y)
        rows = data.draw(st.lists(st.integers(0, N - 1), min_size=1, max_size=15))
        feeds = {name: h[:, rows] for name, h in states.items()}
        alone = next(iter(other.run({"x": ids[:, rows], **feeds}).values()))
        np.testing.assert_array_equal(alone, y[:, rows])


@pytest.mark.parametrize("precision", LOWP)
def test_sessions_of_a_pool_have_the_bits_of_their_streams(precision):
    model, rng = deep_model(precision), np.random.default_rng(6)
    pool = SessionPool(model, 11)
    streams = {pool.open(): model.stream(1) for _ in range(11)}
    for _ in range(6):
        chosen = rng.permutation(pool.sessions)[: rng.integers(1, 12)].tolist()
        frames = {session: rng.integers(0, 30, (2, 1)) for session in chosen}
        for session, y in pool.push(frames).items():
            np.testing.assert_array_equal(y, streams[session].push(frames[session]))
    for session, stream in streams.items():
        assert pool.save(session) == stream.save_state()


@pytest.mark.parametrize("precision", LOWP)
def test_a_state_that_is_not_finite_stays_in_its_row(precision):
    model, ids = deep_model(precision), np.random.default_rng(3).integers(0, 30, (4, 6))
    states = {spec.name: np.zeros((1, 6, spec.shape[2]), np.float32) for spec in model.inputs[1:]}
    y = next(iter(model.run({"x": ids, **states}).values()))
    for name in states:
        spoilt = {**states, name: states[name].copy()}
        spoilt[name][0, 2, 5] = np.nan
        got = next(iter(model.run({"x": ids, **spoilt}).values()))
        np.testing.assert_array_equal(np.delete(got, 2, 1), np.delete(y, 2, 1))
        assert np.isnan(got[:, 2]).all()


@pytest.mark.parametrize("op", ["lstm", "rnn"])
def test_what_has_no_kernels_stays_in_float32_and_says_why(op):
    spec = {"input_size": 4, "hidden_size": 64}
    rows = 256 if op == "lstm" else 64
    weights = {"w": np.ones((rows, 4), np.float32), "u": np.ones((rows, 64), np.float32)}
    inputs = ("x", "", *([""] if op == "lstm" else []), "", "", "w", "u", "", "")
    graph = Graph(
        (TensorSpec("x", "float32", (None, None, 4)),),
        (TensorSpec("y", "float32", None),),
        (Node(op, inputs, ("y", *([""] * (2 if op == "lstm" else 1))), {"spec": spec}),),
        weights,
    )
    for asked in (*LOWP, *AUTO):
        (chosen,) = Executable(graph, precision=asked).weight_precisions.values()
        assert chosen.precision == "float32"
        assert f"no kernels for an {op.upper()}" in chosen.why
    with pytest.raises(UnsupportedModelError, match="no kernels"):
        Executable(graph, precision={"y": "int8"})


SMALL = [(1, 1, 1), (1, 1, 5), (1, 3, 2), (2, 1, 1), (3, 7, 1), (5, 2, 9), (17, 1, 33)]


@pytest.mark.parametrize("precision", LOWP)
@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize(("H", "I", "O"), SMALL)
def test_the_smallest_layers_are_the_definition_of_them(precision, reset_after, H, I, O):
    """Where a precision that is given is slower than float32, it has to be right all the same."""
    rng = np.random.default_rng(H * 100 + I)

    def normal(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    gates = {gate: (normal(H, I), normal(H, H), normal(H)) for gate in ("reset", "update", "candidate")}
    gru = fastgru.GRU.from_gates(
        **{gate: fastgru.Gate(*arrays) for gate, arrays in gates.items()}, reset_after=reset_after
    )
    weight, bias = normal(O, H), normal(O)
    graph = fastgru.Sequential(gru, fastgru.Linear(weight, bias)).to_graph()
    (node,) = (node for node in graph.nodes if node.op == "gru")
    spec = GRUSpec.from_dict(node.attrs["spec"])
    weights = GRUWeights(*(graph.constants.get(name) for name in node.inputs[4:8]))
    shown = replace(graph, outputs=(TensorSpec(node.outputs[0], "float32", None), *graph.outputs))
    executable = Executable(shown, precision=precision)
    assert {c.precision for c in executable.weight_precisions.values()} == {precision}
    product = PRODUCTS[precision]
    for T, N in ((1, 1), (4, 1), (3, 2), (2, 7)):
        x = normal(T, N, I)
        x[-1, -1] = 0
        h, y = executable.run({"x": x}).values()
        before = np.concatenate([np.zeros_like(h[:1]), h[:-1]]).astype(np.float64)
        flat = x.astype(np.float64).reshape(-1, I), before.reshape(-1, H)
        wanted = gru_cell(spec, weights, *flat, product=product).reshape(h.shape)
        # r * h is rounded, too, which may fall on either side of a half.
        np.testing.assert_allclose(h, wanted, rtol=0, atol=3e-6 if reset_after else 2e-2)
        wanted = product(h.astype(np.float64), weight.astype(np.float64)) + bias
        np.testing.assert_allclose(y, wanted, rtol=1e-6, atol=5e-6)


@pytest.mark.parametrize("level", [each.short for each in runnable() if each != TARGET and not each.features])
def test_a_model_in_int8_has_the_same_bits_on(level):
    paths = [str(Path(__file__).parent.parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "FASTGRU_TARGET": level, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-W", "error", str(Path(__file__).parent / "deep_model.py")]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=within(600), check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == level.encode() + b"\n" + outputs("int8")

"""Every form of the GRU, natively, against the definition; and networks of which only the GRUs are native."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from learn_cases import check_slopes, gru_of, near_a_kink

import fastgru
from fastgru import learn
from fastgru.learn.backward import backward, forward
from fastgru.learn.network import weight_names
from fastgru.learn.nodes import Nodes
from fastgru.learn.parts import Weights
from fastgru.learn.rows import Native
from fastgru.reference import run_graph
from fastgru.reference.gradients.gru import gru_back
from fastgru.reference.gru import gru
from fastgru.spec import ACTIVATIONS, Activation, GRUSpec

DOUBLE = {"precision": "float64"}
DIRECTIONS = ("forward", "reverse", "bidirectional")
NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
BOUNDS = {"float64": 1e-10, "float32": 1e-4}


def natively(graph, feeds, ups, dtype="float64", threads=1, gate_bytes=None):
    """Every value, and the gradients by name, the second time, when all arrays are used again."""
    native = Native(dtype, threads)
    weights = Weights(native, {name: np.asarray(graph.constants[name]) for name in weight_names(graph)})
    nodes = Nodes(native, weights, graph, gate_bytes)
    assert nodes.layers
    for _ in range(2):
        weights.flat_gradient[...] = 0
        nodes.begin(None, None)
        values = forward(graph, feeds, dtype, nodes)
        found = backward(graph, values, ups(values), nodes)
    found |= {name: found.get(name, 0) + a for name, a in weights.gradients.items()}
    return values, found


def close(found, expected, bound):
    assert np.abs(found - expected).max(initial=0) <= bound * np.abs(expected).max(initial=0) + 1e-300


def same(rng, graph, feeds, dtype="float64", **options):
    """Outputs and gradients of a random E, natively and by the definition."""
    values = forward(graph, feeds, "float64")
    ups = {spec.name: rng.standard_normal(values[spec.name].shape) for spec in graph.outputs}
    expected = backward(graph, values, ups)
    own, found = natively(graph, feeds, lambda got: {k: a.astype(dtype) for k, a in ups.items()}, dtype, **options)
    for name in ups:
        close(own[name], values[name], BOUNDS[dtype])
    asked = [*weight_names(graph), *(s.name for s in graph.inputs if s.name in expected and s.name != "x")]
    for name in asked:
        close(found[name], expected[name], BOUNDS[dtype])
    return found


@settings(max_examples=40, deadline=None)
@given(
    T=st.integers(1, 6), N=st.integers(1, 5), I=st.integers(1, 5), H=st.sampled_from([1, 3, 7, 16, 17]),
    layers=st.integers(1, 2), direction=st.sampled_from(DIRECTIONS), reset_after=st.booleans(),
    batch_first=st.booleans(), bias=st.booleans(), with_h0=st.booleans(), with_lengths=st.booleans(),
    gate_bytes=st.sampled_from([None, 1, 3000]), seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_every_form(
    T, N, I, H, layers, direction, reset_after, batch_first, bias, with_h0, with_lengths, gate_bytes, seed
):
    rng = np.random.default_rng(seed)
    D = 2 if direction == "bidirectional" else 1
    specs = [GRUSpec(i, H, direction, reset_after=reset_after, batch_first=batch_first) for i in [I, D * H][:layers]]
    net = gru_of(rng, *specs, bias=bias)
    graph = net.to_graph(rank=3, lengths=with_lengths, initial_state=with_h0)
    feeds = {"x": rng.standard_normal((N, T, I) if batch_first else (T, N, I))}
    feeds |= {name: rng.standard_normal((D, N, H)) for name in graph.states}
    feeds |= {"lengths": rng.integers(0, T + 1, N)} if with_lengths else {}
    same(rng, graph, feeds, gate_bytes=gate_bytes)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("kind", sorted(ACTIVATIONS))
def test_every_activation_and_a_clip(kind, reset_after, dtype, monkeypatch):
    rng = np.random.default_rng(list(ACTIVATIONS).index(kind))
    for alpha, beta in ((0.7, 0.4), (-0.6, 0.3), (0.0, 0.4)):
        one = Activation(kind, alpha, beta)
        for f, g, clip in ((one, Activation("tanh"), None), (Activation("sigmoid"), one, None), (one, one, 0.9)):
            spec = GRUSpec(3, 5, "bidirectional", reset_after=reset_after, gate_activations=(f, Activation("sigmoid")),
                           candidate_activations=(Activation("tanh"), g), clip=clip)  # fmt: skip
            for _ in range(200):  # alpha = 0 puts all of a hard_sigmoid at one value, and a kink nowhere
                graph = gru_of(rng, spec).to_graph(rank=3)
                feeds = {"x": rng.standard_normal((4, 3, 3))}
                if kind == "hard_sigmoid" and alpha == 0:
                    break
                if not near_a_kink(monkeypatch, spec, lambda g=graph, f=feeds: run_graph(g, f)):
                    break
            else:
                raise AssertionError("no point without a kink")
            same(rng, graph, feeds, dtype, gate_bytes=None if clip else 400)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("N", [1, 3, 32])
@pytest.mark.parametrize("H", [1, 7, 16, 33, 64, 256])
def test_sizes(H, N, dtype):
    rng = np.random.default_rng(H + N)
    for reset_after in (True, False):
        relu = {"candidate_activations": (Activation("relu"), Activation("softsign"))} if H % 2 else {}
        spec = GRUSpec(max(H // 2, 1), H, "bidirectional", reset_after=reset_after, **relu)
        if dtype == "float32" and H % 2:  # a kink of relu is nearer than float32 sees
            spec = replace(spec, candidate_activations=(Activation("softplus"), Activation("softsign")))
        same(rng, gru_of(rng, spec).to_graph(rank=3), {"x": rng.standard_normal((4, N, max(H // 2, 1)))}, dtype)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_thousand_steps(dtype):
    rng = np.random.default_rng(1)
    spec = GRUSpec(3, 16, "bidirectional", candidate_activations=(Activation("softsign"),) * 2)
    same(rng, gru_of(rng, spec).to_graph(rank=3), {"x": rng.standard_normal((1000, 3, 3))}, dtype, gate_bytes=100_000)


@pytest.mark.parametrize("mask_output", ["carry", "zero"])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_masks_lengths_and_last_states(direction, mask_output):
    rng = np.random.default_rng(5)
    T, N, H = 6, 4, 5
    spec = GRUSpec(3, H, direction, mask_output=mask_output)
    net, D = gru_of(rng, spec), spec.num_directions
    x, h0, mask = rng.standard_normal((T, N, 3)), rng.standard_normal((D, N, H)), rng.random((T, N)) < 0.6
    lengths = np.array([6, 0, 3, 5])
    up, up_last = rng.standard_normal((T, N, D * H)), rng.standard_normal((D, N, H))
    graph = net.to_graph(rank=3)
    native = Native("float64")
    weights = Weights(native, {name: np.asarray(graph.constants[name]) for name in weight_names(graph)})
    nodes = Nodes(native, weights, graph, None)
    nodes.begin(None, None)
    (node,) = graph.nodes
    inputs = [x, h0, lengths, mask, *(graph.constants[name] for name in node.inputs[4:])]
    outputs = nodes.compute(node, inputs)
    for own, expected in zip(outputs, gru(spec, net.weights[0], x, h0, lengths, mask), strict=True):
        close(own, expected, 1e-12)
    expected = gru_back(spec, net.weights[0], x, h0, up, up_last, lengths, mask)
    nodes._inputs = set()  # so that the gradient by x is asked for, too
    found = nodes.pull_back(node, inputs, outputs, [up, up_last])
    close(found[0], expected.x, 1e-12)
    close(found[1], expected.h0, 1e-12)
    for d, each in enumerate(expected.weights):
        for name, a in zip(NAMES, each, strict=True):
            close(weights.gradients[f"{name}_l0{'_reverse' if d else ''}"], a, 1e-12)


@pytest.mark.parametrize("gates", ["sigmoid", "hard_sigmoid"])
def test_bits_do_not_depend_on_threads(gates):
    rng = np.random.default_rng(2)
    spec = GRUSpec(5, 33, "bidirectional", gate_activations=(Activation(gates),) * 2)
    graph, feeds = gru_of(rng, spec).to_graph(rank=3), {"x": rng.standard_normal((20, 16, 5))}
    up = {"y": rng.standard_normal((20, 16, 66))}
    _, alone = natively(graph, feeds, lambda _: up)
    for threads in (2, 3, 5):
        _, found = natively(graph, feeds, lambda _: up, threads=threads)
        for name, a in alone.items():
            np.testing.assert_array_equal(found[name], a)


def test_central_differences_of_native_gradients():
    rng = np.random.default_rng(7)
    spec = GRUSpec(3, 4, "bidirectional", candidate_activations=(Activation("softplus"), Activation("elu", 0.5)))
    graph = gru_of(rng, spec).to_graph(rank=3)
    feeds, factors = {"x": rng.standard_normal((5, 2, 3))}, rng.standard_normal((5, 2, 8))
    _, found = natively(graph, feeds, lambda _: {"y": factors})
    check_slopes(rng, graph, feeds, factors, {name: found[name] for name in weight_names(graph)})


def networks(rng):
    """Networks that are no chain of parts: name, network, x, targets, loss."""
    r = rng.standard_normal
    gru_forms = [GRUSpec(4, 4, "bidirectional", reset_after=False, batch_first=True), GRUSpec(8, 4, "bidirectional",
                 clip=2.0, batch_first=True)]  # fmt: skip
    head = fastgru.Sequential(
        fastgru.Embedding(r((7, 4)), **DOUBLE), gru_of(rng, *gru_forms), fastgru.LastStep(batch_first=True, **DOUBLE),
        fastgru.Linear(r((3, 8)), r(3), **DOUBLE),
    )  # fmt: skip
    yield head, rng.integers(0, 7, (6, 5)), rng.integers(0, 3, 6), "cross_entropy"
    keras = fastgru.GRU.from_keras(r((3, 12)), r((4, 12)), r((2, 12)), go_backwards=True, activation="softsign",
                                   **DOUBLE)  # fmt: skip
    flipped = fastgru.Sequential(keras, gru_of(rng, GRUSpec(4, 4, batch_first=True)), fastgru.Softmax(-1, **DOUBLE))
    yield flipped, r((3, 5, 3)), rng.integers(0, 4, (3, 5)), "cross_entropy_of_probabilities"


@pytest.mark.parametrize("which", [0, 1])
def test_networks_around_native_grus(which):
    rng = np.random.default_rng(3)
    net, x, targets, loss = list(networks(rng))[which]
    expected = learn.gradients(net, x, targets, loss=loss, reduction="mean")
    found = learn.fit(net, (x, targets), loss=loss, optimizer=learn.SGD, lr=1.0, dtype="float64")
    assert found.native
    assert found.history[0].loss == pytest.approx(expected.loss, rel=1e-12)
    before, after = net.to_graph(rank=x.ndim).constants, found.net.to_graph(rank=x.ndim).constants
    for name, a in expected.weights.items():
        np.testing.assert_allclose(before[name] - after[name], a, rtol=0, atol=1e-9)


@pytest.mark.parametrize("batch_first", [False, True])
def test_a_model_without_a_state_carries_it_from_window_to_window(batch_first):
    """Also behind what is no part of a chain; windows change the gradient, not the loss of a rate of 0."""
    rng = np.random.default_rng(4)
    net = fastgru.Sequential(
        gru_of(rng, GRUSpec(3, 4, batch_first=batch_first)), fastgru.Softmax(-1, **DOUBLE),
    )  # fmt: skip
    x, targets = rng.standard_normal((12, 2, 3)), rng.integers(0, 4, (12, 2))
    data = (x.swapaxes(0, 1), targets.T) if batch_first else (x, targets)
    settings = {"loss": "cross_entropy_of_probabilities", "lr": 0.0, "dtype": "float64"}
    whole = learn.fit(net, data, **settings).history[0].loss
    for one in (net, fastgru.Model(net.to_graph(), **DOUBLE), net.to_graph()):
        parts = [step.loss for step in learn.fit(one, data, window=4, **settings).history]
        assert len(parts) == 3
        assert np.mean(parts) == pytest.approx(whole, rel=1e-12)


def test_an_initial_state_of_the_model_learns_too():
    rng = np.random.default_rng(8)
    net = gru_of(rng, GRUSpec(3, 4))
    graph = net.to_graph(rank=3)
    (node,) = graph.nodes
    inputs = (node.inputs[0], "begin", *node.inputs[2:])
    made = replace(graph, nodes=(replace(node, inputs=inputs),), constants={
        **graph.constants, "begin": rng.standard_normal((1, 2, 4))})  # fmt: skip
    x, targets = rng.standard_normal((5, 2, 3)), rng.standard_normal((5, 2, 4))
    expected = learn.gradients(made, x, targets, loss="squared_error", reduction="mean")
    found = learn.fit(made, (x, targets), loss="squared_error", optimizer=learn.SGD, lr=1.0, dtype="float64")
    for name, a in expected.weights.items():
        np.testing.assert_allclose(made.constants[name] - found.net.constants[name], a, rtol=0, atol=1e-10)
    assert np.abs(expected.weights["begin"]).max() > 0

"""Gradients of every form of the GRU, and of the layers around it, against central differences in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from learn_cases import check_slopes, gru_of, linear_loss, near_a_kink, weighed, weights_of

import fastgru
from fastgru import learn
from fastgru.reference.gradients.gru import gru_back
from fastgru.reference.gru import gru
from fastgru.spec import ACTIVATIONS, Activation, GRUSpec

DIRECTIONS = ("forward", "reverse", "bidirectional")


def checked(rng, net, feeds, *, lengths=None, entries=130):
    """The gradients of a random loss, held against differences."""
    more = {} if lengths is None else {"lengths": lengths}
    rank = feeds["x"].ndim
    graph = net.to_graph(rank=rank, lengths=lengths is not None, initial_state=len(feeds) > 1)
    y = fastgru.reference.run_graph(graph, {**feeds, **more})["y"]
    factors = rng.standard_normal(y.shape)
    found = learn.gradients(net, feeds, factors, loss=linear_loss, lengths=lengths)
    if lengths is not None and y.ndim == 3:  # what is beyond a row's length does not count
        factors = factors * (found.output != 0)
    assert found.loss == pytest.approx(weighed(graph, {**feeds, **more}, factors), rel=1e-12, abs=1e-12)
    check_slopes(rng, graph, {**feeds, **more}, factors, {**found.weights, **found.inputs}, entries)
    return found


@settings(max_examples=25, deadline=None)
@given(
    T=st.integers(1, 5),
    N=st.integers(1, 3),
    I=st.integers(1, 4),
    H=st.integers(1, 4),
    layers=st.integers(1, 2),
    direction=st.sampled_from(DIRECTIONS),
    reset_after=st.booleans(),
    batch_first=st.booleans(),
    bias=st.booleans(),
    with_h0=st.booleans(),
    with_lengths=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_form(T, N, I, H, layers, direction, reset_after, batch_first, bias, with_h0, with_lengths, seed):
    rng = np.random.default_rng(seed)
    D = 2 if direction == "bidirectional" else 1
    sizes = [I, *[D * H] * (layers - 1)]
    specs = [GRUSpec(i, H, direction, reset_after=reset_after, batch_first=batch_first) for i in sizes]
    feeds = {"x": rng.standard_normal((N, T, I) if batch_first else (T, N, I))}
    if with_h0:
        tails = [""] if layers == 1 else [f"_{k}" for k in range(layers)]
        feeds.update({f"h0{tail}": rng.standard_normal((D, N, H)) for tail in tails})
    lengths = rng.integers(0, T + 1, N) if with_lengths else None
    checked(rng, gru_of(rng, *specs, bias=bias), feeds, lengths=lengths, entries=60)


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("kind", sorted(ACTIVATIONS))
def test_every_activation_as_gate_and_as_candidate_and_with_a_clip(kind, reset_after, monkeypatch):
    rng = np.random.default_rng(list(ACTIVATIONS).index(kind))
    one = Activation(kind, 0.7, 0.4)
    for f, g, clip in ((one, Activation("tanh"), None), (Activation("sigmoid"), one, None), (one, one, 0.9)):
        spec = GRUSpec(3, 4, reset_after=reset_after, gate_activations=(f,), candidate_activations=(g,), clip=clip)
        while True:
            net, feeds = gru_of(rng, spec), {"x": rng.standard_normal((4, 2, 3))}
            graph = net.to_graph()
            if not near_a_kink(monkeypatch, spec, lambda g=graph, f=feeds: fastgru.reference.run_graph(g, f)):
                break
        checked(rng, net, feeds)


@pytest.mark.parametrize("N", [1, 3, 32])
@pytest.mark.parametrize("H", [1, 7, 16, 33, 64, 256])
@pytest.mark.parametrize("reset_after", [True, False])
def test_sizes(H, N, reset_after):
    rng = np.random.default_rng(H + N)
    net = gru_of(rng, GRUSpec(max(H // 2, 1), H, "bidirectional", reset_after=reset_after))
    checked(
        rng, net, {"x": rng.standard_normal((4, N, max(H // 2, 1))), "h0": rng.standard_normal((2, N, H))}, entries=20
    )


@pytest.mark.parametrize("T", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_long_sequences(T):
    rng = np.random.default_rng(T)
    checked(rng, gru_of(rng, GRUSpec(3, 7)), {"x": rng.standard_normal((T, 2, 3))}, entries=0)


@pytest.mark.parametrize("mask_output", ["carry", "zero"])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_hidden_steps(direction, mask_output):
    """A mask, lengths and gradients by the last states, which no loss of y alone shows."""
    rng = np.random.default_rng(5)
    T, N = 6, 4
    spec = GRUSpec(3, 4, direction, mask_output=mask_output)
    weights, D = weights_of(rng, spec), spec.num_directions
    x, h0, mask = rng.standard_normal((T, N, 3)), rng.standard_normal((D, N, 4)), rng.random((T, N)) < 0.6
    lengths = np.array([6, 0, 3, 5])
    up, up_last = rng.standard_normal((T, N, D * 4)), rng.standard_normal((D, N, 4))

    def value(x, h0):
        y, h_n = gru(spec, weights, x, h0, lengths, mask)
        return np.sum(y * up) + np.sum(h_n * up_last)

    found = gru_back(spec, weights, x, h0, up, up_last, lengths, mask)
    for moved, gradient in ((x, found.x), (h0, found.h0)):
        for k in range(moved.size):
            along = np.zeros(moved.size)
            along[k] = 1e-5
            along = along.reshape(moved.shape)
            pairs = [(x + s * along, h0) if moved is x else (x, h0 + s * along) for s in (1, -1)]
            slope = (value(*pairs[0]) - value(*pairs[1])) / 2e-5
            assert slope == pytest.approx(gradient.reshape(-1)[k], abs=1e-6 * np.abs(gradient).max())


def test_the_layers_around_a_gru():
    rng = np.random.default_rng(8)
    double = {"precision": "float64"}
    r = rng.standard_normal
    net = fastgru.Sequential(
        fastgru.Linear(r((4, 4)), r(4), **double),
        fastgru.BatchNorm1d(r(5), rng.random(5) + 0.5, r(5), r(5), **double),  # over the 5 steps, which are on axis 1
        gru_of(rng, GRUSpec(4, 4, batch_first=True)),
        fastgru.LayerNorm(4, r(4), r(4), **double),
        fastgru.SiLU(**double), fastgru.GELU(**double), fastgru.Softplus(1.5, **double), fastgru.Dropout(**double),
        fastgru.Softmax(2, **double), fastgru.Linear(r((3, 4)), None, **double), fastgru.LogSoftmax(-1, **double),
    )  # fmt: skip
    found = checked(rng, net, {"x": r((2, 5, 4))})
    assert "1.running_mean" not in found.weights
    assert set(found.weights) >= {"0.weight", "0.bias", "1.weight", "2.weight_ih_l0", "3.weight", "3.bias"}


@pytest.mark.parametrize("layer", [fastgru.ReLU, fastgru.ELU, fastgru.LeakyReLU, fastgru.SELU, fastgru.Hardswish,
                                   fastgru.Hardsigmoid, fastgru.Sigmoid, fastgru.Tanh, fastgru.Softsign])  # fmt: skip
def test_activations_as_layers(layer):
    rng = np.random.default_rng(2)
    x = rng.uniform(0.01, 4, (5, 3)) * rng.choice([-1, 1], (5, 3))
    x[np.abs(np.abs(x) - 3) < 1e-3] = 1
    checked(rng, fastgru.Sequential(layer(precision="float64")), {"x": x})


def test_a_head_on_the_last_step_and_an_output_that_is_flipped():
    rng = np.random.default_rng(3)
    double = {"precision": "float64"}
    arrays = [rng.standard_normal(shape) for shape in ((3, 12), (4, 12), (2, 12))]
    keras = fastgru.GRU.from_keras(*arrays, go_backwards=True, **double)
    net = fastgru.Sequential(
        keras, fastgru.PReLU(rng.random(5), **double), gru_of(rng, GRUSpec(4, 4, batch_first=True)),
        fastgru.LastStep(batch_first=True, **double), fastgru.Linear(rng.standard_normal((2, 4)), **double),
    )  # fmt: skip
    x = rng.standard_normal((3, 5, 3))
    found = checked(rng, net, {"x": x}, lengths=np.array([5, 2, 4]))
    assert found.steps.shape == (1,)


def test_a_layer_used_twice_has_the_sum_of_its_gradients():
    rng = np.random.default_rng(4)
    linear, relu = fastgru.Linear(rng.standard_normal((3, 3)), precision="float64"), fastgru.Tanh(precision="float64")
    found = checked(rng, fastgru.Sequential(linear, relu, linear), {"x": rng.standard_normal((4, 3))})
    assert list(found.weights) == ["0.weight"]


def test_the_steps_gradients_add_up_to_the_gradient():
    """dE/dW is the sum over t of dE_t/dW, and E_t depends on no step after t."""
    rng = np.random.default_rng(9)
    double = {"precision": "float64"}
    net = fastgru.Sequential(
        fastgru.Embedding(rng.standard_normal((6, 5)), **double), gru_of(rng, GRUSpec(5, 7), GRUSpec(7, 7)),
        fastgru.Linear(rng.standard_normal((6, 7)), rng.standard_normal(6), **double),
    )  # fmt: skip
    ids, targets = rng.integers(0, 6, (8, 3)), rng.integers(0, 6, (8, 3))
    found = learn.gradients(net, ids, targets, by_step=True)
    assert found.loss == pytest.approx(found.steps.sum(), rel=1e-14)
    assert len(found.by_step) == 8
    for name, whole in found.weights.items():
        parts = sum(weights[name] for weights, _ in found.by_step)
        np.testing.assert_allclose(parts, whole, rtol=0, atol=1e-13 * max(1, np.abs(whole).max()))
    x = rng.standard_normal((8, 3, 5))
    rest = fastgru.Sequential(*net.layers[1:])
    for t, (_, inputs) in enumerate(learn.gradients(rest, x, targets, by_step=True).by_step):
        assert inputs["x"][: t + 1].any()
        assert not inputs["x"][t + 1 :].any()


@pytest.mark.parametrize("batch_first", [True, False])
def test_lengths_stand_for_sequences_of_these_lengths(batch_first):
    rng = np.random.default_rng(11)
    net = fastgru.Sequential(
        gru_of(rng, GRUSpec(3, 4, "bidirectional", batch_first=batch_first)),
        fastgru.Linear(rng.standard_normal((5, 8)), precision="float64"),
    )
    lengths, x, targets = np.array([4, 0, 6]), rng.standard_normal((3, 6, 3)), rng.integers(0, 5, (3, 6))
    x[0, 4:], targets[0, 4:] = np.nan, -100  # nobody reads it
    x[1], targets[1] = np.inf, 99

    def turned(a):
        return a if batch_first else a.swapaxes(0, 1)

    found = learn.gradients(net, turned(x), turned(targets), lengths=lengths)
    apart = [
        learn.gradients(net, turned(x[n : n + 1, :k]), turned(targets[n : n + 1, :k]))
        for n, k in enumerate(lengths)
        if k
    ]
    assert found.loss == pytest.approx(sum(one.loss for one in apart), rel=1e-13)
    for name, whole in found.weights.items():
        np.testing.assert_allclose(sum(one.weights[name] for one in apart), whole, rtol=0, atol=1e-12)
    mean = learn.gradients(net, turned(x), turned(targets), lengths=lengths, reduction="mean")
    assert mean.loss == pytest.approx(found.loss / 10, rel=1e-13)
    np.testing.assert_allclose(mean.weights["1.weight"], found.weights["1.weight"] / 10, rtol=1e-12)


def test_a_mask_leaves_places_out():
    rng = np.random.default_rng(12)
    net, x = gru_of(rng, GRUSpec(3, 4)), rng.standard_normal((5, 2, 3))
    targets, mask = rng.standard_normal((5, 2, 4)), rng.random((5, 2)) < 0.5
    found = learn.gradients(net, x, targets, loss="squared_error", mask=mask)
    expected = ((found.output - targets) ** 2).sum(-1) * mask
    np.testing.assert_allclose(found.steps, expected.sum(axis=1), rtol=1e-13)


def test_a_model_has_the_gradients_of_the_layers_it_was_made_of(tmp_path):
    rng = np.random.default_rng(13)
    net = fastgru.Sequential(
        gru_of(rng, GRUSpec(3, 4)),
        fastgru.Linear(rng.standard_normal((5, 4)), rng.standard_normal(5), precision="float64"),
    )
    x, targets = rng.standard_normal((6, 2, 3)), rng.integers(0, 5, (6, 2))
    mine = learn.gradients(net, x, targets)
    model = fastgru.Model(net.to_graph(), precision="float64")
    again = learn.gradients(model, x, targets)
    assert again.loss == mine.loss
    for name, gradient in mine.weights.items():
        np.testing.assert_array_equal(again.weights[name], gradient)
    from_file = fastgru.load(net.to_onnx())
    read = learn.gradients(from_file, x, targets)
    assert read.loss == pytest.approx(mine.loss, rel=1e-12)
    np.testing.assert_allclose(read.steps, mine.steps, rtol=1e-12)
    np.testing.assert_allclose(read.inputs["x"], mine.inputs["x"], rtol=0, atol=1e-12)
    single = learn.gradients(net, x, targets, dtype="float32")
    assert single.weights["1.weight"].dtype == np.float32
    np.testing.assert_allclose(single.weights["1.weight"], mine.weights["1.weight"], rtol=0, atol=1e-5)

"""dh_t/dh_{t-1}: its formula, its products, and the three cases of the textbook."""

from __future__ import annotations

import numpy as np
import pytest
from learn_cases import gru_of, linear_loss, weights_of

import fastgru
from fastgru import learn
from fastgru.errors import ShapeError, StateError, UnsupportedModelError
from fastgru.reference.gradients.gru import gru_cell_jacobians
from fastgru.reference.gru import gru, gru_cell
from fastgru.spec import Activation, GRUSpec, GRUWeights


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("clip", [None, 0.8])
@pytest.mark.parametrize("kind", ["tanh", "sigmoid", "softsign"])
def test_the_formula_of_one_step_against_differences(reset_after, clip, kind):
    rng = np.random.default_rng(1)
    spec = GRUSpec(3, 5, reset_after=reset_after, candidate_activations=(Activation(kind),), clip=clip)
    (w,) = weights_of(rng, spec)
    x, h = rng.standard_normal((2, 3)), rng.standard_normal((2, 5))
    by_h, by_x = gru_cell_jacobians(spec, w, x, h)
    assert by_h.shape == (2, 5, 5)
    assert by_x.shape == (2, 5, 3)
    for j in range(5):
        e = 1e-6 * np.eye(5)[j]
        slope = (gru_cell(spec, w, x, h + e) - gru_cell(spec, w, x, h - e)) / 2e-6
        np.testing.assert_allclose(by_h[:, :, j], slope, rtol=0, atol=1e-8)
    for j in range(3):
        e = 1e-6 * np.eye(3)[j]
        slope = (gru_cell(spec, w, x + e, h) - gru_cell(spec, w, x - e, h)) / 2e-6
        np.testing.assert_allclose(by_x[:, :, j], slope, rtol=0, atol=1e-8)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("reset_after", [True, False])
def test_a_networks_jacobians_are_those_of_its_steps(reset_after, batch_first):
    rng = np.random.default_rng(2)
    spec = GRUSpec(3, 5, reset_after=reset_after, batch_first=batch_first)
    net, x, h0 = gru_of(rng, spec), rng.standard_normal((4, 2, 3)), rng.standard_normal((1, 2, 5))
    found = learn.jacobians(net, x.swapaxes(0, 1) if batch_first else x, {"h0": h0})
    h = h0[0]
    for t in range(4):
        expected, _ = gru_cell_jacobians(spec, net.weights[0][0], x[t], h)
        np.testing.assert_allclose(found[t], expected, rtol=0, atol=1e-14)
        h = gru_cell(spec, net.weights[0][0], x[t], h)


def test_the_product_of_the_steps_is_the_jacobian_of_the_run():
    rng = np.random.default_rng(3)
    net = fastgru.Sequential(gru_of(rng, GRUSpec(3, 4)), fastgru.Tanh(precision="float64"), gru_of(rng, GRUSpec(4, 2)))
    T, N, x = 6, 2, rng.standard_normal((6, 2, 3))
    steps = learn.jacobians(net, x)
    assert steps.shape == (T, N, 6, 6)
    assert not steps[:, :, :4, 4:].any(), "a layer does not depend on the state of one above it"
    graph = net.to_graph(initial_state=True)
    feeds = {"x": x, "h0_0": np.zeros((1, N, 4)), "h0_1": np.zeros((1, N, 2))}

    def last(feeds):
        outs = fastgru.reference.run_graph(graph, feeds)
        return np.concatenate([outs["h_n_0"][0], outs["h_n_1"][0]], axis=1)

    whole = learn.product(steps)
    for j in range(6):
        name, unit = ("h0_0", j) if j < 4 else ("h0_1", j - 4)
        e = np.zeros_like(feeds[name])
        e[0, :, unit] = 1e-5
        slope = (last({**feeds, name: e}) - last({**feeds, name: -e})) / 2e-5
        np.testing.assert_allclose(whole[:, :, j], slope, rtol=0, atol=1e-6 * np.abs(whole).max())
    first, second = learn.product(steps, 0, 2), learn.product(steps, 2)
    np.testing.assert_allclose(second @ first, whole, rtol=0, atol=1e-15)
    np.testing.assert_array_equal(learn.product(steps, 3, 3), np.broadcast_to(np.eye(6), (N, 6, 6)))


def saturated(r: float, z: float, *, reset_after: bool, H: int = 4, I: int = 3) -> tuple[GRUSpec, GRUWeights]:
    """Gates held at 0 or 1 by biases of 1,000, where float64 has neither anything between nor a slope."""
    rng = np.random.default_rng(4)
    spec = GRUSpec(I, H, reset_after=reset_after)
    (w,) = weights_of(rng, spec)
    w.bias_ih[:H], w.bias_ih[H : 2 * H] = 1000 * (2 * r - 1), 1000 * (2 * z - 1)
    return spec, w


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("r", [0, 1])
def test_update_gate_at_one_keeps_the_state_and_the_gradient(r, reset_after):
    """z = 1: h' = h. The Jacobian is the identity, over any number of steps, and the input changes nothing."""
    spec, w = saturated(r, 1, reset_after=reset_after)
    rng = np.random.default_rng(5)
    x, h0, factors = rng.standard_normal((50, 2, 3)), rng.standard_normal((1, 2, 4)), rng.standard_normal((50, 2, 4))
    net = fastgru.GRU([spec], [(w,)], precision="float64")
    np.testing.assert_array_equal(gru(spec, [w], x, h0)[1], h0)
    steps = learn.jacobians(net, x, {"h0": h0})
    np.testing.assert_array_equal(steps, np.broadcast_to(np.eye(4), steps.shape))
    found = learn.gradients(net, {"x": x, "h0": h0}, factors, loss=linear_loss)
    total = np.zeros((2, 4))
    for step in factors[::-1]:
        total = total + step
    np.testing.assert_array_equal(found.inputs["h0"][0], total)
    assert not found.inputs["x"].any()
    assert not any(a.any() for a in found.weights.values())


@pytest.mark.parametrize("reset_after", [True, False])
def test_update_and_reset_gate_at_zero_forget(reset_after):
    """z = 0 and r = 0: h' = g(x Wn^T + b), a layer without a past: nothing comes through from before."""
    spec, w = saturated(0, 0, reset_after=reset_after)
    rng = np.random.default_rng(6)
    x, h0, factors = rng.standard_normal((5, 2, 3)), rng.standard_normal((1, 2, 4)), rng.standard_normal((5, 2, 4))
    net = fastgru.GRU([spec], [(w,)], precision="float64")
    assert not learn.jacobians(net, x, {"h0": h0}).any()
    found = learn.gradients(net, {"x": x, "h0": h0}, factors, loss=linear_loss, by_step=True)
    assert not found.inputs["h0"].any()
    assert not found.weights["weight_hh_l0"].any()
    bias = w.bias_ih[8:] + (0 if reset_after else w.bias_hh[8:])
    n = np.tanh(x @ w.weight_ih[8:].T + bias)
    np.testing.assert_allclose(found.output, n, rtol=0, atol=1e-15)
    np.testing.assert_allclose(found.inputs["x"], (factors * (1 - n**2)) @ w.weight_ih[8:], rtol=0, atol=1e-14)
    for t, (_, inputs) in enumerate(found.by_step):
        assert np.flatnonzero(inputs["x"].any(axis=(1, 2))).tolist() == [t]


@pytest.mark.parametrize("reset_after", [True, False])
def test_update_gate_at_zero_and_reset_gate_at_one_are_the_simple_recurrent_network(reset_after):
    """z = 0 and r = 1: h' = g(x Wn^T + h Rn^T + b), and dh'/dh = diag(1 - h'^2) Rn."""
    spec, w = saturated(1, 0, reset_after=reset_after)
    rng = np.random.default_rng(7)
    x, h0 = rng.standard_normal((6, 2, 3)), rng.standard_normal((1, 2, 4))
    net = fastgru.GRU([spec], [(w,)], precision="float64")
    steps, y = learn.jacobians(net, x, {"h0": h0}), gru(spec, [w], x, h0)[0]
    h = h0[0]
    for t in range(6):
        h = np.tanh(x[t] @ w.weight_ih[8:].T + w.bias_ih[8:] + (h @ w.weight_hh[8:].T + w.bias_hh[8:]))
        np.testing.assert_allclose(y[t], h, rtol=0, atol=1e-15)
        np.testing.assert_allclose(steps[t], (1 - h**2)[:, :, None] * w.weight_hh[8:], rtol=0, atol=1e-15)


def test_what_has_no_jacobian_is_refused_by_name():
    rng = np.random.default_rng(8)
    with pytest.raises(StateError, match="no recurrent layer"):
        learn.jacobians(fastgru.Sequential(fastgru.Linear(rng.standard_normal((3, 3)))), np.zeros((2, 1, 3)))
    with pytest.raises(UnsupportedModelError, match="direction is 'bidirectional'"):
        learn.jacobians(gru_of(rng, GRUSpec(3, 2, "bidirectional")), np.zeros((2, 1, 3)))
    net = gru_of(rng, GRUSpec(3, 2))
    with pytest.raises(ShapeError, match="h0: got h1"):
        learn.jacobians(net, np.zeros((2, 1, 3)), {"h1": np.zeros((1, 1, 2))})
    with pytest.raises(ShapeError, match=r"h0: got shape \(1, 2, 2\), expected \(1, 1, 2\)"):
        learn.jacobians(net, np.zeros((2, 1, 3)), {"h0": np.zeros((1, 2, 2))})
    with pytest.raises(ShapeError, match=r"x: got shape \(2, 3\), expected 3 axes"):
        learn.jacobians(net, np.zeros((2, 3)))
    with pytest.raises(ShapeError, match="x: 1 of 6 values are NaN"):
        learn.jacobians(net, np.where(np.arange(6).reshape(2, 1, 3) == 4, np.nan, 0))
    with pytest.raises(ShapeError, match=r"expected \(T, N, S, S\)"):
        learn.product(np.zeros((3, 3)))
    assert learn.jacobians(net, np.zeros((0, 1, 3))).shape == (0, 1, 2, 2)

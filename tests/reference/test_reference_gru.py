"""The GRU definition against ONNX Runtime, against torch, and against loops over plain floats."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_node import run_onnx

from fastgru.conventions import activation_from_onnx, from_onnx_gates
from fastgru.errors import ShapeError, SpecError
from fastgru.reference.gru import gru, gru_cell
from fastgru.spec import ACTIVATIONS, Activation, GRUSpec, GRUWeights

SIZES = st.integers(1, 6)


def random_weights(rng, spec, scale=0.5):
    H, I = spec.hidden_size, spec.input_size
    shapes = [(3 * H, I), (3 * H, H), (3 * H,), (3 * H,)]
    return [GRUWeights(*(scale * rng.standard_normal(s) for s in shapes)) for _ in range(spec.num_directions)]


@settings(max_examples=60, deadline=None)
@given(
    T=SIZES,
    N=st.integers(1, 9),
    I=SIZES,
    H=SIZES,
    direction=st.sampled_from(["forward", "reverse", "bidirectional"]),
    linear_before_reset=st.integers(0, 1),
    with_bias=st.booleans(),
    with_h0=st.booleans(),
    with_lengths=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_onnxruntime(T, N, I, H, direction, linear_before_reset, with_bias, with_h0, with_lengths, seed):
    rng = np.random.default_rng(seed)
    D = 2 if direction == "bidirectional" else 1
    X, W, R, B, h0 = (
        0.5 * rng.standard_normal(s).astype(np.float32)
        for s in [(T, N, I), (D, 3 * H, I), (D, 3 * H, H), (D, 6 * H), (D, N, H)]
    )
    lengths = rng.integers(1, T + 1, N).astype(np.int32)
    inputs = [X, W, R, B if with_bias else None, lengths if with_lengths else None, h0 if with_h0 else None]
    attributes = {"hidden_size": H, "direction": direction, "linear_before_reset": linear_before_reset}
    Y, Y_h = run_onnx("GRU", inputs, num_outputs=2, **attributes)

    spec = GRUSpec(I, H, direction, reset_after=bool(linear_before_reset))
    weights = from_onnx_gates(W, R, B if with_bias else None)
    y, h_n = gru(spec, weights, X.astype(np.float64), h0 if with_h0 else None, lengths if with_lengths else None)
    np.testing.assert_allclose(y, Y.transpose(0, 2, 1, 3).reshape(T, N, D * H), rtol=0, atol=2e-6)
    np.testing.assert_allclose(h_n, Y_h, rtol=0, atol=2e-6)


@pytest.mark.parametrize("linear_before_reset", [0, 1])
@pytest.mark.parametrize("name", ["LeakyRelu", "Relu", "HardSigmoid", "Elu", "Softsign", "Softplus", "ScaledTanh",
                                  "ThresholdedRelu", "Affine"])  # fmt: skip
def test_onnxruntime_candidate_activations(name, linear_before_reset):
    rng = np.random.default_rng(5)
    X, W, R, B = (0.5 * rng.standard_normal(s).astype(np.float32) for s in [(4, 2, 3), (1, 15, 3), (1, 15, 5), (1, 30)])
    activation = activation_from_onnx(name, 0.4, 0.3)
    attributes = {"hidden_size": 5, "linear_before_reset": linear_before_reset, "activations": ["Sigmoid", name]}
    if activation.alpha:
        attributes["activation_alpha"] = [activation.alpha]
    if activation.beta:
        attributes["activation_beta"] = [activation.beta]
    Y, _ = run_onnx("GRU", [X, W, R, B], num_outputs=2, **attributes)
    spec = GRUSpec(3, 5, reset_after=bool(linear_before_reset), candidate_activations=(activation,))
    y, _ = gru(spec, from_onnx_gates(W, R, B), X.astype(np.float64))
    np.testing.assert_allclose(y, Y[:, 0], rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_torch(num_layers, bidirectional):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    net = torch.nn.GRU(3, 5, num_layers, bidirectional=bidirectional, dtype=torch.float64)
    x = torch.randn(6, 4, 3, dtype=torch.float64)
    h0 = torch.randn(num_layers * (1 + bidirectional), 4, 5, dtype=torch.float64)
    with torch.no_grad():
        expected, expected_h = (a.numpy() for a in net(x, h0))
    state = {k: v.numpy() for k, v in net.state_dict().items()}
    D = 1 + bidirectional
    y, h_n = x.numpy(), []
    for layer in range(num_layers):
        spec = GRUSpec(y.shape[2], 5, "bidirectional" if bidirectional else "forward")
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        weights = [GRUWeights(*(state[f"{n}_l{layer}{suffix}"] for n in names)) for suffix in ("", "_reverse")[:D]]
        y, h = gru(spec, weights, y, h0.numpy()[D * layer : D * layer + D])
        h_n.append(h)
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(np.concatenate(h_n), expected_h, rtol=0, atol=1e-12)


def scalar_activation(activation: Activation, x: float) -> float:
    a, b = activation.alpha, activation.beta
    return {
        "affine": lambda: a * x + b,
        "elu": lambda: x if x >= 0 else a * (math.exp(x) - 1),
        "hard_sigmoid": lambda: min(max(a * x + b, 0.0), 1.0),
        "leaky_relu": lambda: x if x >= 0 else a * x,
        "relu": lambda: max(x, 0.0),
        "scaled_tanh": lambda: a * math.tanh(b * x),
        "sigmoid": lambda: 1 / (1 + math.exp(-x)),
        "softplus": lambda: math.log(1 + math.exp(x)),
        "softsign": lambda: x / (1 + abs(x)),
        "tanh": lambda: math.tanh(x),
        "thresholded_relu": lambda: x if x > a else 0.0,
    }[activation.kind]()


def scalar_step(spec, w, x, h, d, update_gate):
    """One row, one step, gate by gate and unit by unit."""
    H, I = spec.hidden_size, spec.input_size
    f, g = spec.gate_activations[d], spec.candidate_activations[d]

    def limited(value):
        return value if spec.clip is None else min(max(value, -spec.clip), spec.clip)

    def part(row, state):
        from_x = sum(w.weight_ih[row, i] * x[i] for i in range(I)) + w.bias_ih[row]
        from_h = sum(w.weight_hh[row, j] * state[j] for j in range(H)) + w.bias_hh[row]
        return from_x, from_h

    r = [scalar_activation(f, limited(sum(part(j, h)))) for j in range(H)]
    z = [scalar_activation(f, limited(sum(part(H + j, h)))) for j in range(H)]
    new = []
    for j in range(H):
        if spec.reset_after:
            from_x, from_h = part(2 * H + j, h)
            n = scalar_activation(g, limited(from_x + r[j] * from_h))
        else:
            n = scalar_activation(g, limited(sum(part(2 * H + j, [r[k] * h[k] for k in range(H)]))))
        keep, take = (z[j], 1 - z[j]) if update_gate == "keeps" else (1 - z[j], z[j])
        new.append(keep * h[j] + take * n)
    return new


@settings(max_examples=60, deadline=None)
@given(
    reset_after=st.booleans(),
    gate=st.sampled_from(sorted(ACTIVATIONS)),
    candidate=st.sampled_from(sorted(ACTIVATIONS)),
    clip=st.sampled_from([None, 0.3, 2.0]),
    update_gate=st.sampled_from(["keeps", "replaces"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_cell_against_plain_floats(reset_after, gate, candidate, clip, update_gate, seed):
    rng = np.random.default_rng(seed)
    spec = GRUSpec(
        2, 3, reset_after=reset_after, clip=clip,
        gate_activations=(Activation(gate, 0.7, 0.6),), candidate_activations=(Activation(candidate, 0.4, 0.3),),
    )  # fmt: skip
    [w] = random_weights(rng, spec)
    x, h = rng.standard_normal((4, 2)), rng.standard_normal((4, 3))
    got = gru_cell(spec, w, x, h, update_gate=update_gate)
    expected = [scalar_step(spec, w, x[n], h[n], 0, update_gate) for n in range(4)]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    direction=st.sampled_from(["forward", "reverse", "bidirectional"]),
    mask_output=st.sampled_from(["carry", "zero"]),
    batch_first=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_lengths_and_masks_against_row_loops(direction, mask_output, batch_first, seed):
    """Each row on its own, with its hidden steps left out, then put where they belong."""
    rng = np.random.default_rng(seed)
    T, N, I, H = 5, 3, 2, 3
    spec = GRUSpec(I, H, direction, mask_output=mask_output, batch_first=batch_first)
    weights = random_weights(rng, spec)
    x, h0 = rng.standard_normal((T, N, I)), rng.standard_normal((spec.num_directions, N, H))
    lengths, mask = rng.integers(0, T + 1, N), rng.random((T, N)) < 0.6

    expected, expected_h = np.zeros((T, N, spec.output_size)), np.zeros_like(h0)
    for n in range(N):
        for d in range(spec.num_directions):
            h, shown = h0[d, n].tolist(), [0.0] * H
            times = range(int(lengths[n]))
            for t in reversed(times) if d == 1 or direction == "reverse" else times:
                if mask[t, n]:
                    h = scalar_step(spec, weights[d], x[t, n], h, d, "keeps")
                    shown = h
                elif mask_output == "zero":
                    shown = [0.0] * H
                expected[t, n, d * H : d * H + H] = shown
            expected_h[d, n] = h

    swap = (lambda a: a.swapaxes(0, 1)) if batch_first else (lambda a: a)
    y, h_n = gru(spec, weights, swap(x), h0, lengths, swap(mask))
    np.testing.assert_allclose(swap(y), expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(h_n, expected_h, rtol=0, atol=1e-12)


def test_nan_in_one_row_stays_there():
    rng = np.random.default_rng(0)
    spec = GRUSpec(2, 3, "bidirectional")
    x = rng.standard_normal((4, 3, 2))
    x[3, 1] = np.nan
    y, h_n = gru(spec, random_weights(rng, spec), x, lengths=np.array([4, 3, 4]))
    assert np.isfinite(y).all()
    assert np.isfinite(h_n).all()


def test_what_does_not_fit_is_named():
    rng = np.random.default_rng(0)
    spec = GRUSpec(2, 3)
    weights = random_weights(rng, spec)
    x = np.zeros((4, 2, 2))
    with pytest.raises(ShapeError, match=r"x: got shape \(4, 2\)"):
        gru(spec, weights, x[:, 0])
    with pytest.raises(ShapeError, match="lengths"):
        gru(spec, weights, x, lengths=np.array([5, 1]))
    with pytest.raises(ShapeError, match="h0"):
        gru(spec, weights, x, np.zeros((1, 1, 3)))
    with pytest.raises(SpecError, match=r"weight_ih has shape \(9, 3\), expected \(9, 2\)"):
        gru(spec, [GRUWeights(np.zeros((9, 3)), np.zeros((9, 3)))], x)

"""`GRU.from_gates` against the formulas as books print them, in float64."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from fastgru.errors import ShapeError, SpecError, UnsupportedModelError
from fastgru.layers import GRU, Gate, GRUCell
from fastgru.spec import Activation

T, N, I, H = 6, 3, 2, 5


def sigma(a):
    return 1 / (1 + np.exp(-a))


def run(step, x):
    """h_t = step(x_t, h_{t-1}) for a row of x at a time, from zeros; x (T, N, I) -> (T, N, H)."""
    y = np.zeros((T, N, H))
    for n in range(N):
        h = np.zeros(H)
        for t in range(T):
            h = step(x[t, n], h)
            y[t, n] = h
    return y


def arrays(rng, bias):
    """W, U, b of reset, update, candidate."""
    return [
        (rng.standard_normal((H, I)), rng.standard_normal((H, H)), rng.standard_normal(H) if bias else np.zeros(H))
        for _ in range(3)
    ]


def gates(given, bias):
    return dict(zip(("reset", "update", "candidate"), [g if bias else g[:2] for g in given], strict=True))


@pytest.mark.parametrize(
    ("update_gate", "candidate", "reset_after", "bias"),
    list(product(["keeps", "replaces"], ["tanh", "sigmoid"], [False, True], [False, True])),
)
def test_two_matrices(runner, rng, update_gate, candidate, reset_after, bias):
    given = arrays(rng, bias)
    (W_r, U_r, b_r), (W_z, U_z, b_z), (W, U, b) = given
    g = {"tanh": np.tanh, "sigmoid": sigma}[candidate]

    def step(x, h):
        r = sigma(W_r @ x + U_r @ h + b_r)
        z = sigma(W_z @ x + U_z @ h + b_z)
        n = g(W @ x + r * (U @ h) + b) if reset_after else g(W @ x + U @ (r * h) + b)
        return z * h + (1 - z) * n if update_gate == "keeps" else (1 - z) * h + z * n

    gru = GRU.from_gates(
        **gates(given, bias), update_gate=update_gate, candidate_activation=candidate, reset_after=reset_after,
        precision="float64",
    )  # fmt: skip
    x = rng.standard_normal((T, N, I))
    np.testing.assert_allclose(gru(x)[0], run(step, x), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("order", "transposed", "bias", "update_gate"),
    list(product(["hx", "xh"], [False, True], [False, True], ["keeps", "replaces"])),
)
def test_one_matrix_over_both(runner, rng, order, transposed, bias, update_gate):
    """Olah 2015: z = sigma(W_z [h, x]), r = sigma(W_r [h, x]), n = tanh(W [r * h, x])."""
    M_r, M_z, M = rng.standard_normal((3, H, H + I))
    b_r, b_z, b = rng.standard_normal((3, H)) if bias else np.zeros((3, H))

    def joined(h, x):
        return np.concatenate([h, x] if order == "hx" else [x, h])

    def step(x, h):
        r, z = sigma(M_r @ joined(h, x) + b_r), sigma(M_z @ joined(h, x) + b_z)
        n = np.tanh(M @ joined(r * h, x) + b)
        return z * h + (1 - z) * n if update_gate == "keeps" else (1 - z) * h + z * n

    def gate(matrix, vector):
        return Gate.concat(
            matrix.T if transposed else matrix, vector if bias else None, order=order, transposed=transposed
        )

    gru = GRU.from_gates(
        reset=gate(M_r, b_r), update=gate(M_z, b_z), candidate=gate(M, b), update_gate=update_gate, precision="float64"
    )
    x = rng.standard_normal((T, N, I))
    np.testing.assert_allclose(gru(x)[0], run(step, x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("update_gate", ["keeps", "replaces"])
def test_two_biases_a_gate(runner, rng, update_gate):
    given = [Gate(*g[:2], *rng.standard_normal((2, H))) for g in arrays(rng, bias=True)]
    r_, z_, n_ = given

    def step(x, h):
        r = sigma(r_.weight_ih @ x + r_.bias + r_.weight_hh @ h + r_.bias_hh)
        z = sigma(z_.weight_ih @ x + z_.bias + z_.weight_hh @ h + z_.bias_hh)
        n = np.tanh(n_.weight_ih @ x + n_.bias + r * (n_.weight_hh @ h + n_.bias_hh))
        return z * h + (1 - z) * n if update_gate == "keeps" else (1 - z) * h + z * n

    gru = GRU.from_gates(
        reset=r_, update=z_, candidate=n_, reset_after=True, update_gate=update_gate, precision="float64"
    )
    x = rng.standard_normal((T, N, I))
    np.testing.assert_allclose(gru(x)[0], run(step, x), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("alpha", "beta"), [(0.2, 0.5), (1 / 6, 0.5)])
def test_hard_sigmoid_replaces(runner, rng, alpha, beta):
    given = arrays(rng, bias=True)
    (W_r, U_r, b_r), (W_z, U_z, b_z), (W, U, b) = given

    def f(a):
        return np.clip(alpha * a + beta, 0, 1)

    def step(x, h):
        r, z = f(W_r @ x + U_r @ h + b_r), f(W_z @ x + U_z @ h + b_z)
        return (1 - z) * h + z * np.tanh(W @ x + U @ (r * h) + b)

    gru = GRU.from_gates(
        **gates(given, True), update_gate="replaces", gate_activation=Activation("hard_sigmoid", alpha, beta),
        precision="float64",
    )  # fmt: skip
    x = rng.standard_normal((T, N, I))
    np.testing.assert_allclose(gru(x)[0], run(step, x), rtol=0, atol=1e-12)


def test_a_cell_from_gates(runner, rng):
    given = arrays(rng, bias=True)
    x, h = rng.standard_normal((N, I)), rng.standard_normal((N, H))
    cell = GRUCell.from_gates(**gates(given, True), update_gate="replaces", precision="float64")
    _, expected = GRU.from_gates(**gates(given, True), update_gate="replaces", precision="float64")(x[None], h[None])
    np.testing.assert_allclose(cell(x, h), expected[0], rtol=0, atol=1e-15)


@pytest.mark.parametrize("activation", ["relu", "tanh", Activation("hard_sigmoid", 0.2, 0.4)])
def test_what_replaces_and_does_not_complement_is_refused(rng, activation):
    with pytest.raises(
        UnsupportedModelError, match=r"update_gate='replaces' with gate_activation.*1 - f\(x\) = f\(-x\)"
    ):
        GRU.from_gates(**gates(arrays(rng, True), True), update_gate="replaces", gate_activation=activation)
    GRU.from_gates(**gates(arrays(rng, True), True), update_gate="keeps", gate_activation=activation)


def test_activations_are_activations(rng):
    gate = (rng.standard_normal((4, 3)), rng.standard_normal((4, 4)))
    for name in ("gate_activation", "candidate_activation"):
        with pytest.raises(SpecError, match=f"{name} is None, expected an Activation"):
            GRU.from_gates(reset=gate, update=gate, candidate=gate, **{name: None})


def test_gates_that_do_not_fit(rng):
    reset, update, candidate = arrays(rng, True)
    with pytest.raises(ShapeError, match=r"update: weight_hh has shape \(5, 2\), expected \(5, 5\)"):
        GRU.from_gates(reset=reset, update=(update[0], update[0]), candidate=candidate)
    with pytest.raises(ShapeError, match="candidate: bias"):
        GRU.from_gates(reset=reset, update=update, candidate=(*candidate[:2], np.zeros(4)))
    with pytest.raises(SpecError, match="candidate: got ndarray, expected a Gate"):
        GRU.from_gates(reset=reset, update=update, candidate=candidate[0])
    with pytest.raises(SpecError, match="candidate: a gate needs both W"):
        GRU.from_gates(reset=reset, update=update, candidate=Gate(candidate[0], None))
    with pytest.raises(SpecError, match="update_gate is 'resets'"):
        GRU.from_gates(reset=reset, update=update, candidate=candidate, update_gate="resets")
    with pytest.raises(SpecError, match="mish"):
        GRU.from_gates(reset=reset, update=update, candidate=candidate, candidate_activation="mish")
    with pytest.raises(ShapeError, match="give transposed=True"):
        Gate.concat(np.zeros((H + I, H)))
    with pytest.raises(ShapeError, match="give transposed=False"):
        Gate.concat(np.zeros((H, H + I)), transposed=True)
    with pytest.raises(SpecError, match="order is 'ih'"):
        Gate.concat(np.zeros((H, H + I)), order="ih")

"""The layouts of other frameworks, gate by gate, and their names for activations."""

from __future__ import annotations

import numpy as np
import pytest

from fastgru import conventions
from fastgru.conventions import (
    activation_from_keras,
    activation_from_onnx,
    activations_from_onnx,
    from_keras_gates,
    from_keras_lstm,
    from_keras_rnn,
    from_onnx_gates,
    negate_update,
    output_first,
    replacing_to_keeping,
    swap_zr,
)
from fastgru.errors import ShapeError, SpecError, UnsupportedModelError
from fastgru.reference.gru import activate, gru_cell
from fastgru.spec import ACTIVATIONS, Activation, GRUSpec, GRUWeights

H, I = 2, 3


def rows(*values, width=1):
    """One block of H rows for each value."""
    return np.repeat(np.array(values, dtype=np.float64), H)[:, None].repeat(width, 1)


def test_all_is_sorted_and_there():
    assert conventions.__all__ == sorted(conventions.__all__)
    assert all(hasattr(conventions, name) for name in conventions.__all__)


def test_swap_and_negation_undo_themselves():
    a = np.arange(3 * H * I, dtype=np.float64).reshape(3 * H, I)
    np.testing.assert_array_equal(swap_zr(rows(1, 2, 3)), rows(2, 1, 3))
    np.testing.assert_array_equal(negate_update(rows(1, 2, 3)), rows(1, -2, 3))
    np.testing.assert_array_equal(swap_zr(swap_zr(a)), a)
    np.testing.assert_array_equal(negate_update(negate_update(a)), a)


def test_onnx_gates():
    """z, r, n become r, z, n; the six biases part after three."""
    W = np.stack([rows(1, 2, 3, width=I), rows(4, 5, 6, width=I)])
    R = np.stack([rows(1, 2, 3, width=H), rows(4, 5, 6, width=H)])
    B = np.stack([rows(1, 2, 3, -1, -2, -3)[:, 0], rows(4, 5, 6, -4, -5, -6)[:, 0]])
    first, second = from_onnx_gates(W, R, B)
    np.testing.assert_array_equal(first.weight_ih, rows(2, 1, 3, width=I))
    np.testing.assert_array_equal(second.weight_hh, rows(5, 4, 6, width=H))
    np.testing.assert_array_equal(first.bias_ih, rows(2, 1, 3)[:, 0])
    np.testing.assert_array_equal(second.bias_hh, rows(-5, -4, -6)[:, 0])
    bare = from_onnx_gates(W, R)[0]
    assert bare.bias_ih is None
    assert bare.bias_hh is None


def test_keras_gates():
    kernel, recurrent = rows(1, 2, 3, width=I).T, rows(1, 2, 3, width=H).T
    two = np.stack([rows(1, 2, 3)[:, 0], rows(-1, -2, -3)[:, 0]])
    w = from_keras_gates(kernel, recurrent, two, reset_after=True)
    np.testing.assert_array_equal(w.weight_ih, rows(2, 1, 3, width=I))
    np.testing.assert_array_equal(w.weight_hh, rows(2, 1, 3, width=H))
    np.testing.assert_array_equal(w.bias_ih, rows(2, 1, 3)[:, 0])
    np.testing.assert_array_equal(w.bias_hh, rows(-2, -1, -3)[:, 0])
    one = from_keras_gates(kernel, recurrent, two[0], reset_after=False)
    np.testing.assert_array_equal(one.bias_ih, rows(2, 1, 3)[:, 0])
    assert one.bias_hh is None


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: from_onnx_gates(np.zeros((1, 6, 3)), np.zeros((1, 6, 3))), r"R has shape \(1, 6, 3\)"),
        (lambda: from_onnx_gates(np.zeros((3, 6, 3)), np.zeros((3, 6, 2))), r"R has shape"),
        (lambda: from_onnx_gates(np.zeros((2, 6, 3)), np.zeros((1, 6, 2))), r"W has shape \(2, 6, 3\)"),
        (lambda: from_onnx_gates(np.zeros((1, 6, 3)), np.zeros((1, 6, 2)), np.zeros((1, 6))), r"expected \(1, 12\)"),
        (lambda: from_onnx_gates(np.zeros((1, 0, 3)), np.zeros((1, 0, 0))), "R has shape"),
        (lambda: from_keras_gates(np.zeros((3, 6)), np.zeros((6, 2)), reset_after=True), "recurrent_kernel"),
        (lambda: from_keras_gates(np.zeros((6, 3)), np.zeros((2, 6)), reset_after=True), r"expected \(I, 6\)"),
        (lambda: from_keras_gates(np.zeros((3, 6)), np.zeros((2, 6)), np.zeros(6), reset_after=True), r"\(2, 6\)"),
    ],
)
def test_shapes_that_do_not_fit(make, said):
    with pytest.raises(ShapeError, match=said):
        make()


@pytest.mark.parametrize("gate", [Activation("sigmoid"), Activation("hard_sigmoid"), Activation("hard_sigmoid", 1 / 6)])
@pytest.mark.parametrize("reset_after", [True, False])
def test_a_gate_that_replaces_is_one_that_keeps(gate, reset_after):
    rng = np.random.default_rng(0)
    spec = GRUSpec(I, H, reset_after=reset_after, gate_activations=(gate,), clip=1.5)
    w = GRUWeights(*(rng.standard_normal(s) for s in [(3 * H, I), (3 * H, H), 3 * H, 3 * H]))
    x, h = 2 * rng.standard_normal((5, I)), rng.standard_normal((5, H))
    expected = gru_cell(spec, w, x, h, update_gate="replaces")
    np.testing.assert_allclose(gru_cell(spec, replacing_to_keeping(w), x, h), expected, rtol=0, atol=1e-15)
    assert np.abs(gru_cell(spec, w, x, h) - expected).max() > 0.01


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_complements_is_what_it_says(kind):
    x = np.linspace(-6, 6, 101)
    activation = Activation(kind)
    holds = np.allclose(1 - activate(activation, x), activate(activation, -x), rtol=0, atol=1e-15)
    assert activation.complements == holds


def test_onnx_names():
    names = {"Affine", "Elu", "HardSigmoid", "LeakyRelu", "Relu", "ScaledTanh", "Sigmoid", "Softplus", "Softsign",
             "Tanh", "ThresholdedRelu"}  # fmt: skip
    assert {activation_from_onnx(name).kind for name in names} == set(ACTIVATIONS)
    assert activation_from_onnx("HARDSIGMOID") == Activation("hard_sigmoid", 0.2, 0.5)
    assert activation_from_onnx("leakyrelu").alpha == 0.01
    with pytest.raises(UnsupportedModelError, match="Mish"):
        activation_from_onnx("Mish")


def test_onnx_lists_are_handed_out_in_order():
    f, g = activations_from_onnx(["Sigmoid", "LeakyRelu", "HardSigmoid", "Tanh"], [0.3, 0.25], [0.4], num_directions=2)
    assert f == (Activation("sigmoid"), Activation("hard_sigmoid", 0.25, 0.4))
    assert g == (Activation("leaky_relu", 0.3), Activation("tanh"))
    assert activations_from_onnx(None, None, None, num_directions=1) == (
        (Activation("sigmoid"),),
        (Activation("tanh"),),
    )
    assert activations_from_onnx(["HardSigmoid", "Elu"], [0.1], [], num_directions=1)[1] == (Activation("elu", 1.0),)


@pytest.mark.parametrize(
    ("names", "alphas", "betas", "said"),
    [
        (["Sigmoid"], None, None, "1 names, expected 2"),
        (["Sigmoid", "Tanh"], [0.1], None, "activation_alpha has 1"),
        (["HardSigmoid", "Tanh"], [0.1], [0.2, 0.3], "activation_beta has 1"),
    ],
)
def test_onnx_lists_that_do_not_fit(names, alphas, betas, said):
    with pytest.raises(UnsupportedModelError, match=said):
        activations_from_onnx(names, alphas, betas, num_directions=1)


def test_a_parameter_that_is_nan_is_not_a_default():
    with pytest.raises(SpecError, match="'HardSigmoid': beta is NaN"):
        activations_from_onnx(["HardSigmoid", "Tanh"], [0.1], [float("nan")], num_directions=1)


def test_keras_versions():
    assert activation_from_keras("hard_sigmoid", 1) == activation_from_keras("hard_sigmoid", 2)
    x = np.linspace(-6, 6, 25)
    np.testing.assert_allclose(activate(activation_from_keras("hard_sigmoid", 2), x), np.clip(0.2 * x + 0.5, 0, 1))
    np.testing.assert_allclose(activate(activation_from_keras("hard_sigmoid", 3), x), np.clip(x / 6 + 0.5, 0, 1))
    assert activation_from_keras(None, 2) == activation_from_keras("linear", 2) == Activation("affine", 1.0, 0.0)
    for name in ("selu", "exponential", "swish", "", 3):
        with pytest.raises(UnsupportedModelError, match="activation"):
            activation_from_keras(name, 2)
    with pytest.raises(UnsupportedModelError, match="leaky_relu"):
        activation_from_keras("leaky_relu", 1)
    with pytest.raises(UnsupportedModelError, match="keras_version is 4"):
        activation_from_keras("tanh", 4)


def test_parameters_that_mean_nothing_are_not_kept():
    assert Activation("tanh", 3.0, 4.0) == Activation("tanh")
    with pytest.raises(SpecError, match="finite"):
        Activation("elu", float("inf"))


def test_the_output_gate_of_keras_and_torch_comes_second_here():
    i, f, c, o = (np.full((2, 3), n) for n in range(4))
    assert [g[0, 0] for g in np.split(output_first(np.concatenate((i, f, c, o))), 4)] == [0, 3, 1, 2]
    kernel = np.arange(3 * 8.0).reshape(3, 8)
    weights = from_keras_lstm(kernel, np.zeros((2, 8)), np.arange(8.0))
    np.testing.assert_array_equal(weights.weight_ih, kernel.T[[0, 1, 6, 7, 2, 3, 4, 5]])
    np.testing.assert_array_equal(weights.bias_ih, [0, 1, 6, 7, 2, 3, 4, 5])
    for convert, bad in ((from_keras_lstm, (3, 6)), (from_keras_rnn, (3, 4))):
        with pytest.raises(ShapeError, match=r"recurrent_kernel has shape \(3, 5\)"):
            convert(np.zeros(bad), np.zeros((3, 5)))
        with pytest.raises(ShapeError, match=r"kernel has shape .*, expected \(I, "):
            convert(np.zeros(bad), np.zeros((2, 8 if convert is from_keras_lstm else 2)))
    with pytest.raises(ShapeError, match=r"bias has shape \(2, 2\), expected \(2,\)"):
        from_keras_rnn(np.zeros((3, 2)), np.zeros((2, 2)), np.zeros((2, 2)))

"""Losses, their slopes, and every input that is refused by name."""

from __future__ import annotations

import numpy as np
import pytest
from learn_cases import gru_of

import fastgru
from fastgru import learn
from fastgru.errors import ShapeError, UnsupportedModelError
from fastgru.spec import GRUSpec

RNG = np.random.default_rng(0)
DOUBLE = {"precision": "float64"}


def softmax(x):
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


@pytest.mark.parametrize("name", sorted(learn.LOSSES))
@pytest.mark.parametrize("distributions", [True, False])
def test_slopes_against_differences(name, distributions):
    y = RNG.standard_normal((4, 3, 5))
    t = softmax(RNG.standard_normal((4, 3, 5))) if distributions else RNG.integers(0, 5, (4, 3))
    if name.endswith("error"):
        t = RNG.standard_normal((4, 3, 5))
    y = softmax(y) if name.endswith("probabilities") else y
    loss = learn.LOSSES[name]
    each, slope = loss(y, t)
    assert each.shape == (4, 3)
    for k in range(5):
        e = 1e-6 * np.eye(5)[k]
        found = (loss(y + e, t)[0] - loss(y - e, t)[0]) / 2e-6
        np.testing.assert_allclose(slope[..., k], found, rtol=0, atol=2e-8 * np.abs(slope).max())


def test_the_textbooks_cross_entropy_from_logits_logarithms_and_probabilities():
    """E_t = -y_t log(yhat_t), with y_t one-hot."""
    logits, classes = RNG.standard_normal((6, 2, 4)), RNG.integers(0, 4, (6, 2))
    head = [fastgru.Identity(**DOUBLE)], [fastgru.LogSoftmax(-1, **DOUBLE)], [fastgru.Softmax(-1, **DOUBLE)]
    names = ("cross_entropy", "cross_entropy_of_logs", "cross_entropy_of_probabilities")
    one_hot = np.eye(4)[classes]
    expected = -np.sum(one_hot * np.log(softmax(logits)), axis=-1)
    for layers, name in zip(head, names, strict=True):
        for targets in (classes, one_hot):
            found = learn.gradients(fastgru.Sequential(*layers), logits, targets, loss=name)
            assert found.loss == pytest.approx(expected.sum(), rel=1e-13)
            np.testing.assert_allclose(found.inputs["x"], softmax(logits) - one_hot, rtol=0, atol=1e-14)


def test_a_step_has_its_own_part_of_the_loss():
    net = fastgru.Sequential(
        gru_of(RNG, GRUSpec(3, 4, batch_first=True)), fastgru.Linear(RNG.standard_normal((5, 4)), **DOUBLE)
    )
    x, targets = RNG.standard_normal((2, 7, 3)), RNG.integers(0, 5, (2, 7))
    found = learn.gradients(net, x, targets)
    logs = np.log(softmax(found.output))
    expected = -np.take_along_axis(logs, targets[..., None], axis=-1)[..., 0].sum(axis=0)
    np.testing.assert_allclose(found.steps, expected, rtol=1e-13)
    alone = learn.gradients(net, x[0], targets[0])  # without a batch
    assert alone.steps.shape == (7,)


def test_probabilities_of_nothing_cost_nothing_unless_they_are_asked_for():
    each, slope = learn.cross_entropy_of_probabilities(np.array([[1.0, 0.0]]), np.array([0]))
    assert each.tolist() == [0]
    assert slope.tolist() == [[-1, 0]]
    each, _ = learn.cross_entropy_of_probabilities(np.array([[1.0, 0.0]]), np.array([1]))
    assert each.tolist() == [np.inf]


NET = fastgru.Sequential(gru_of(RNG, GRUSpec(3, 4)), fastgru.Linear(RNG.standard_normal((5, 4)), **DOUBLE))
X, T = RNG.standard_normal((6, 2, 3)), RNG.integers(0, 5, (6, 2))


def changed(array, at, value):
    array = array.copy()
    array[at] = value
    return array


@pytest.mark.parametrize(("arguments", "options", "message"), [
    ((X, changed(T, (3, 1), 5)), {}, r"1 of 12 are out of range, expected classes from 0 to 4; .* 5, is at \(3, 1\)"),
    ((X, changed(T, (0, 0), -100)), {}, "out of range"),
    ((X, T[:5]), {}, r"classes of shape \(5, 2\), expected \(6, 2\) for outputs of shape \(6, 2, 5\)"),
    ((X, T.astype(float)), {}, r"targets: got float64 \(6, 2\), expected classes \(integers\) or distributions"),
    ((X, np.full((6, 2, 5), 0.3)), {}, "12 of 12 are not distributions"),
    ((X, T), {"loss": "squared_error"}, r"targets: got int64 \(6, 2\), expected floats for"),
    ((X, changed(RNG.random((6, 2, 5)), (1, 1, 1), np.nan)), {"loss": "absolute_error"},
     r"targets: 1 of 60 values are NaN or infinite, the first at \(1, 1, 1\)"),
    ((changed(X, (2, 0, 1), np.inf), T), {}, r"x: 1 of 36 values are NaN or infinite, the first at \(2, 0, 1\)"),
    ((X, T), {"lengths": [6, 7]}, r"lengths: got \[6, 7\], expected 2 integers from 0 to 6"),
    ((X, T), {"lengths": [6]}, "lengths"),
    ((X, T), {"lengths": [6.0, 2.0]}, "lengths"),
    ((X, T), {"mask": np.ones((6, 3), bool)}, r"mask: got bool \(6, 3\), expected bool \(6, 2\)"),
    ((X, T), {"mask": np.ones((6, 2))}, "mask: got float64"),
    ((X[..., :2], T), {}, "x"),
    ((X, T), {"loss": "hinge"}, "loss is 'hinge', expected a function of outputs and targets, or cross_entropy"),
    ((X, T), {"loss": "cross_entropy_of_probabilities"}, "expected probabilities from 0 to 1; for logits"),
    ((X, T), {"loss": lambda y, t: (y, y)}, r"loss: the function returned E \(6, 2, 5\)"),
    ((X, T), {"reduction": "none"}, "reduction is 'none'"),
    ((X, T), {"output": "z"}, "output is 'z', expected an output of the network: y"),
    (({"x": X, "h1": X}, T), {}, "h1"),
    (({"h0": X}, T), {}, "expected x among its inputs"),
    (({"x": X, "h0": np.full((1, 2, 4), np.nan)}, T), {}, "h0: 8 of 8 values"),
])  # fmt: skip
def test_bad_input_is_refused_by_name(arguments, options, message):
    with pytest.raises(ShapeError, match=message):
        learn.gradients(NET, *arguments, **options)


def test_networks_that_have_no_gradient_are_refused_by_name():
    low = fastgru.Sequential(*NET.layers, precision="int8")
    with pytest.raises(UnsupportedModelError, match="Sequential: its weights are int8, which has no gradient; load"):
        learn.gradients(low, X, T)
    graph = NET.to_graph()
    with pytest.raises(UnsupportedModelError, match="Model: its weights are bfloat16"):
        learn.gradients(fastgru.Model(graph, precision="bfloat16"), X, T)
    with pytest.raises(UnsupportedModelError, match=r"lengths: only layers take this argument"):
        learn.gradients(fastgru.Model(graph), X, T, lengths=[6, 6])
    with pytest.raises(UnsupportedModelError, match="dtype is 'float16'"):
        learn.gradients(NET, X, T, dtype="float16")
    with pytest.raises(TypeError, match="net is int"):
        learn.gradients(3, X, T)
    with pytest.raises(TypeError, match="gradients has no option reductoin"):
        learn.gradients(NET, X, T, reductoin="mean")


def test_a_node_without_a_gradient_is_named():
    from fastgru.graph import Graph, Node, TensorSpec

    inputs, outputs = (TensorSpec("x", "float32", (None, None, 3)),), (TensorSpec("y", "float32", (None, None, 3)),)
    running = Node("cumsum", ("x",), ("y",), {"axis": 0, "exclusive": False, "reverse": False}, name="running")
    graph = Graph(inputs, outputs, (running,), {})
    with pytest.raises(UnsupportedModelError, match="cumsum 'running': operator 'cumsum' has no gradient"):
        learn.gradients(fastgru.Model(graph), X, X, loss="squared_error")
    product = Node("reduce", ("x",), ("y",), {"kind": "prod", "axes": [2], "keepdims": True}, name="all")
    graph = Graph(graph.inputs, (TensorSpec("y", "float32", (None, None, 1)),), (product,), {})
    with pytest.raises(UnsupportedModelError, match="reduce 'all': the gradient of a product"):
        learn.gradients(fastgru.Model(graph), X, X[..., :1], loss="squared_error")

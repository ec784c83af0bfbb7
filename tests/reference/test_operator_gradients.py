"""The gradient of every operator that has one against central differences of its definition."""

from __future__ import annotations

import numpy as np
import pytest

from fastgru.errors import UnsupportedModelError
from fastgru.graph import Node
from fastgru.reference import OPS, evaluate
from fastgru.reference.gradients import GRADIENTS, has_gradient, pull_back
from fastgru.spec import ACTIVATIONS

RNG = np.random.default_rng(0)
X = RNG.uniform(0.2, 0.9, (3, 4)) * RNG.choice([-1, 1], (3, 4))  # away from kinks at whole numbers and at 0
Y = RNG.uniform(1.1, 1.9, (3, 4))
I64 = {"dtype": np.int64}
UNARY_ABOVE_ONE = {"acosh"}
UNARY_POSITIVE = {"log", "sqrt", "log1p"}
BINARY = ("add", "sub", "mul", "div", "pow", "min", "max", "mod", "fmod")


def unary_cases():
    from fastgru.reference.gradients.elementwise import _SLOPES

    for kind in sorted(_SLOPES):
        yield (
            f"unary {kind}",
            [Y if kind in UNARY_ABOVE_ONE else np.abs(X) if kind in UNARY_POSITIVE else X],
            {"kind": kind},
        )


CASES = [
    *unary_cases(),
    ("unary selu", [X], {"kind": "selu", "alpha": 1.67, "gamma": 1.05}),
    *((f"activation {kind}", [X], {"kind": kind, "alpha": 0.37, "beta": 0.45}) for kind in sorted(ACTIVATIONS)),
    *((f"binary {kind}", [Y + 0.03 * X, Y[:1] * 0.7], {"kind": kind}) for kind in BINARY),
    ("binary mul", [X[:, :1], Y[0]], {"kind": "mul"}),
    ("prelu", [X, RNG.random(4)], {}),
    ("clip", [X, np.array(-0.5), np.array(0.5)], {}),
    ("clip", [X, None, np.array([0.3])], {}),
    ("clip", [X, np.array(0.4), np.array(0.1)], {}),
    ("cast", [X], {"to": "float64"}),
    ("linear", [RNG.standard_normal((2, 3, 4)), RNG.standard_normal((5, 4)), RNG.standard_normal(5)], {}),
    ("linear", [X, RNG.standard_normal((5, 4))], {}),
    ("matmul", [RNG.standard_normal((2, 3, 4)), RNG.standard_normal((4, 5))], {}),
    ("matmul", [RNG.standard_normal((1, 3, 4)), RNG.standard_normal((2, 4, 5))], {}),
    ("matmul", [RNG.standard_normal(4), RNG.standard_normal((2, 4, 5))], {}),
    ("matmul", [RNG.standard_normal((2, 3, 4)), RNG.standard_normal(4)], {}),
    ("matmul", [RNG.standard_normal(4), RNG.standard_normal(4)], {}),
    ("softmax", [X], {"axis": 0}),
    ("log_softmax", [X], {"axis": -1}),
    ("layer_norm", [RNG.standard_normal((2, 3, 4)), *RNG.random((2, 3, 4))], {"axis": 1, "epsilon": 1e-3}),
    ("layer_norm", [X], {"axis": -1, "epsilon": 1e-3}),
    ("rms_norm", [X, RNG.random(4)], {"axis": -1, "epsilon": 1e-3}),
    ("batch_norm", [RNG.standard_normal((2, 3, 4)), *(RNG.random((4, 3)) + 0.5)], {"axis": 1, "epsilon": 1e-3}),
    *((f"reduce {kind}", [Y], {"kind": kind, "axes": axes, "keepdims": keep})
      for kind in ("sum", "mean", "max", "min", "l1", "l2", "sum_square", "log_sum", "log_sum_exp")
      for axes, keep in (([1], False), ([-2], True), ([], False))),
    ("reduce l2", [Y * [[0], [1], [0]]], {"kind": "l2", "axes": [1], "keepdims": False}),
    ("embedding", [np.array([[1, 0], [1, 1]]), X], {}),
    ("gather", [X, np.array([-1, 0, -1])], {"axis": 1}),
    ("gather_elements", [X, np.array([[0, 1], [3, 3]])], {"axis": 1}),
    ("gather_nd", [X, np.array([[0, 1], [0, 1], [2, 3]])], {}),
    ("last", [RNG.standard_normal((2, 3, 4)), np.array([0, 3])], {}),
    ("concat", [X, Y, X], {"axis": 0}),
    ("split", [X], {"axis": 1, "sizes": [1, 3]}),
    ("slice", [X, np.array([3]), np.array([-5]), np.array([1]), np.array([-2])], {}),
    ("transpose", [X], {"perm": [1, 0]}),
    ("reshape", [X, np.array([2, -1])], {}),
    ("expand", [X[:, :1], np.array([2, 3, 5])], {}),
    ("tile", [X, np.array([2, 1])], {}),
    ("where", [X > 0, X, Y], {}),
    ("reverse_sequence", [RNG.standard_normal((3, 2, 2)), np.array([2, 3])], {"time_axis": 0, "batch_axis": 1}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "inputs", "attrs"), CASES, ids=[name for name, *_ in CASES])
def test_central_differences(name, inputs, attrs):
    op = name.split()[0]
    count = 2 if op == "split" else 1
    node = Node(op, tuple(f"x{i}" for i in range(len(inputs))), tuple(f"y{i}" for i in range(count)), attrs)
    outputs = evaluate(node, inputs)
    ups = [np.random.default_rng(1).standard_normal(y.shape) for y in outputs]

    def value(arrays):
        return sum(float(np.sum(up * y)) for up, y in zip(ups, evaluate(node, arrays), strict=True))

    found = pull_back(node, inputs, outputs, ups)
    assert has_gradient(op)
    assert len(found) == len(inputs)
    for i, x in enumerate(inputs):
        if x is None or x.dtype.kind != "f" or (op == "batch_norm" and i > 2):
            assert found[i] is None
            continue
        assert found[i].shape == x.shape
        for k in range(x.size):
            e = np.zeros(x.size)
            e[k] = 1e-6
            e = e.reshape(x.shape)
            slope = (
                value([*inputs[:i], x + e, *inputs[i + 1 :]]) - value([*inputs[:i], x - e, *inputs[i + 1 :]])
            ) / 2e-6
            assert abs(slope - found[i].reshape(-1)[k]) <= 1e-6 * max(1, np.abs(found[i]).max()), (i, k)


def test_every_gradient_has_a_case():
    """And every operator that moves elements has its gradient from that."""
    cases = {name.split()[0] for name, *_ in CASES}
    assert {name for name in GRADIENTS if name not in cases} == {"gru"}, "whose tests are those of fastgru.learn"
    assert {op for op in OPS if OPS[op].facts.moves is not None} <= {op for op in OPS if has_gradient(op)}
    assert set(GRADIENTS) <= set(OPS)


@pytest.mark.parametrize(("op", "attrs", "x"), [
    ("unary", {"kind": "not"}, np.array([True])),
    ("unary", {"kind": "bitwise_not"}, np.array([1])),
    ("cast", {"to": "int64"}, np.array([1.5])),
])  # fmt: skip
def test_what_makes_no_number_has_none(op, attrs, x):
    node = Node(op, ("x",), ("y",), attrs)
    assert pull_back(node, [x], evaluate(node, [x]), [np.ones(1)]) == [None]


def test_operators_without_a_gradient():
    assert not has_gradient("cumsum")
    assert not has_gradient("no such operator")
    with pytest.raises(KeyError):
        pull_back(Node("cumsum", ("x",), ("y",), {}), [X], [X], [X])
    node = Node("reduce", ("x",), ("y",), {"kind": "prod", "axes": [1], "keepdims": False})
    with pytest.raises(UnsupportedModelError, match="product of elements"):
        pull_back(node, [X], [X[:, 0]], [X[:, 0]])

"""Linear, embedding, norms, activations, selection and Sequential against the formulas of torch's documentation."""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest
from torch_gru import state_dict, torch_gru

import fastgru.layers as layers
from fastgru.errors import ShapeError, SpecError
from fastgru.layers import (
    GRU,
    BatchNorm1d,
    Dropout,
    Embedding,
    GRUCell,
    Identity,
    LastStep,
    LayerNorm,
    Linear,
    PReLU,
    ReLU,
    Select,
    Sequential,
    Softmax,
    Tanh,
    Transpose,
)
from fastgru.reference import run_graph

X = np.linspace(-8, 8, 65).reshape(5, 13)


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def erf(a):
    return np.vectorize(math.erf)(a)


def normal(a):
    return 0.5 * (1 + erf(a / math.sqrt(2)))


# torch.nn name: (layer, formula of its documentation)
ACTIVATIONS = {
    "ReLU": ((), lambda x: np.where(x > 0, x, 0)),
    "Sigmoid": ((), sigmoid),
    "Tanh": ((), np.tanh),
    "Softsign": ((), lambda x: x / (1 + abs(x))),
    "Hardsigmoid": ((), lambda x: np.where(x <= -3, 0, np.where(x >= 3, 1, x / 6 + 0.5))),
    "Hardswish": ((), lambda x: np.where(x <= -3, 0, np.where(x >= 3, x, x * (x + 3) / 6))),
    "SiLU": ((), lambda x: x * sigmoid(x)),
    "SELU": ((), lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * (np.exp(x) - 1))),
    "ELU": ((), lambda x: np.where(x > 0, x, np.exp(x) - 1)),
    "ELU(0.3)": ((0.3,), lambda x: np.where(x > 0, x, 0.3 * (np.exp(x) - 1))),
    "LeakyReLU": ((), lambda x: np.where(x >= 0, x, 0.01 * x)),
    "LeakyReLU(0.3)": ((0.3,), lambda x: np.where(x >= 0, x, 0.3 * x)),
    "GELU": ((), lambda x: x * normal(x)),
    "GELU(tanh)": (("tanh",), lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))),
    "Softplus": ((), lambda x: np.log(1 + np.exp(x))),
    "Softplus(2)": ((2.0,), lambda x: np.log(1 + np.exp(2 * x)) / 2),
    "Softmax": ((-1,), lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True)),
    "Softmax(0)": ((0,), lambda x: np.exp(x) / np.exp(x).sum(0)),
    "LogSoftmax": ((1,), lambda x: np.log(np.exp(x) / np.exp(x).sum(1, keepdims=True))),
    "Identity": ((), lambda x: x),
    "Dropout": ((0.3,), lambda x: x),
    "Transpose": ((0, -1), lambda x: x.T),
    "Select": ((1, -2), lambda x: x[:, -2]),
}


@pytest.mark.parametrize(("precision", "atol"), [("float32", 2e-6), ("float64", 1e-12)])
@pytest.mark.parametrize("case", ACTIVATIONS)
def test_formula(runner, case, precision, atol):
    given, formula = ACTIVATIONS[case]
    layer = getattr(layers, case.split("(")[0])(*given, precision=precision)
    y = layer(X)
    assert y.dtype == precision
    np.testing.assert_allclose(y, formula(X), rtol=atol, atol=atol)


@pytest.mark.parametrize("case", [c for c in ACTIVATIONS if c.split("(")[0] not in ("Transpose", "Select")])
def test_torch_itself(runner, case):
    torch = pytest.importorskip("torch")
    given, _ = ACTIVATIONS[case]
    name, words = case.split("(")[0], {"approximate": given[0]} if "tanh)" in case else {}
    module = getattr(torch.nn, name)(**words) if words else getattr(torch.nn, name)(*given)
    expected = module.eval()(torch.from_numpy(X)).numpy()
    y = getattr(layers, name)(*given, precision="float64")(X)
    np.testing.assert_allclose(y, expected, rtol=0, atol=3e-9 if name == "Softplus" else 1e-12)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(3,), (4, 3), (2, 4, 3)])
def test_linear(runner, rng, bias, shape):
    state = {"fc.weight": rng.standard_normal((5, 3))} | ({"fc.bias": rng.standard_normal(5)} if bias else {})
    x = rng.standard_normal(shape)
    y = Linear.from_torch(state, "fc", precision="float64")(x)
    np.testing.assert_allclose(y, x @ state["fc.weight"].T + state.get("fc.bias", 0), rtol=0, atol=1e-12)


def test_embedding(runner, rng):
    table = rng.standard_normal((7, 3)).astype(np.float32)
    embedding = Embedding.from_torch({"weight": table})
    for ids in (np.array([[0, 6], [3, 3]]), np.array(2), np.array([5, 1], np.int32)):
        assert np.array_equal(embedding(ids), table[ids])


@pytest.mark.parametrize("ids", [[7], [-1], [0.5]])
def test_ids_out_of_range_are_refused(runner, ids):
    with pytest.raises(ShapeError):
        Embedding(np.zeros((7, 3)))(np.array(ids))


@pytest.mark.parametrize(("shape", "affine"), [((6,), "both"), ((5, 6), "both"), ((6,), "weight"), ((6,), "none")])
def test_layer_norm(runner, rng, shape, affine):
    weight = None if affine == "none" else rng.standard_normal(shape)
    bias = rng.standard_normal(shape) if affine == "both" else None
    x = rng.standard_normal((4, 5, 6))
    axes = tuple(range(3 - len(shape), 3))
    expected = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-3)
    expected = expected * (1 if weight is None else weight) + (0 if bias is None else bias)
    y = LayerNorm(shape, weight, bias, eps=1e-3, precision="float64")(x)
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-12)


def test_layer_norm_from_torch(runner, rng):
    state = {"n.weight": rng.standard_normal(6), "n.bias": rng.standard_normal(6)}
    x = rng.standard_normal((4, 6))
    expected = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
    y = LayerNorm.from_torch(state, "n", precision="float64")(x)
    np.testing.assert_allclose(y, expected * state["n.weight"] + state["n.bias"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 5)])
def test_batch_norm(runner, rng, affine, shape):
    state = {"b.running_mean": rng.standard_normal(3), "b.running_var": rng.random(3), "b.num_batches_tracked": 7}
    state |= {"b.weight": rng.standard_normal(3), "b.bias": rng.standard_normal(3)} if affine else {}
    x = rng.standard_normal(shape)

    def column(name, default):
        return np.asarray(state.get(f"b.{name}", np.full(3, default))).reshape(3, *[1] * (len(shape) - 2))

    expected = (x - column("running_mean", 0)) / np.sqrt(column("running_var", 1) + 1e-5)
    y = BatchNorm1d.from_torch(state, "b", precision="float64")(x)
    np.testing.assert_allclose(y, expected * column("weight", 1) + column("bias", 0), rtol=0, atol=1e-12)


@pytest.mark.parametrize("slopes", [1, 3])
def test_prelu(runner, rng, slopes):
    weight, x = rng.random(slopes), rng.standard_normal((4, 3, 5))
    y = PReLU.from_torch({"weight": weight}, precision="float64")(x)
    np.testing.assert_allclose(y, np.where(x >= 0, x, weight.reshape(-1, 1) * x), rtol=0, atol=1e-15)


@pytest.mark.parametrize("batch_first", [False, True])
def test_last_step(runner, rng, batch_first):
    x = rng.standard_normal((5, 3, 2))
    given = x.swapaxes(0, 1) if batch_first else x
    last = LastStep(batch_first=batch_first, precision="float64")
    assert np.array_equal(last(given), x[-1])
    assert np.array_equal(last(x[:, 0]), x[-1, 0])
    picked = Sequential(last)(given, lengths=[5, 2, 0])
    assert np.array_equal(picked, [x[4, 0], x[1, 1], x[0, 2]])


def classifier(rng, batch_first=False):
    state = state_dict(rng, 4, 5, 2, bidirectional=True, prefix="gru.")
    state |= {"emb.weight": rng.standard_normal((9, 4)), "fc.weight": rng.standard_normal((3, 10))}
    net = Sequential(
        Embedding.from_torch(state, "emb", precision="float64"),
        Dropout(0.2, precision="float64"),
        GRU.from_torch(state, "gru", batch_first=batch_first, precision="float64"),
        LastStep(batch_first=batch_first, precision="float64"),
        Linear.from_torch(state, "fc", precision="float64"),
        Softmax(-1, precision="float64"),
    )
    return net, state


def expected_classes(state, ids, lengths=None):
    gru = {k.removeprefix("gru."): v for k, v in state.items() if k.startswith("gru.")}
    y, _ = torch_gru(gru, state["emb.weight"][ids], None, lengths)
    ends = [ids.shape[0] - 1] * ids.shape[1] if lengths is None else [max(n - 1, 0) for n in lengths]
    logits = np.stack([y[t, n] for n, t in enumerate(ends)]) @ state["fc.weight"].T
    return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("lengths", [None, [2, 6, 0]])
def test_sequential_of_tokens(runner, rng, batch_first, lengths):
    net, state = classifier(rng, batch_first)
    ids = rng.integers(0, 9, (6, 3))
    y = net(ids.T if batch_first else ids, lengths=lengths)
    np.testing.assert_allclose(y, expected_classes(state, ids, lengths), rtol=0, atol=1e-12)


def test_sequential_without_a_batch(runner, rng):
    net, state = classifier(rng)
    ids = rng.integers(0, 9, 6)
    np.testing.assert_allclose(net(ids), expected_classes(state, ids[:, None])[0], rtol=0, atol=1e-12)
    with pytest.raises(ShapeError, match="lengths need a batch"):
        net(ids, lengths=[3])


def test_sequential_as_a_graph(rng):
    net, state = classifier(rng)
    graph = net.to_graph(lengths=True, initial_state=True)
    assert graph.states == {"h0_0": "h_n_0", "h0_1": "h_n_1"}
    assert [s.name for s in graph.inputs] == ["x", "lengths", "h0_0", "h0_1"]
    assert [s.name for s in graph.outputs] == ["y", "h_n_0", "h_n_1"]
    assert graph.inputs[0].dims == ("T", "N")
    ids = rng.integers(0, 9, (6, 3))
    h0 = np.zeros((2, 3, 5))
    y = run_graph(graph, {"x": ids, "lengths": [2, 6, 0], "h0_0": h0, "h0_1": h0})["y"]
    np.testing.assert_allclose(y, expected_classes(state, ids, [2, 6, 0]), rtol=0, atol=1e-12)


def test_a_graph_that_does_nothing_still_has_an_output():
    for layer in (Identity(), Sequential(Dropout())):
        assert run_graph(layer.to_graph(), {"x": X})["y"].tolist() == X.tolist()


def test_a_cell_within_sequential(runner, rng):
    state = {k[:-3]: v for k, v in state_dict(rng, 3, 4).items()}
    net = Sequential(GRUCell.from_torch(state, precision="float64"), Tanh(precision="float64"))
    x = rng.standard_normal((2, 3))
    expected = np.tanh(GRUCell.from_torch(state, precision="float64")(x))
    np.testing.assert_allclose(net(x), expected, rtol=0, atol=1e-12)


def test_what_does_not_fit_is_named(rng):
    wrong = Sequential(Linear(np.zeros((4, 3))), ReLU(), Linear(np.zeros((2, 5))))
    with pytest.raises(ShapeError, match=r"layer 2 of 3: Linear\(5, 2, bias=False\).*expected 5 on the last axis"):
        wrong.to_graph()
    with pytest.raises(ShapeError, match="no axis 2"):
        Softmax(2).to_graph()
    with pytest.raises(ShapeError, match="expected 3 on the last axis"):
        Linear(np.zeros((4, 3)))(np.zeros((2, 4)))
    with pytest.raises(ShapeError, match="has no axis 4"):
        Transpose(0, 4).to_graph()
    with pytest.raises(ShapeError, match="got lengths, but no layer of it is a GRU or a LastStep"):
        Sequential(ReLU())(X, lengths=[1])
    with pytest.raises(ShapeError, match="is float32, expected integers"):
        Sequential(Embedding(np.zeros((3, 2))), Embedding(np.zeros((3, 2)))).to_graph()
    with pytest.raises(ShapeError, match=r"BatchNorm1d.*expected \(N, 3\)"):
        Sequential(Linear(np.zeros((4, 3))), BatchNorm1d(np.zeros(3), np.ones(3))).to_graph()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Sequential(), "expected layers, got none"),
        (lambda: Sequential(ReLU(), np.tanh), "expected layers, got ReLU, ufunc"),
        (lambda: Sequential(ReLU(), Tanh(precision="float64")), "precision differs"),
        (lambda: layers.GELU("exact"), "approximate"),
        (lambda: layers.GELU(["none"]), "approximate"),
        (lambda: layers.ELU("a"), "ELU: alpha is 'a', expected a finite number"),
        (lambda: layers.LeakyReLU([0.1]), "LeakyReLU: negative_slope"),
        (lambda: Dropout(1.5), "probability"),
        (lambda: Dropout("a"), "Dropout: p is 'a', expected a finite number"),
        (lambda: Dropout(None), "Dropout: p is None"),
        (lambda: Softmax("a"), "Softmax: dim is 'a', expected an integer"),
        (lambda: Select("a", 0), "Select: dim is 'a'"),
        (lambda: Select(0, 1.7), "Select: index is 1.7"),
        (lambda: Transpose(0, None), "Transpose: dim1 is None"),
        (lambda: LayerNorm("ab"), "normalized_shape is 'a'"),
        (lambda: LayerNorm(None), "normalized_shape is None"),
        (lambda: LayerNorm(()), "normalized_shape is empty"),
        (lambda: LayerNorm(3, eps="a"), "LayerNorm: eps is 'a'"),
        (lambda: LayerNorm(0), "normalized_shape"),
        (lambda: LayerNorm(3, eps=-1.0), "eps"),
        (lambda: layers.Softplus(0), "beta is 0"),
        (lambda: layers.ELU(float("nan")), "finite"),
        (lambda: Linear.from_torch({"a.bias": np.zeros(2)}, "a"), "missing a.weight"),
        (lambda: BatchNorm1d.from_torch({}, "a"), "missing a.running_mean, a.running_var"),
        (lambda: Linear.from_torch({"weight": np.zeros((2, 3))}, None), "Linear: prefix is None, expected a text"),
        (lambda: LayerNorm.from_torch([np.zeros(2)]), "LayerNorm: weights: got list, expected a mapping"),
        (lambda: BatchNorm1d.from_torch(None), "BatchNorm1d: weights: got NoneType"),
        (lambda: GRU.from_torch({}, prefix=None), "GRU: prefix is None"),
        (lambda: GRU.from_torch({0: np.zeros(2)}), "no weight_ih_l0"),
        (lambda: GRUCell.from_torch({}, prefix=3), "GRUCell: prefix is 3"),
        (lambda: GRU(3, 5), "from_torch"),
        (lambda: GRU([3], [[5]]), "from_torch"),
        (lambda: GRUCell(3, 5), "spec is 3, expected a GRUSpec"),
        (lambda: Linear(np.zeros(3)), r"weight has shape \(3,\)"),
        (lambda: Linear(np.zeros((3, 2)), np.zeros(2)), r"bias has shape \(2,\), expected \(3,\)"),
        (lambda: LayerNorm(3, np.zeros(2)), "weight has shape"),
        (lambda: BatchNorm1d(np.zeros(3), np.zeros(2)), "running_var has shape"),
        (lambda: PReLU(np.zeros((1, 2))), "weight has shape"),
        (lambda: Embedding(np.zeros((3, 2), int)), "got dtype int64"),
    ],
)
def test_refused_when_made(make, said):
    with pytest.raises((SpecError, ShapeError), match=said):
        make()


def test_precision_of_the_whole():
    net = Sequential(ReLU(), Tanh(precision="float64"), precision="float64")
    assert net.precision == "float64"
    assert [repr(layer) for layer in net] == ["ReLU()", "Tanh()"]
    assert isinstance(net[1], Tanh)
    assert len(net) == 2
    assert isinstance(Select(0, 1), Select)


def test_every_layer_is_exported():
    made = {v.__name__ for v in vars(layers).values() if isinstance(v, type) and issubclass(v, layers.Layer)}
    assert made | {"Gate"} == set(layers.__all__)


def test_no_layer_takes_what_it_ignores():
    for name in layers.__all__:
        assert "kwargs" not in inspect.signature(getattr(layers, name)).parameters


@pytest.mark.parametrize(
    ("lengths", "words"),
    [
        ([7.5, 4, 2], "lengths: got 7.5, expected whole numbers"),
        ([float("nan"), 4, 2], "lengths: got nan, expected whole numbers"),
        (
            np.array([7.0, 4, 2]),
            "lengths: got dtype float64, expected integers: give it as np.asarray(lengths, np.int64)",
        ),
    ],
)
def test_lengths_that_are_no_integers(lengths: object, words: str) -> None:
    gru = layers.GRU.from_torch({"weight_ih_l0": np.ones((6, 3), "f4"), "weight_hh_l0": np.ones((6, 2), "f4")})
    with pytest.raises(ShapeError) as caught:
        gru(np.zeros((8, 3, 3), np.float32), lengths=lengths)  # type: ignore[arg-type]
    assert str(caught.value) == words

"""Fits: against torch's optimizers, frozen weights, resumed bits, what is refused, and what learns at all."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from learn_cases import gru_of
from onnx import helper, numpy_helper

import fastgru
from fastgru import learn
from fastgru.errors import LearningError, ShapeError, StateError, UnsupportedModelError
from fastgru.spec import Activation, GRUSpec


def char_net(seed=0, V=9, D=6, H=12, batch_first=False, **spec):
    rng = np.random.default_rng(seed)
    single = {"precision": "float32"}
    return fastgru.Sequential(
        fastgru.Embedding(rng.standard_normal((V, D)).astype(np.float32), **single),
        gru_of(rng, GRUSpec(D, H, batch_first=batch_first, **spec), **single),
        fastgru.Linear(rng.standard_normal((V, H)).astype(np.float32) / 4, np.zeros(V, np.float32), **single),
    )


def text(T=121, N=4, V=9, seed=1):
    """Each symbol follows from the one before, and some noise."""
    rng = np.random.default_rng(seed)
    ids = np.zeros((T, N), np.int64)
    for t in range(1, T):
        ids[t] = np.where(rng.random(N) < 0.9, (3 * ids[t - 1] + 1) % V, rng.integers(0, V, N))
    return ids[:-1], ids[1:]


def arrays_of(net):
    graph = net.to_graph()
    return {name: np.array(graph.constants[name]) for name in graph.constants}


def test_a_network_learns_and_the_one_that_was_given_does_not_change():
    net, data = char_net(), text()
    before, y = arrays_of(net), net(data[0])
    told = []
    found = learn.fit(net, data, lr=1e-2, epochs=30, window=20, progress=told.append)
    assert found.native
    assert len(found.history) == 30 * 6
    assert told == list(found.history)
    assert found.history[0].loss > 1.8
    assert found.history[-1].loss < 0.9
    for name, a in arrays_of(net).items():
        np.testing.assert_array_equal(a, before[name])
    np.testing.assert_array_equal(net(data[0]), y)
    assert isinstance(found.net, fastgru.Sequential)
    mean = learn.gradients(found.net, *data, reduction="mean").loss
    assert mean == pytest.approx(found.history[-1].loss, abs=0.2)


@pytest.mark.parametrize("batch_first", [True, False])
def test_a_step_is_that_of_the_definition(batch_first):
    """SGD with a rate of 1: the weights less the gradient of the mean, also from the second window with its state."""
    net, (x, targets) = char_net(batch_first=batch_first), text(T=21)
    data = (x.T, targets.T) if batch_first else (x, targets)
    found = learn.fit(net, data, optimizer=learn.SGD, lr=1.0, dtype="float64")
    expected = learn.gradients(net, *data, reduction="mean")
    after, before = arrays_of(found.net), arrays_of(net)
    for name, gradient in expected.weights.items():
        np.testing.assert_allclose(after[name], before[name] - gradient, rtol=0, atol=1e-6)
    two = learn.fit(net, data, optimizer=learn.SGD, lr=0.0, window=10, dtype="float64")
    assert np.mean([step.loss for step in two.history]) == pytest.approx(expected.loss, rel=1e-6), "the state goes on"


def test_models_and_single_layers_are_what_they_were():
    net, data = char_net(), text(T=31)
    model = fastgru.Model(net.to_graph())
    found = learn.fit(model, data, lr=1e-2)
    assert isinstance(found.net, fastgru.Model)
    np.testing.assert_array_equal(found.net(data[0]), learn.fit(net, data, lr=1e-2).net(data[0]))
    rng = np.random.default_rng(2)
    gru = gru_of(rng, GRUSpec(3, 4), GRUSpec(4, 4))
    x = rng.standard_normal((10, 2, 3))
    made = learn.fit(gru, (x, rng.standard_normal((10, 2, 4))), loss="squared_error", dtype="float64").net
    assert isinstance(made, fastgru.GRU)
    assert not np.array_equal(made.weights[1][0].weight_hh, gru.weights[1][0].weight_hh)


def test_frozen_weights_keep_their_bits():
    net, data = char_net(), text()
    after = arrays_of(learn.fit(net, data, train=["2."], lr=0.1, weight_decay=0.1, optimizer=learn.AdamW).net)
    for name, a in arrays_of(net).items():
        assert np.array_equal(a, after[name]) == (not name.startswith("2.")), name
    after = arrays_of(learn.fit(net, data, train=["1.bias_hh_l0", "0.weight"], lr=0.1, optimizer=learn.SGD(0.9)).net)
    changed = {name for name, a in arrays_of(net).items() if not np.array_equal(a, after[name])}
    assert changed == {"1.bias_hh_l0", "0.weight"}


@pytest.mark.parametrize("optimizer", [learn.SGD(momentum=0.9), learn.Adam(), learn.AdamW(betas=(0.8, 0.9))])
def test_interrupted_and_resumed_gives_the_same_bits(optimizer, tmp_path):
    net, data, held = char_net(), [text(seed=1), text(T=61, seed=2)], text(seed=3)
    settings = {"optimizer": optimizer, "lr": lambda step: 0.02 / (1 + step / 10), "clip_norm": 1.0, "window": 25}
    settings |= {"epochs": 4, "seed": 5, "held_out": held, "weight_decay": 0.01}
    whole = learn.fit(net, data, **settings)
    path = tmp_path / "fit.safetensors"

    def stop(step):
        if step.step in (8, 17):
            raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            learn.fit(net, data, **settings, checkpoint=path, checkpoint_steps=3, progress=stop)
    resumed = learn.fit(net, data, **settings, checkpoint=path, checkpoint_steps=3, threads=2)
    assert resumed.history == whole.history
    assert resumed.best_epoch == whole.best_epoch
    for name, a in arrays_of(whole.net).items():
        np.testing.assert_array_equal(arrays_of(resumed.net)[name], a)
    with pytest.raises(StateError, match="other settings, data or weights"):
        learn.fit(net, data, **{**settings, "window": 24}, checkpoint=path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(StateError, match="damaged, or not from a fit"):
        learn.fit(net, data, **settings, checkpoint=path)


def test_another_seed_is_another_order_and_threads_change_no_bit():
    net, data = char_net(), [text(seed=k, T=31) for k in range(4)]
    one, same, other = (learn.fit(net, data, seed=s, threads=t, lr=0.01) for s, t in ((0, 1), (0, 3), (1, 1)))
    assert one.history == same.history
    assert one.history != other.history


def test_early_stopping_keeps_the_best_weights():
    net, data, held = char_net(), text(T=31), text(T=31, seed=9)
    found = learn.fit(net, data, held_out=held, patience=2, epochs=200, lr=0.05)
    losses = [step.held_out for step in found.history]
    assert len(losses) < 200
    assert found.best_epoch == 1 + int(np.argmin(losses)) == len(losses) - 2
    assert learn.gradients(found.net, *held, reduction="mean").loss == pytest.approx(min(losses), rel=1e-5)


def test_resets_and_masks():
    net, (x, targets) = char_net(), text(T=41)
    reset = np.zeros(x.shape, bool)
    reset[20] = True
    joined = learn.fit(net, (x, targets), reset=reset, optimizer=learn.SGD, lr=0.0, dtype="float64")
    halves = [learn.gradients(net, x[a : a + 20], targets[a : a + 20], reduction="mean").loss for a in (0, 20)]
    assert joined.history[0].loss == pytest.approx(np.mean(halves), rel=1e-9)
    mask = np.random.default_rng(0).random(x.shape) < 0.5
    masked = learn.fit(net, (x, targets, mask), lr=0.0, dtype="float64")
    assert masked.history[0].loss == pytest.approx(learn.gradients(net, x, targets, mask=mask, reduction="mean").loss)


def test_networks_whose_layers_learn_natively_in_any_form():
    rng = np.random.default_rng(3)
    spec = GRUSpec(3, 4, candidate_activations=(Activation("softsign"),), batch_first=True)
    net = fastgru.Sequential(gru_of(rng, spec), fastgru.Linear(rng.standard_normal((2, 4)), precision="float64"))
    x, targets = rng.standard_normal((2, 12, 3)), rng.standard_normal((2, 12, 2))
    found = learn.fit(net, (x, targets), loss="squared_error", lr=0.02, epochs=20, window=6, dtype="float64")
    assert found.native
    assert found.history[-1].loss < 0.7 * found.history[0].loss
    both = fastgru.Sequential(gru_of(rng, GRUSpec(3, 4, "bidirectional")), fastgru.LastStep(precision="float64"),
                              fastgru.Linear(rng.standard_normal((3, 8)), precision="float64"))  # fmt: skip
    labels = rng.integers(0, 3, 6)
    found = learn.fit(both, (rng.standard_normal((5, 6, 3)), labels), lr=0.05, epochs=40, dtype="float64")
    assert found.history[-1].loss < 0.2
    with pytest.raises(UnsupportedModelError, match="window: the network needs whole sequences"):
        learn.fit(both, (rng.standard_normal((5, 6, 3)), labels), window=2)
    with pytest.raises(ShapeError, match="got a mask"):
        learn.fit(both, (rng.standard_normal((5, 6, 3)), labels, np.ones((5, 6), bool)))
    branch = fastgru.Sequential(gru_of(rng, GRUSpec(3, 4)), fastgru.Transpose(0, 1, precision="float64"))
    with pytest.raises(UnsupportedModelError, match="only at the first step of a window"):
        learn.fit(branch, (rng.standard_normal((5, 5, 3)), rng.standard_normal((5, 5, 4))), loss="squared_error",
                  reset=np.ones((5, 5), bool))  # fmt: skip


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_torchs_optimizers(name):
    torch = pytest.importorskip("torch", reason="needs torch, whose optimizers are the oracle")
    net, (x, targets) = char_net(), text(T=41)
    modules = torch.nn.ModuleList([torch.nn.Embedding(9, 6), torch.nn.GRU(6, 12), torch.nn.Linear(12, 9)]).double()
    modules.load_state_dict({k: torch.from_numpy(v).double() for k, v in arrays_of(net).items()})
    given = {"momentum": 0.9} if name == "SGD" else {}
    optimizer = getattr(torch.optim, name)(modules.parameters(), lr=0.05, weight_decay=0.02, **given)
    h = None
    for _ in range(2):
        h = None
        for first in range(0, 40, 10):
            optimizer.zero_grad()
            y, h = modules[1](modules[0](torch.from_numpy(x[first : first + 10])), h)
            loss = torch.nn.functional.cross_entropy(
                modules[2](y).flatten(0, 1), torch.from_numpy(targets[first : first + 10]).flatten()
            )
            loss.backward()
            torch.nn.utils.clip_grad_norm_(modules.parameters(), 0.5)
            optimizer.step()
            h = h.detach()
    rule = getattr(learn, name)(**given)
    found = learn.fit(net, (x, targets), optimizer=rule, lr=0.05, weight_decay=0.02, clip_norm=0.5, window=10, epochs=2,
                      dtype="float64")  # fmt: skip
    for key, parameter in modules.named_parameters():
        np.testing.assert_allclose(arrays_of(found.net)[key], parameter.detach().numpy(), rtol=0, atol=1e-5)
    assert found.history[-1].loss == pytest.approx(loss.item(), rel=1e-6)


X, T = text(T=21)


@pytest.mark.parametrize(("arguments", "options", "message"), [
    ((X, T + 5), {}, "out of range, expected classes from 0 to 8"),
    ((X + 1000, T), {}, r"data: x: id 1\d\d\d is out of range, expected ids from 0 to 8"),
    ((X - 9, T), {}, r"data: x: id -\d is out of range, expected ids from 0 to 8"),
    ((X.astype(np.float32), T), {}, "data: x: got float32, expected integers such as int"),
    ((X[..., None], T), {}, r"data: x: got int64 \(20, 4, 1\), expected int"),
    ((X, T), {"held_out": (X + 9, T), "patience": 1}, r"data: x: id \d+ is out of range"),
    ((X, T[:5]), {}, r"data: targets: got shape \(5, 4\), expected \(20, 4\)"),
    (X, {}, r"data: got ndarray, expected \(x, targets\)"),
    ([(X, T), (X,)], {}, r"data\[1\]: got tuple"),
    ([], {}, r"data: got an empty list"),
    ((X, T, T), {}, "mask is int64"),
    ((X, T, X < -1), {}, "data: mask is False everywhere, expected at least one step that counts"),
    ((X, T), {"reset": np.zeros((3, 3), bool)}, r"reset is bool \(3, 3\), expected bool \(20, 4\)"),
    ((X, T), {"train": ["3."]}, r"train: there are no weights 3.; the weights are 0.weight, 1.weight_ih_l0"),
    ((X, T), {"train": "2."}, "train is '2.', expected names"),
    ((X, T), {"lr": -1.0}, "lr is -1.0 at step 0"),
    ((X, T), {"lr": lambda step: float("nan")}, "lr is nan"),
    ((X, T), {"epochs": 0}, "epochs is 0, expected an integer of at least 1"),
    ((X, T), {"clip_norm": -1}, "clip_norm is -1"),
    ((X, T), {"patience": 2}, "patience needs held_out"),
    ((X, T), {"dtype": "float16"}, "dtype is 'float16'"),
    ((X, T), {"seed": -1}, "seed is -1"),
    ((X, T), {"optimizer": "adam"}, "optimizer is 'adam'"),
    ((X, T), {"loss": "hinge"}, "loss is 'hinge'"),
])  # fmt: skip
def test_bad_input_is_refused_by_name(arguments, options, message):
    net = char_net()
    before = arrays_of(net)
    with pytest.raises(ShapeError, match=message):
        learn.fit(net, arguments, **options)
    for name, a in arrays_of(net).items():
        np.testing.assert_array_equal(a, before[name])


def test_inputs_of_another_width_are_refused():
    rng = np.random.default_rng(2)
    net = fastgru.Sequential(
        gru_of(rng, GRUSpec(3, 4)), fastgru.Linear(rng.standard_normal((2, 4)), precision="float64")
    )
    x, y = rng.standard_normal((10, 2, 4)), rng.standard_normal((10, 2, 2))
    for wrong in (x, x[..., :2]):
        with pytest.raises(ShapeError, match=r"data: x: got float32 \(10, 2, \d\), expected"):
            learn.fit(net, (wrong, y), loss="squared_error")


def test_a_fit_that_diverges_changes_nothing():
    net = char_net()
    before, wanted = arrays_of(net), np.zeros((20, 4, 9), np.float32)
    with pytest.raises(LearningError, match=r"step \d+: the loss is"), np.errstate(all="ignore"):
        learn.fit(net, (X, wanted), loss="squared_error", optimizer=learn.SGD, lr=1e30, epochs=5)
    for name, a in arrays_of(net).items():
        np.testing.assert_array_equal(a, before[name])
    with pytest.raises(TypeError, match="fit has no option learning_rate"):
        learn.fit(net, (X, T), learning_rate=1)
    with pytest.raises(UnsupportedModelError, match="its weights are int8"):
        learn.fit(fastgru.Sequential(*net.layers, precision="int8"), (X, T))
    with pytest.raises(ShapeError, match="momentum is 1"):
        learn.SGD(momentum=1)
    with pytest.raises(ShapeError, match="a beta is 2"):
        learn.Adam(betas=(0.9, 2))


def added(layout, H=3):
    """An ONNX model x, h0 -> x + GRU(x), hn; with the layout 1 the batch is the first axis of the state, too."""
    rng, info = np.random.default_rng(0), helper.make_tensor_value_info
    arrays = {"W": (1, 3 * H, H), "R": (1, 3 * H, H), "B": (1, 6 * H)}
    constants = [numpy_helper.from_array(rng.standard_normal(s).astype(np.float32), n) for n, s in arrays.items()]
    constants.append(numpy_helper.from_array(np.array([2 if layout else 1]), "axes"))
    nodes = [
        helper.make_node("GRU", ["x", "W", "R", "B", "", "h0"], ["Y", "hn"], hidden_size=H, layout=layout),
        helper.make_node("Squeeze", ["Y", "axes"], ["y0"]),
        helper.make_node("Add", ["y0", "x"], ["y"]),
    ]
    x, h = (["N", "T", H], ["N", 1, H]) if layout else (["T", "N", H], [1, "N", H])
    graph = helper.make_graph(
        nodes, "g", [info("x", 1, x), info("h0", 1, h)], [info("y", 1, x), info("hn", 1, h)], constants
    )
    opset = helper.make_opsetid("", 17)
    return fastgru.load(helper.make_model(graph, opset_imports=[opset], ir_version=9).SerializeToString())


def test_rows_begin_anew_wherever_the_batch_of_the_state_is():
    rng = np.random.default_rng(1)
    x, targets = rng.standard_normal((2, 12, 4, 3)).astype(np.float32)
    reset = np.zeros((12, 4), bool)
    reset[6, [0, 2]] = True
    asked = {"window": 6, "loss": "squared_error", "optimizer": learn.SGD, "lr": 0.1}
    one = learn.fit(added(0), (x, targets), reset=reset, **asked)
    swapped = [a.swapaxes(0, 1) for a in (x, targets)]
    other = learn.fit(added(1), tuple(swapped), reset=reset.T, **asked)
    np.testing.assert_allclose([s.loss for s in one.history], [s.loss for s in other.history], rtol=1e-6)
    assert one.history[1] != learn.fit(added(0), (x, targets), **asked).history[1]


def test_rows_begin_anew_wherever_the_batch_is():
    """reset (N, T) of a network with the batch first is that of (T, N)."""
    x, targets = text(T=31)
    reset = np.random.default_rng(5).random(x.shape) < 0.2
    asked = {"window": 10, "optimizer": learn.SGD, "lr": 0.5}
    one = learn.fit(char_net(), (x, targets), reset=reset, **asked)
    other = learn.fit(char_net(batch_first=True), (x.T, targets.T), reset=reset.T, **asked)
    assert [step.loss for step in one.history] == [step.loss for step in other.history]
    plain = learn.fit(char_net(), (x, targets), **asked)
    assert plain.history != one.history
    for name, a in arrays_of(one.net).items():
        np.testing.assert_array_equal(a, arrays_of(other.net)[name])


def test_a_cross_entropy_of_a_softmax_is_warned_of():
    net, (x, y) = fastgru.Sequential(char_net(), fastgru.Softmax(-1, precision="float32")), text()
    with pytest.warns(UserWarning, match="comes from a Softmax.* loss='cross_entropy_of_probabilities'"):
        learn.fit(net, (x, y), loss="cross_entropy", epochs=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learn.fit(net, (x, y), loss="cross_entropy_of_probabilities", epochs=1)

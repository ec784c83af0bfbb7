"""What a model remembers: against Jacobians of their own, textbook cases, and chunks that are run."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from learn_cases import gru_of, weights_of

import fastgru
from fastgru import learn
from fastgru.errors import LearningError, ShapeError, StateError, UnsupportedModelError
from fastgru.graph import Graph, Node, TensorSpec
from fastgru.learn.decay import lags
from fastgru.learn.warmup import _tail
from fastgru.reference import run_graph
from fastgru.spec import GRUSpec

MODELS = Path(__file__).parents[3] / "shared" / "models"
needs_models = pytest.mark.skipif(not MODELS.is_dir(), reason="../shared/models is absent")


def held(r: float | None, z: float | None, H: int = 4, I: int = 3) -> fastgru.GRU:
    """A GRU whose gates biases of 1,000 hold."""
    spec = GRUSpec(I, H)
    (w,) = weights_of(np.random.default_rng(4), spec)
    for k, gate in enumerate((r, z)):
        if gate is not None:
            w.bias_ih[k * H : (k + 1) * H] = 1000 * (2 * gate - 1)
    return fastgru.GRU([spec], [(w,)], precision="float64")


def input_of(T: int, I: int = 3, N: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((T, N, I))


def test_norms_are_those_of_the_products_of_the_jacobians():
    rng = np.random.default_rng(1)
    net = fastgru.Sequential(gru_of(rng, GRUSpec(3, 5)), fastgru.Tanh(precision="float64"), gru_of(rng, GRUSpec(5, 4)))
    x, T, K = input_of(60), 60, 20
    found = learn.memory(net, x, runs=3, horizon=K, bound=0.5)
    assert found.states == 9
    assert found.of_states.norm == "largest singular value"
    assert list(found.of_states.k) == lags(K)
    starts = np.linspace(0, T - K - 1, 3).astype(int)
    steps = learn.jacobians(net, x)
    for i, k in enumerate(found.of_states.k):
        norms = [np.linalg.norm(learn.product(steps, t, t + k)[0], 2) for t in starts]
        assert found.of_states.mean[i] == pytest.approx(np.mean(norms), rel=1e-5)
        assert found.of_states.largest[i] == pytest.approx(np.max(norms), rel=1e-5)


def test_norms_of_a_frame_are_those_of_autograd():
    """dy_T/dx_{T-k} by gradients of one output unit each."""
    net, x, K = gru_of(np.random.default_rng(2), GRUSpec(3, 4)), input_of(40), 6
    found = learn.memory(net, x, runs=1, horizon=K, bound=0.5)

    def one(j: int):
        def loss(y: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            slope = np.zeros_like(y)
            slope[-1, 0, j] = 1
            return (slope * y).sum(axis=-1), slope

        return loss

    for i, k in enumerate(found.of_frames.k):
        part = x[: k + 1]
        zeros = np.zeros((k + 1, 1, 4))
        rows = [learn.gradients(net, part, zeros, loss=one(j), output="y").inputs["x"][0, 0] for j in range(4)]
        assert found.of_frames.largest[i] == pytest.approx(np.linalg.norm(rows, 2), rel=1e-5)


def test_update_gate_at_one_never_forgets():
    found = learn.memory(held(0.5, 1), input_of(40), horizon=10)
    (layer,) = found.layers
    assert np.isinf(layer.half_life).all()
    assert np.isinf(layer.half_life_by_gate).all()
    assert layer.gates["z"] == (0, 0, 1)
    assert layer.dead == (0, 1, 2, 3)
    np.testing.assert_allclose(found.of_states.mean, 1, rtol=1e-9)
    assert found.growth.verdict == "stays"
    assert found.growth.mean == pytest.approx(1, abs=1e-9)
    assert found.warm_up.frames == 0, "the state is zero throughout, and so is every chunk"
    assert found.to_dict()["layers"][0]["half_life"] == [None] * 4
    json.dumps(found.to_dict())


def test_update_and_reset_gate_at_zero_remember_nothing():
    found = learn.memory(held(0, 0), input_of(40), horizon=10)
    (layer,) = found.layers
    assert not layer.half_life.any()
    assert not layer.half_life_by_gate.any()
    assert layer.gates == {"r": (1, 0, 0), "z": (1, 0, 0)}
    assert not np.any(found.of_states.largest)
    assert not np.any(found.of_frames.largest)
    assert found.growth.mean == 0
    assert found.growth.verdict == "vanishes"
    assert found.warm_up.frames == 0
    assert found.warm_up.held_out.holds


@pytest.mark.parametrize("z", [0.3, 0.8, 0.95])
def test_a_gate_that_is_held_between_tells_the_half_life(z):
    """With r = 0 and z fixed, dh'/dh is z times the identity."""
    net = held(0, None)
    w = copy.deepcopy(net.weights[0][0])  # a layer's own weights are read-only
    w.weight_ih[4:8], w.weight_hh[4:8], w.bias_hh[4:8] = 0, 0, 0
    w.bias_ih[4:8] = np.log(z / (1 - z))
    found = learn.memory(fastgru.GRU(net.specs, [(w,)], precision="float64"), input_of(200), horizon=40)
    expected = np.log(2) / -np.log(z)
    np.testing.assert_allclose(found.layers[0].half_life, expected, rtol=1e-9)
    np.testing.assert_allclose(found.layers[0].half_life_by_gate, expected, rtol=1e-9)
    assert found.growth.mean == pytest.approx(z, rel=1e-6)
    assert found.growth.half_life == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(found.of_states.mean, z ** np.array(found.of_states.k, float), rtol=1e-5, atol=1e-6)


def test_growth_that_is_not_a_number_is_an_error():
    """The state is the square root of a state of 0, so that the states beside it are NaN, and only they."""
    nodes = (
        Node("unary", ("s",), ("s_out",), {"kind": "sqrt"}),
        Node("unary", ("x",), ("y",), {"kind": "neg"}),
    )
    specs = tuple(TensorSpec(name, "float32", (None, 2)) for name in ("x", "s"))
    outputs = tuple(TensorSpec(name, "float32", (None, 2)) for name in ("y", "s_out"))
    graph = Graph(specs, outputs, nodes, {}, {"s": "s_out"})
    with pytest.raises(LearningError, match=r"growth .* is NaN or infinite in frame 0"):
        learn.memory(graph, np.ones((40, 1, 2), np.float32), horizon=10)


def test_a_simple_recurrent_network_with_large_weights_explodes():
    spec = GRUSpec(3, 4, candidate_activations=(fastgru.Activation("affine", 1.0, 0.0),))
    (w,) = weights_of(np.random.default_rng(3), spec)
    w.bias_ih[:4], w.bias_ih[4:8] = 1000, -1000
    w.weight_hh[:8], w.weight_hh[8:] = 0, 1.1 * np.eye(4)
    found = learn.memory(fastgru.GRU([spec], [(w,)], precision="float64"), input_of(60), horizon=12)
    assert found.growth.verdict == "explodes"
    assert found.growth.mean == pytest.approx(1.1, rel=1e-6)
    assert np.isinf(found.growth.half_life)
    assert found.warm_up.frames is None
    assert found.warm_up.held_out is None


def test_a_chunk_after_the_warm_up_is_within_the_bound():
    """Once more by calls of the network alone."""
    net, x = gru_of(np.random.default_rng(5), GRUSpec(3, 6)), input_of(300)
    found = learn.memory(net, x, bound=1e-4)
    warm = found.warm_up
    assert warm.held_out.holds
    whole, _ = net(x)
    scale = np.abs(whole[:150]).max()
    assert warm.scales == {"y": pytest.approx(scale)}
    for t in range(150, 300 - warm.frames - 1):
        chunk, _ = net(x[t:])
        assert np.abs(chunk - whole[t:])[warm.frames :].max() <= 1e-4 * scale


def test_rows_predict_and_check_each_other():
    x = input_of(100, N=4)
    found = learn.memory(gru_of(np.random.default_rng(5), GRUSpec(3, 6)), x, bound=0.05)
    assert found.rows == 4
    assert found.warm_up.horizon == 50
    assert found.warm_up.held_out.holds


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_every_precision_warms_up_by_itself(precision):
    spec = GRUSpec(8, 16)
    net = fastgru.GRU([spec], [weights_of(np.random.default_rng(6), spec)], precision=precision)
    found = learn.memory(net, input_of(300, I=8).astype(np.float32), bound=0.02)
    assert found.warm_up.held_out.holds


def cached() -> Graph:
    """y = the sum of a frame and the one before, which a cache keeps: no recurrent layer, a state of a fixed batch."""
    x, c = TensorSpec("x", "float32", (1, 3)), TensorSpec("cache", "float32", (1, 3))
    y, after = TensorSpec("y", "float32", (1, 3)), TensorSpec("cache_out", "float32", (1, 3))
    nodes = (
        Node("binary", ("x", "cache"), ("y",), {"kind": "add"}),
        Node("unary", ("x",), ("negative",), {"kind": "neg"}),
        Node("unary", ("negative",), ("cache_out",), {"kind": "neg"}),
    )
    return Graph((x, c), (y, after), nodes, states={"cache": "cache_out"})


def test_a_cache_is_remembered_for_its_length():
    x = np.random.default_rng(0).standard_normal((40, 1, 3)).astype(np.float32)
    found = learn.memory(cached(), x, horizon=5)
    assert found.layers == ()
    assert not np.any(found.of_states.largest)
    assert found.of_frames.k[:2] == (1, 2)
    np.testing.assert_allclose(found.of_frames.mean, [1, 0, 0, 0, 0], atol=1e-9)
    assert found.warm_up.frames == 1
    assert found.warm_up.held_out.holds


def test_ids_count_as_the_vectors_of_their_embedding():
    model = fastgru.load(fastgru.demo_path())
    ids = np.random.default_rng(0).integers(0, 63, 60)
    found = learn.memory(model, ids, runs=1, horizon=3, chunks=2, bound=0.5)
    graph = model.graph
    feeds = {"tokens": ids[None, :2], "h0": np.zeros((2, 1, 192))}
    embedding, nodes = graph.nodes[0], graph.nodes[1:]
    assert embedding.op == "embedding"
    inputs = (TensorSpec("x0", "float32", (1, 2, 48)), *(s for s in graph.inputs if s.name == "h0"))
    rest = Graph(inputs, graph.outputs, nodes, graph.constants)
    vectors = np.asarray(graph.constants["embedding.weight"], np.float64)[ids[None, :2]]

    def last(by: np.ndarray) -> np.ndarray:
        moved = vectors.copy()
        moved[0, 0] += by
        return run_graph(rest, {"x0": moved, "h0": feeds["h0"]})["logits"][0, -1]

    slopes = [(last(e) - last(-e)) / 2e-5 for e in 1e-5 * np.eye(vectors.shape[2])]
    assert found.of_frames.mean[0] == pytest.approx(np.linalg.norm(slopes, 2), rel=1e-4)


@given(st.lists(st.integers(0, 500), min_size=1, max_size=40), st.floats(1e-6, 0.5))
@settings(deadline=None, max_examples=100)
def test_the_tail_covers_what_was_seen_and_grows_with_rarer_risk(needed, risk):
    array = np.array(needed)
    assert _tail(array, risk) >= array.max()
    assert _tail(array, risk / 2) >= _tail(array, risk)


@given(st.integers(1, 5000))
def test_lags_ascend_to_the_last(most):
    found = lags(most)
    assert found == sorted(set(found))
    assert found[-1] == most
    assert found[0] == 1


def test_bad_input_is_named():
    rng = np.random.default_rng(0)
    net, x = gru_of(rng, GRUSpec(3, 4)), input_of(40)
    with pytest.raises(ShapeError, match=r"x: 1 of 120 values are NaN or infinite"):
        learn.memory(net, np.where(np.arange(120).reshape(40, 1, 3) == 7, np.nan, x))
    with pytest.raises(ShapeError, match="got 3 frames, expected at least 8"):
        learn.memory(net, x[:3])
    with pytest.raises(ShapeError, match=r"x: got shape \(3,\), expected \(\?, \?, 3\), or \(frames, \?, \?, 3\)"):
        learn.memory(net, x[0, 0])
    with pytest.raises(ShapeError, match="unknown z; expected x"):
        learn.memory(net, {"x": x, "z": x})
    with pytest.raises(ShapeError, match="bound is -1, expected a number above 0"):
        learn.memory(net, x, bound=-1)
    with pytest.raises(ShapeError, match="seed is -1, expected an integer of at least 0"):
        learn.memory(net, x, seed=-1)
    with pytest.raises(ShapeError, match="horizon is 0, expected an integer of at least 1"):
        learn.memory(net, x, horizon=0)
    with pytest.raises(ShapeError, match="expected a multiple of 7"):
        learn.memory(net, x, frame=7)
    with pytest.raises(TypeError, match="memory has no option speed"):
        learn.memory(net, x, speed=1)
    with pytest.raises(TypeError, match="model is str"):
        learn.memory("model.onnx", x)
    with pytest.raises(StateError):
        learn.memory(fastgru.Sequential(fastgru.Linear(rng.standard_normal((3, 3)))), x)
    with pytest.raises(UnsupportedModelError, match="reverse direction"):
        learn.memory(gru_of(rng, GRUSpec(3, 2, "bidirectional")), x)
    with pytest.raises(ShapeError, match=r"expected one call in each entry, \(frames, 1, 3\)"):
        learn.memory(cached(), np.zeros((1, 3), np.float32))


def test_outputs_that_are_not_finite_are_told():
    spec = GRUSpec(3, 4, candidate_activations=(fastgru.Activation("affine", 1.0, 0.0),))
    (w,) = weights_of(np.random.default_rng(3), spec)
    w.bias_ih[:4], w.bias_ih[4:8] = 1000, -1000
    w.weight_hh[8:] = 1e30 * np.eye(4)
    with pytest.raises(LearningError, match="output 'y' is NaN or infinite, first in frame"):
        learn.memory(fastgru.GRU([spec], [(w,)], precision="float64"), input_of(60))


def test_other_recurrent_layers_are_named_and_their_states_counted():
    from fastgru.spec import LSTMSpec

    spec, rng = LSTMSpec(3, 4), np.random.default_rng(1)
    arrays = {name: 0.3 * rng.standard_normal(shape) for name, shape in spec.weight_shapes.items()}
    inputs = (
        TensorSpec("x", "float32", (None, None, 3), ("T", "N", None)),
        *(TensorSpec(name, "float32", (1, None, 4), (None, "N", None)) for name in ("h0", "c0")),
    )
    outputs = (
        TensorSpec("y", "float32", (None, None, 4)),
        *(TensorSpec(name, "float32", (1, None, 4)) for name in ("hn", "cn")),
    )
    node = Node("lstm", ("x", "h0", "", "", "c0", *arrays), ("y", "hn", "cn"), {"spec": spec.to_dict()}, "l")
    graph = Graph(inputs, outputs, (node,), arrays, {"h0": "hn", "c0": "cn"})
    found = learn.memory(graph, input_of(200).astype(np.float32), horizon=40)
    assert found.states == 8
    assert found.layers == ()
    assert found.skipped == {"l": "it is a lstm, and has other gates"}
    assert found.warm_up.held_out.holds


@pytest.mark.slow
@needs_models
def test_rnnoise_warms_up_as_predicted():
    model = fastgru.load(MODELS / "rnnoise" / "bd.hdf5", open_states=True)
    with np.load(MODELS / "rnnoise" / "golden.npz") as golden:
        frames = golden["x"].reshape(-1, 42)
    x = frames[np.random.default_rng(0).integers(0, len(frames), 12_000)]
    found = learn.memory(model, x, bound=0.1, runs=1, chunks=16)
    assert found.states == 24 + 48 + 96
    assert [(layer.units, layer.along) for layer in found.layers] == [(24, "stream"), (48, "stream"), (96, "stream")]
    assert found.growth.verdict == "vanishes"
    assert found.warm_up.frames > 100
    assert found.warm_up.held_out.holds


@pytest.mark.slow
@needs_models
def test_gtcrn_warms_up_as_predicted():
    model = fastgru.load(MODELS / "gtcrn" / "gtcrn.onnx")
    with np.load(MODELS / "gtcrn" / "golden.npz") as golden:
        mix = golden["mix"]
    rng = np.random.default_rng(0)
    pieces = [(mix if rng.random() < 0.5 else mix[::-1]) * rng.uniform(0.1, 2) for _ in range(130)]
    x = np.concatenate(pieces).astype(np.float32)[:, None, :, None]
    found = learn.memory(model, x, bound=0.25, runs=1, chunks=12, horizon=2000)
    assert found.of_states.norm == "Frobenius norm, from 16 random directions"
    assert {layer.along for layer in found.layers} == {"stream", "frame"}
    assert found.warm_up.held_out.holds


@pytest.mark.slow
def test_the_shipped_model_warms_up_as_predicted():
    from fastgru.cli.charmodel import CharModel, Timing

    model = CharModel()
    text = "".join(c for c, _ in model.write("", 5000, temperature=1.0, seed=1, timing=Timing()))
    found = learn.memory(model.model, model.encode(text), bound=0.05, runs=1, horizon=700)
    assert found.warm_up.held_out.holds
    assert [layer.units for layer in found.layers] == [192, 192]


def test_progress_tells_how_much_of_each_stage_is_done():
    told: list[str] = []
    net, x = gru_of(np.random.default_rng(2), GRUSpec(3, 4)), input_of(300)
    found = learn.memory(net, x, runs=2, horizon=20, chunks=3, bound=0.5, progress=told.append)
    assert found.warm_up.held_out is not None
    for text in (
        "1 of 5: the whole input, frame 100 of 300", "1 of 5: the whole input, frame 300 of 300",
        "2 of 5: norms, frame 1 of 42", "2 of 5: norms, frame 42 of 42",
        "3 of 5: the growth of a difference, frame 300 of 300",
        "4 of 5: the warm-up, chunk 1 of 3", "4 of 5: the warm-up, chunk 3 of 3",
        "5 of 5: the check of the warm-up, chunk 3 of 3",
    ):  # fmt: skip
        assert text in told, told
    assert [text[0] for text in told] == sorted(text[0] for text in told)

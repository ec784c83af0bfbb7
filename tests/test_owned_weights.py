"""Weights that a caller hands over are copied once, so that training in the caller's arrays changes no network."""

import numpy as np
import pytest

import fastgru
from fastgru.arrays import owned
from fastgru.graph import Graph

I, H = 3, 4


@pytest.fixture
def state() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = {"weight_ih_l0": (3 * H, I), "weight_hh_l0": (3 * H, H), "bias_ih_l0": (3 * H,), "bias_hh_l0": (3 * H,)}
    return {name: rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}


X = np.random.default_rng(1).normal(size=(5, 2, I)).astype(np.float32)
GRU_LAYER = {"inputs": {"x": ["T", "N", I]}, "layers": [{"type": "GRU", "prefix": ""}]}


def _spoil(arrays: dict[str, np.ndarray]) -> None:
    for array in arrays.values():
        array[...] = 0


def test_a_described_network_saves_the_weights_that_it_was_built_from(state, tmp_path):
    net = fastgru.from_architecture(GRU_LAYER, state)
    before = net(X)
    _spoil(state)
    net.save(tmp_path / "net.safetensors")
    np.testing.assert_array_equal(fastgru.load(tmp_path / "net.safetensors")(X), before)


def test_a_layer_exports_the_weights_that_it_was_built_from(state):
    gru = fastgru.GRU.from_torch(state)
    before = gru(X)[0]
    _spoil(state)
    np.testing.assert_allclose(fastgru.load(gru.to_onnx()).run({"x": X})["y"], before, rtol=1e-6, atol=1e-7)


def test_a_layer_that_has_not_run_keeps_its_weights(state):
    weight = np.ones((2, I), np.float32)
    weights = fastgru.GRUWeights(*(array.copy() for array in state.values()))
    linear, gru = fastgru.Linear(weight), fastgru.GRU([fastgru.GRUSpec(I, H)], [(weights,)])
    expected = fastgru.GRU.from_torch(state)(X)[0]
    weight[...] = 0
    _spoil(vars(weights))
    assert linear(X).any()
    np.testing.assert_array_equal(gru(X)[0], expected)


def test_a_model_of_a_graph_keeps_its_constants(state):
    graph = fastgru.GRU.from_torch(state).to_graph()
    own = Graph(**{**vars(graph), "constants": {name: array.copy() for name, array in graph.constants.items()}})
    model = fastgru.Model(own)
    _spoil(own.constants)
    assert all(array.any() for array in model.graph.constants.values())


def test_weights_of_a_file_are_not_copied(state, tmp_path):
    np.savez(tmp_path / "state.npz", **state)
    weights = fastgru.read_weights(tmp_path / "state.npz")
    assert owned(weights["weight_ih_l0"]) is weights["weight_ih_l0"]
    layer = fastgru.GRU.from_torch(weights).weights[0][0]
    assert np.shares_memory(layer.weight_ih, weights["weight_ih_l0"])


def test_a_read_only_view_of_memory_that_changes_is_copied():
    array = np.zeros(3)
    view = array.view()
    view.flags.writeable = False
    kept = owned(view)
    array[...] = 1
    assert not kept.any()
    assert owned(kept) is kept

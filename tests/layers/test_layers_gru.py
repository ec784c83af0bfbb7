"""GRU stacks against torch's formula, in every shape that torch.nn.GRU takes."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch_gru import state_dict, torch_gru

from fastgru.errors import InvalidModelError, ShapeError, SpecError, UnsupportedModelError
from fastgru.layers import GRU, GRUCell, LastStep, Linear, ReLU, Sequential
from fastgru.model import Model
from fastgru.reference import run_graph
from fastgru.spec import GRUSpec, GRUWeights


def close(got, expected, atol=1e-12):
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=0, atol=atol)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.tuples(st.integers(1, 6), st.integers(1, 4), st.integers(1, 5), st.integers(1, 9)),
    num_layers=st.integers(1, 3),
    bidirectional=st.booleans(),
    bias=st.booleans(),
    batch_first=st.booleans(),
    with_h0=st.booleans(),
    with_lengths=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_call(runner, sizes, num_layers, bidirectional, bias, batch_first, with_h0, with_lengths, seed):
    rng = np.random.default_rng(seed)
    T, N, I, H = sizes
    state = state_dict(rng, I, H, num_layers, bidirectional=bidirectional, bias=bias)
    gru = GRU.from_torch(state, batch_first=batch_first, precision="float64")
    x = rng.standard_normal((T, N, I))
    h0 = rng.standard_normal((num_layers * (1 + bidirectional), N, H)) if with_h0 else None
    lengths = rng.integers(0, T + 1, N) if with_lengths else None
    expected, expected_h = torch_gru(state, x, h0, lengths)
    y, h_n = gru(x.swapaxes(0, 1) if batch_first else x, h0, lengths)
    close(y.swapaxes(0, 1) if batch_first else y, expected)
    close(h_n, expected_h)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("with_h0", [False, True])
def test_without_a_batch(runner, rng, batch_first, with_h0):
    state = state_dict(rng, 3, 4, 2, bidirectional=True)
    gru = GRU.from_torch(state, batch_first=batch_first, precision="float64")
    x, h0 = rng.standard_normal((5, 3)), rng.standard_normal((4, 4)) if with_h0 else None
    expected, expected_h = torch_gru(state, x[:, None], None if h0 is None else h0[:, None])
    y, h_n = gru(x, h0)
    close(y, expected[:, 0])
    close(h_n, expected_h[:, 0])
    close(gru(x, h0, lengths=[3])[0], torch_gru(state, x[:, None], None if h0 is None else h0[:, None], [3])[0][:, 0])


@pytest.mark.parametrize(
    ("dtype", "precision"), [("float64", "float32"), ("float16", "float64"), ("float32", "float32")]
)
def test_inputs_become_the_precision(runner, rng, dtype, precision):
    state = state_dict(rng, 3, 4)
    x = rng.standard_normal((5, 2, 3)).astype(dtype)
    y, h_n = GRU.from_torch(state, precision=precision)(x)
    assert y.dtype == h_n.dtype == precision
    close(y, torch_gru(state, x.astype(np.float64))[0], 1e-6 if precision == "float32" else 1e-12)


def test_no_steps_and_no_rows(runner, rng):
    gru = GRU.from_torch(state_dict(rng, 3, 4), precision="float64")
    h0 = rng.standard_normal((1, 2, 4))
    y, h_n = gru(np.zeros((0, 2, 3)), h0)
    assert y.shape == (0, 2, 4)
    close(h_n, h0)
    y, h_n = gru(np.zeros((5, 0, 3)))
    assert (y.shape, h_n.shape) == ((5, 0, 4), (1, 0, 4))
    y, h_n = gru(np.zeros((5, 0, 3)), lengths=[])
    assert (y.shape, h_n.shape) == ((5, 0, 4), (1, 0, 4))
    with pytest.raises(ShapeError, match=r"lengths: got \[\], expected 2 integers"):
        gru(np.zeros((5, 2, 3)), lengths=[])
    outputs = Model(gru.to_graph(lengths=True), precision="float64").run({"x": np.zeros((5, 0, 3)), "lengths": []})
    assert outputs["y"].shape == (5, 0, 4)


def test_the_graph_is_the_layer(rng):
    state = state_dict(rng, 3, 4, 2)
    graph = GRU.from_torch(state, precision="float64").to_graph(lengths=True, initial_state=True)
    assert graph.states == {"h0_0": "h_n_0", "h0_1": "h_n_1"}
    assert [(s.name, s.shape, s.dims) for s in graph.inputs] == [
        ("x", (None, None, 3), ("T", "N", None)),
        ("lengths", (None,), ("N",)),
        ("h0_0", (1, None, 4), (None, "N", None)),
        ("h0_1", (1, None, 4), (None, "N", None)),
    ]
    x, h0 = rng.standard_normal((5, 2, 3)), rng.standard_normal((2, 2, 4))
    outputs = run_graph(graph, {"x": x, "lengths": [5, 3], "h0_0": h0[:1], "h0_1": h0[1:]})
    y, h_n = torch_gru(state, x, h0, [5, 3])
    close(outputs["y"], y)
    close(np.concatenate([outputs["h_n_0"], outputs["h_n_1"]]), h_n)
    single = GRU.from_torch(state_dict(rng, 3, 4)).to_graph(initial_state=True)
    assert single.states == {"h0": "h_n"}


def test_a_layer_can_be_pickled(runner, rng):
    gru = GRU.from_torch(state_dict(rng, 3, 4))
    x = rng.standard_normal((5, 2, 3))
    y, _ = gru(x)
    assert np.array_equal(pickle.loads(pickle.dumps(gru))(x)[0], y)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ({"x": np.zeros((5, 2, 4))}, r"x: got shape \(5, 2, 4\), expected 3 on the last axis"),
        ({"x": np.zeros(3)}, r"x: got shape \(3,\)"),
        ({"x": np.zeros((1, 5, 2, 3))}, "expected 3 axes"),
        ({"x": np.zeros((5, 2, 3), int)}, "got dtype int64"),
        ({"x": np.zeros((5, 2, 3)), "h0": np.zeros((1, 2, 4))}, r"h0: got shape \(1, 2, 4\), expected \(2, 2, 4\)"),
        ({"x": np.zeros((5, 3)), "h0": np.zeros((2, 1, 4))}, r"h0: got shape \(2, 1, 4\), expected \(2, 4\)"),
        ({"x": np.zeros((5, 2, 3)), "lengths": [6, 1]}, r"lengths: got \[6, 1\], expected 2 integers from 0 to 5"),
        ({"x": np.zeros((5, 2, 3)), "lengths": [1]}, "lengths"),
        ({"x": np.zeros((5, 2, 3)), "lengths": [-1, 2]}, "lengths"),
        ({"x": np.zeros((5, 2, 3)), "lengths": [1.0, 2.0]}, "lengths: got dtype float64"),
        ({"x": np.zeros((5, 2, 3)), "lengths": [[1, 2]]}, r"lengths: got \[\[1, 2\]\]"),
        ({"x": np.zeros((5, 2, 3)), "lengths": [[1], [1, 2]]}, "lengths: list cannot become an array"),
        ({"x": [[1.0], [1.0, 2.0]]}, "x: list cannot become an array"),
    ],
)
def test_calls_that_do_not_fit(rng, call, said):
    with pytest.raises(ShapeError, match=said):
        GRU.from_torch(state_dict(rng, 3, 4, 2))(**call)


def test_prefixes(runner, rng):
    own = state_dict(rng, 3, 4, prefix="enc.gru.")
    others = {"enc.fc.weight": np.zeros((2, 2)), "enc.gru.deeper.weight": np.zeros(3), "enc.gruff.weight": np.zeros(1)}
    x = rng.standard_normal((5, 2, 3))
    y, _ = GRU.from_torch(own | others, "enc.gru")(x)
    assert np.array_equal(GRU.from_torch(own | others, prefix="enc.gru.")(x)[0], y)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("weight_hh_l1"), "missing gru.weight_hh_l1"),
        (lambda s: (s.pop("bias_ih_l0"), s.pop("weight_ih_l0")), "missing gru.weight_ih_l0, gru.bias_ih_l0"),
        (lambda s: s.update(weight_hr_l0=np.zeros((2, 4))), "unknown gru.weight_hr_l0"),
        (lambda s: s.update(weight_ih_l1_reverse=s["weight_ih_l1"]), "missing gru.weight_ih_l0_reverse"),
        (lambda s: s.update(weight_ih_l999999=np.zeros((2, 4))), "layer 999999"),
        (lambda s: s.update(weight_ih_l01=np.zeros((2, 4))), "unknown gru.weight_ih_l01"),
        (lambda s: s.clear(), "no gru.weight_ih_l0"),
        (lambda s: s.update(weight_hh_l0=np.zeros((16, 4))), "four gates are an LSTM's"),
        (lambda s: s.update(bias_hh_l0=np.zeros(11)), r"bias_hh has shape \(11,\), expected \(12,\)"),
        (lambda s: s.update(weight_ih_l1=np.zeros((12, 3))), "layer 1: input_size is 3, expected 4"),
        (lambda s: s.update(bias_hh_l0=np.zeros(12, int)), "bias_hh_l0: got dtype int64"),
        (lambda s: s.update(bias_hh_l0="twelve"), "bias_hh_l0: got dtype"),
        (lambda s: s["bias_hh_l0"].fill(np.nan), "bias_hh_l0: 12 of 12 values are NaN or infinite"),
        (lambda s: np.put(s["weight_ih_l0"], 0, np.inf), "1 of 36"),
    ],
)
def test_state_dicts_that_do_not_fit(rng, change, said):
    state = state_dict(rng, 3, 4, 2)
    change(state)
    with pytest.raises((InvalidModelError, SpecError, ShapeError), match=said):
        GRU.from_torch({f"gru.{key}": value for key, value in state.items()}, "gru")


def test_a_wrong_prefix_says_which_there_are(rng):
    with pytest.raises(SpecError, match=r"did you mean 'a.gru'\? Prefixes that have one: 'a.gru', 'b'"):
        GRU.from_torch(state_dict(rng, 3, 4, prefix="a.gru.") | state_dict(rng, 3, 4, prefix="b."), "gru")


@pytest.mark.parametrize(
    "given",
    [
        {"precision": "float8"},
        {"precision": "int4"},
        {"threads": 0},
        {"threads": 1.5},
        {"threads": True},
        {"threads": 1 << 40},
    ],
)
def test_how_to_run_is_checked_at_once(rng, given):
    state = state_dict(rng, 3, 4)
    cell = {key[:-3]: array for key, array in state.items()}
    for make in (
        lambda: GRU.from_torch(state, **given),
        lambda: GRUCell.from_torch(cell, **given),
        lambda: Linear(np.zeros((2, 3)), **given),
        lambda: Sequential(ReLU(), **given),
        lambda: LastStep(**given),
    ):
        with pytest.raises(UnsupportedModelError, match=next(iter(given))):
            make()
    assert GRU.from_torch(state, threads=np.int64(1)).threads == 1


def test_layers_of_a_stack_must_fit():
    w = GRUWeights(np.zeros((12, 3)), np.zeros((12, 4)))
    with pytest.raises(SpecError, match="layer 1: input_size is 3, expected 4"):
        GRU([GRUSpec(3, 4)] * 2, [[w], [w]])
    with pytest.raises(SpecError, match=r"2 spec\(s\), and weights for 1"):
        GRU([GRUSpec(3, 4)] * 2, [[w]])


@pytest.mark.parametrize("bias", [True, False])
def test_cell(runner, rng, bias):
    state = state_dict(rng, 3, 4, bias=bias)
    cell = GRUCell.from_torch({f"c.{k[:-3]}": v for k, v in state.items()}, "c", precision="float64")
    x, h = rng.standard_normal((2, 3)), rng.standard_normal((2, 4))
    expected = torch_gru(state, x[None], h[None])[1][0]
    close(cell(x, h), expected)
    close(cell(x[1], h[1]), expected[1])
    close(cell(x), torch_gru(state, x[None])[1][0])


def test_cells_that_do_not_fit(rng):
    state = {k[:-3]: v for k, v in state_dict(rng, 3, 4).items()}
    cell = GRUCell.from_torch(state)
    with pytest.raises(ShapeError, match=r"h: got shape \(2, 3\), expected \(2, 4\)"):
        cell(np.zeros((2, 3)), np.zeros((2, 3)))
    with pytest.raises(SpecError, match="missing weight_hh"):
        GRUCell.from_torch({k: v for k, v in state.items() if k != "weight_hh"})
    with pytest.raises(SpecError, match="unknown weight_ih_l0"):
        GRUCell.from_torch(state | {"weight_ih_l0": state["weight_ih"]})

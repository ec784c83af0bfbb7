"""The LSTM and RNN kernels against the definition in float64, and what they promise of bits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recurrent_cases import Recurrent, error

import fastgru.engine.ops.sequence as lowering
from fastgru.engine import Executable
from fastgru.errors import ShapeError
from fastgru.simd.target import LANES
from fastgru.spec import ACTIVATIONS, DIRECTIONS, TAKES_ALPHA, TAKES_BETA, Activation, LSTMSpec, RNNSpec

ONE_STEP, LONG_RUN, DOUBLE = 1e-6, 5e-6, 1e-12
KINDS = [LSTMSpec, RNNSpec]
V = LANES["float32"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("N", [1, 3, 32])
@pytest.mark.parametrize("H", [1, 7, 16, 33, 64, 300])
def test_a_few_steps(H, N, kind):
    layer = Recurrent(kind(H, H), 3, N, seed=H)
    given = layer.all_given()
    wanted = layer.defined(**given)
    assert error(layer.run(**given), wanted) <= ONE_STEP
    assert error(layer.run("float64", **given), wanted) <= DOUBLE


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("H", [1, 33, 64])
def test_many_steps(H, kind):
    layer = Recurrent(kind(8, H), 400, 2, seed=H)
    wanted = layer.defined(h0=layer.h0)
    assert error(layer.run(h0=layer.h0), wanted) <= LONG_RUN
    assert error(layer.run("float64", h0=layer.h0), wanted) <= DOUBLE


SIZES = st.sampled_from([1, 2, 3, 7, V - 1, V, V + 1, 37, 4 * V + 1, 9 * V - 1, 15 * V])


@settings(max_examples=120, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    H=SIZES,
    I=SIZES,
    N=st.integers(0, 14),
    T=st.integers(0, 7),
    direction=st.sampled_from(DIRECTIONS),
    options=st.fixed_dictionaries(
        {
            "batch_first": st.booleans(),
            "mask_output": st.sampled_from(["carry", "zero"]),
            "clip": st.sampled_from([None, None, 0.3]),
        }
    ),
    input_forget=st.sampled_from([False, False, True]),
    bias=st.booleans(),
    peephole=st.booleans(),
    present=st.sets(st.sampled_from(["h0", "c0", "lengths", "mask"])),
    precision=st.sampled_from(["float32", "float64"]),
)
def test_every_form(kind, H, I, N, T, direction, options, input_forget, bias, peephole, present, precision):
    options = options | ({"input_forget": input_forget} if kind is LSTMSpec else {})
    layer = Recurrent(kind(I, H, direction, **options), T, N, seed=H + N, bias=bias, peephole=peephole)
    given = {name: a for name, a in layer.all_given().items() if name in present}
    assert error(layer.run(precision, **given), layer.defined(**given)) <= (2e-6 if precision == "float32" else DOUBLE)


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_every_activation_in_every_place(kind):
    given = ({"alpha": 0.6} if kind in TAKES_ALPHA else {}) | ({"beta": 0.4} if kind in TAKES_BETA else {})
    chosen = Activation(kind, **given)
    s, t = Activation("sigmoid"), Activation("tanh")
    specs = [RNNSpec(5, 19, "bidirectional", (chosen, t), clip=2.0)]
    specs += [LSTMSpec(5, 19, "bidirectional", (a, s), (b, t), (c, t), clip=2.0)
              for a, b, c in ((chosen, t, t), (s, chosen, t), (s, t, chosen))]  # fmt: skip
    for spec in specs:
        layer = Recurrent(spec, 6, 3)
        wanted = layer.defined(h0=layer.h0)
        scale = max(1.0, *(float(np.abs(a).max()) for a in wanted))
        assert error(layer.run(h0=layer.h0), wanted) <= 2e-6 * scale
        assert error(layer.run("float64", h0=layer.h0), wanted) <= DOUBLE * scale


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_of_length_zero_keeps_its_states_and_gives_zeros(kind):
    layer = Recurrent(kind(4, 9, "bidirectional"), 5, 3)
    given = layer.all_given() | {"lengths": np.array([0, 5, 2])}
    given.pop("mask")
    y, *states = layer.run(**given)
    assert not y[:, 0].any()
    assert not y[2:, 2].any()
    for name, state in zip(("h0", "c0"), states, strict=False):
        np.testing.assert_array_equal(state[:, 0], getattr(layer, name)[:, 0])
    assert error((y, *states), layer.defined(**given)) <= ONE_STEP


@pytest.mark.parametrize("length", [-1, 6])
@pytest.mark.parametrize("kind", KINDS)
def test_a_length_out_of_range_names_the_node(kind, length):
    layer = Recurrent(kind(4, 9), 5, 3)
    with pytest.raises(ShapeError, match=rf"'y': length {length} is not within 0 to 5"):
        layer.run(lengths=np.array([1, length, 2]))


def test_shapes_that_do_not_fit_are_named():
    layer = Recurrent(LSTMSpec(4, 9), 5, 3)
    wrongs = {"h0": layer.h0[:, :2], "c0": layer.c0[..., :8], "lengths": layer.lengths[:2], "mask": layer.mask[:4]}
    for name, wrong in wrongs.items():
        with pytest.raises(ShapeError, match=rf"{'initial_' + name[0] if '0' in name else name}.*expected"):
            Executable(layer.graph({name: wrong})).run({"x": layer.x, name: wrong})
    with pytest.raises(ShapeError, match=r"expected \(\?, \?, 4\)"):
        Executable(layer.graph({})).run({"x": layer.x[..., :3]})


def test_an_absent_peephole_is_not_a_zero():
    """Under linear functions the cell overflows to infinity, and infinity times zero is not a number."""
    linear = (Activation("affine", 1.0, 1.0),)
    layer = Recurrent(LSTMSpec(3, 5, "forward", linear, linear, (Activation("tanh"),)), 40, 1)
    layer.x += 1e30
    c_n = layer.run()[2]
    assert np.isinf(c_n).any() or np.isnan(c_n).any()
    layer.x = np.zeros((1, 1, 3), np.float32)
    c0 = np.full((1, 1, 5), np.inf, np.float32)
    assert (layer.run(c0=c0)[2] == np.inf).all()


BITS = [
    LSTMSpec(11, 37, "bidirectional"),
    LSTMSpec(11, 37, "reverse", (Activation("hard_sigmoid"),), batch_first=True, clip=1.5),
    RNNSpec(11, 8 * V + 37, "bidirectional"),
]
IDS = ["lstm", "general", "rnn"]


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("spec", BITS, ids=IDS)
def test_the_bits_of_a_row_do_not_depend_on_its_company(spec, precision):
    layer = Recurrent(spec, 9, 23, peephole=True)
    given = layer.all_given()
    y, *states = layer.run(precision, **given)
    y = np.moveaxis(y, int(layer.along["x"]), 0)
    rng = np.random.default_rng(1)
    for rows in (np.array([4]), np.arange(8), rng.permutation(23), np.array([5, 5, 22])):
        part, *part_states = layer.run(precision, rows=rows, **given)
        np.testing.assert_array_equal(np.moveaxis(part, int(layer.along["x"]), 0), y[rows])
        for one, whole in zip(part_states, states, strict=True):
            np.testing.assert_array_equal(one, whole[:, rows])


@pytest.mark.parametrize("spec", BITS, ids=IDS)
@pytest.mark.parametrize("N", [1, 3])
def test_the_bits_do_not_depend_on_the_chunks_of_the_input_product(spec, N, monkeypatch):
    whole = Recurrent(spec, 10, N).run()
    for steps in (1, 3, 7, 10):
        monkeypatch.setattr(lowering, "chunk_steps", lambda *sizes, steps=steps: steps)
        for one, other in zip(Recurrent(spec, 10, N).run(), whole, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("spec", [LSTMSpec(300, 37), RNNSpec(300, 8 * V + 37)], ids=["lstm", "rnn"])
def test_the_bits_do_not_depend_on_how_a_sequence_is_cut(spec):
    """Frame by frame, in chunks or at once: one direction, the states handed on."""
    layer = Recurrent(spec, 12, 2)
    names = ["h0", "c0"][: len(spec.STATES)]
    initial = {name: getattr(layer, name) for name in names}
    whole, *last = layer.run(**initial)
    x = layer.x
    for cuts in ([1] * 12, [5, 7], [3, 1, 8]):
        states, parts, at = initial, [], 0
        for cut in cuts:
            layer.x = x[at : at + cut]
            y, *after = layer.run(**states)
            states = dict(zip(names, after, strict=True))
            parts.append(y)
            at += cut
        np.testing.assert_array_equal(np.concatenate(parts), whole)
        for one, other in zip(states.values(), last, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("spec", BITS, ids=IDS)
def test_a_nan_stays_in_its_row(spec):
    layer = Recurrent(spec, 6, 14)
    clean = layer.run()
    batch = int(layer.along["x"])
    layer.x[(7, 2, 3) if spec.batch_first else (2, 7, 3)] = np.nan
    for n, (got, want) in enumerate(zip(layer.run(), clean, strict=True)):
        axis = batch if n == 0 else 1
        assert np.isnan(np.take(got, 7, axis)).any()
        np.testing.assert_array_equal(np.delete(got, 7, axis), np.delete(want, 7, axis))


@pytest.mark.parametrize("kind", KINDS)
def test_a_nan_beyond_the_length_or_under_the_mask_is_never_seen(kind):
    layer = Recurrent(kind(4, 9, "bidirectional"), 5, 3)
    lengths, mask = np.array([2, 5, 4]), np.ones((5, 3), bool)
    mask[1, 2] = False
    clean = layer.run(lengths=lengths, mask=mask)
    layer.x[2:, 0], layer.x[1, 2] = np.nan, np.nan
    for got, want in zip(layer.run(lengths=lengths, mask=mask), clean, strict=True):
        np.testing.assert_array_equal(got, want)

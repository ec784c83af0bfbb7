"""The GRU kernels against the definition in float64, and what they promise of bits."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from gru_cases import Layer, error
from hypothesis import given, settings
from hypothesis import strategies as st

import fastgru.engine.ops.sequence as lowering
from fastgru.errors import ShapeError
from fastgru.simd.target import LANES
from fastgru.spec import ACTIVATIONS, DIRECTIONS, TAKES_ALPHA, TAKES_BETA, Activation, GRUSpec

HIDDEN = (1, 7, 16, 33, 64, 256, 1024)
ROWS = (1, 3, 32)
ONE_STEP, LONG_RUN, DOUBLE = 1e-6, 5e-6, 1e-12


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("N", ROWS)
@pytest.mark.parametrize("H", HIDDEN)
def test_one_step(H, N, reset_after):
    layer = Layer(GRUSpec(H, H, reset_after=reset_after), 1, N, seed=H)
    wanted = layer.defined(h0=layer.h0)
    assert error(layer.run(h0=layer.h0), wanted) <= ONE_STEP
    assert error(layer.run("float64", h0=layer.h0), wanted) <= DOUBLE


def long_runs():
    for H, N in itertools.product(HIDDEN, ROWS):
        minutes = H == 1024 or H * N > 2048
        if minutes:
            yield pytest.param(H, N, 12, id=f"{H}-{N}-12")
        yield pytest.param(H, N, 1000, id=f"{H}-{N}-1000", marks=[pytest.mark.slow] if minutes else [])


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize(("H", "N", "T"), list(long_runs()))
def test_a_thousand_steps(H, N, T, reset_after):
    layer = Layer(GRUSpec(min(H, 64), H, reset_after=reset_after), T, N, seed=H)
    wanted = layer.defined(h0=layer.h0)
    assert error(layer.run(h0=layer.h0), wanted) <= LONG_RUN
    if H * N <= 256:
        assert error(layer.run("float64", h0=layer.h0), wanted) <= DOUBLE


SIZES = st.sampled_from([1, 2, 3, 7, LANES["float32"] - 1, LANES["float32"], LANES["float32"] + 1, 37])


@settings(max_examples=60, deadline=None)
@given(
    H=SIZES,
    I=SIZES,
    N=st.integers(0, 9),
    T=st.integers(0, 7),
    direction=st.sampled_from(DIRECTIONS),
    options=st.fixed_dictionaries(
        {
            "reset_after": st.booleans(),
            "batch_first": st.booleans(),
            "mask_output": st.sampled_from(["carry", "zero"]),
            "clip": st.sampled_from([None, None, 0.3]),
        }
    ),
    bias=st.booleans(),
    present=st.sets(st.sampled_from(["h0", "lengths", "mask"])),
    precision=st.sampled_from(["float32", "float64"]),
)
def test_every_form(H, I, N, T, direction, options, bias, present, precision):
    layer = Layer(GRUSpec(I, H, direction, **options), T, N, seed=H + N, bias=bias)
    given = {name: getattr(layer, name) for name in present}
    assert error(layer.run(precision, **given), layer.defined(**given)) <= (2e-6 if precision == "float32" else DOUBLE)


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_every_activation_as_gate_and_as_candidate(kind, reset_after):
    given = ({"alpha": 0.6} if kind in TAKES_ALPHA else {}) | ({"beta": 0.4} if kind in TAKES_BETA else {})
    chosen = Activation(kind, **given)
    others = (Activation("sigmoid"), Activation("tanh"))
    for gates, candidates in (((chosen, others[0]), (others[1], chosen)), ((others[0], chosen), (chosen, others[1]))):
        spec = GRUSpec(
            5, 19, "bidirectional", reset_after=reset_after, gate_activations=gates, candidate_activations=candidates,
            clip=2.0,
        )  # fmt: skip
        layer = Layer(spec, 6, 3)
        wanted = layer.defined(h0=layer.h0)
        scale = max(1.0, *(float(np.abs(a).max()) for a in wanted))
        assert error(layer.run(h0=layer.h0), wanted) <= 2e-6 * scale
        assert error(layer.run("float64", h0=layer.h0), wanted) <= DOUBLE * scale


def test_a_row_of_length_zero_keeps_its_state_and_gives_zeros():
    layer = Layer(GRUSpec(4, 9, "bidirectional"), 5, 3)
    lengths = np.array([0, 5, 2])
    y, h_n = layer.run(h0=layer.h0, lengths=lengths)
    assert not y[:, 0].any()
    np.testing.assert_array_equal(h_n[:, 0], layer.h0[:, 0])
    assert not y[2:, 2].any()
    assert error((y, h_n), layer.defined(h0=layer.h0, lengths=lengths)) <= ONE_STEP


@pytest.mark.parametrize("length", [-1, 6])
def test_a_length_out_of_range_names_the_node(length):
    layer = Layer(GRUSpec(4, 9), 5, 3)
    with pytest.raises(ShapeError, match=rf"gru 'y': length {length} is not within 0 to 5"):
        layer.run(lengths=np.array([1, length, 2]))


def test_shapes_that_do_not_fit_are_named():
    layer = Layer(GRUSpec(4, 9), 5, 3)
    for name, wrong in (("h0", layer.h0[:, :2]), ("lengths", layer.lengths[:2]), ("mask", layer.mask[:4])):
        graph = layer._graph({name: wrong})
        from fastgru.engine import Executable

        with pytest.raises(ShapeError, match="expected"):
            Executable(graph).run({"x": layer.x, name: wrong})


BITS = [
    GRUSpec(11, 37, "bidirectional"),
    GRUSpec(11, 37, "bidirectional", reset_after=False),
    GRUSpec(11, 37, "reverse", batch_first=True, clip=1.5, candidate_activations=(Activation("softsign"),)),
]


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("spec", BITS, ids=["after", "before", "general"])
def test_the_bits_of_a_row_do_not_depend_on_its_company(spec, precision):
    layer = Layer(spec, 9, 23)
    given = {"h0": layer.h0, "lengths": layer.lengths, "mask": layer.mask}
    y, h_n = layer.run(precision, **given)
    y = y if spec.batch_first else y.swapaxes(0, 1)
    rng = np.random.default_rng(1)
    for rows in (np.array([4]), np.arange(8), rng.permutation(23), np.array([5, 5, 22])):
        part, part_h = layer.run(precision, rows=rows, **given)
        np.testing.assert_array_equal(part if spec.batch_first else part.swapaxes(0, 1), y[rows])
        np.testing.assert_array_equal(part_h, h_n[:, rows])


@pytest.mark.parametrize("spec", BITS, ids=["after", "before", "general"])
def test_the_bits_do_not_depend_on_the_chunks_of_the_input_product(spec, monkeypatch):
    whole = Layer(spec, 10, 3).run()
    for steps in (1, 3, 7, 10):
        monkeypatch.setattr(lowering, "chunk_steps", lambda *sizes, steps=steps: steps)
        for one, other in zip(Layer(spec, 10, 3).run(), whole, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("spec", BITS[:2], ids=["after", "before"])
def test_the_bits_do_not_depend_on_how_a_sequence_is_cut(spec):
    """Frame by frame, in chunks or at once: one direction, the state handed on."""
    spec = GRUSpec(spec.input_size, spec.hidden_size, reset_after=spec.reset_after)
    layer = Layer(spec, 12, 2)
    whole, last = layer.run(h0=layer.h0)
    x = layer.x
    for cuts in ([1] * 12, [5, 7], [3, 1, 8]):
        h, parts, at = layer.h0, [], 0
        for cut in cuts:
            layer.x = x[at : at + cut]
            y, h = layer.run(h0=h)
            parts.append(y)
            at += cut
        np.testing.assert_array_equal(np.concatenate(parts), whole)
        np.testing.assert_array_equal(h, last)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("spec", BITS, ids=["after", "before", "general"])
def test_a_nan_stays_in_its_row(spec, precision):
    layer = Layer(spec, 6, 14)
    clean = layer.run(precision)
    layer.x[(7, 2, 3) if spec.batch_first else (2, 7, 3)] = np.nan
    y, h_n = layer.run(precision)
    batch = 0 if spec.batch_first else 1
    assert np.isnan(np.take(y, 7, batch)).any()
    assert np.isnan(h_n[:, 7]).any()
    for got, want, axis in ((y, clean[0], batch), (h_n, clean[1], 1)):
        np.testing.assert_array_equal(np.delete(got, 7, axis), np.delete(want, 7, axis))


def test_a_nan_beyond_the_length_or_under_the_mask_is_never_seen():
    layer = Layer(GRUSpec(4, 9, "bidirectional"), 5, 3)
    lengths, mask = np.array([2, 5, 4]), np.ones((5, 3), bool)
    mask[1, 2] = False
    clean = layer.run(lengths=lengths, mask=mask)
    layer.x[2:, 0], layer.x[1, 2] = np.nan, np.nan
    for got, want in zip(layer.run(lengths=lengths, mask=mask), clean, strict=True):
        np.testing.assert_array_equal(got, want)

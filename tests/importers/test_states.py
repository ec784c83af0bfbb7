"""Pairing states by name."""

from __future__ import annotations

import pytest

from fastgru.graph import TensorSpec
from fastgru.importers.states import pair_states


def specs(*names, shape=(1, None, 4), dtype="float32"):
    return [TensorSpec(name, dtype, shape) for name in names]


X = TensorSpec("x", "float32", (None, 1, 3))
Y = TensorSpec("y", "float32", (None, 1, 4))


@pytest.mark.parametrize(
    ("state", "following"),
    [
        ("h0", "hn"),
        ("h0", "h_n"),
        ("h_0", "h_n"),
        ("h_0", "hn"),
        ("gru_h0", "gru_hn"),
        ("gru.h_0", None),
        ("enc_h_0", "enc_h_n"),
        ("h0_2", "hn_2"),
        ("cache_in", "cache_out"),
        ("conv_cache", "conv_cache_out"),
        ("initial_h", "Y_h"),
        ("h1", "hn"),
        ("hidden", "hn"),
        ("h_in", "g_out"),
    ],
)
def test_names(state, following):
    expected = {} if following is None or (state, following) in FOREIGN else {state: following}
    outputs = [Y, *specs(following or "gru.h_n")]
    assert pair_states([X, *specs(state)], outputs) == expected


FOREIGN = {("h1", "hn"), ("hidden", "hn"), ("h_in", "g_out")}


def test_dtype_and_shape_must_agree():
    assert pair_states([X, *specs("h0")], specs("hn", dtype="float64")) == {}
    assert pair_states([X, *specs("h0")], specs("hn", shape=(1, None, 5))) == {}
    assert pair_states([X, *specs("h0")], specs("hn", shape=(1, 4))) == {}
    assert pair_states([X, *specs("h0")], specs("hn", shape=(1, 2, 4))) == {"h0": "hn"}
    assert pair_states([X, *specs("h0")], specs("hn", shape=None)) == {"h0": "hn"}


def test_what_is_ambiguous_is_left_alone():
    assert pair_states([X, *specs("h0")], specs("hn", "h_n")) == {}
    assert pair_states([X, *specs("h0", "h_0")], specs("hn")) == {}
    assert pair_states([X, *specs("a_in", "a")], specs("a_out")) == {}
    assert pair_states([X, *specs("a_in", "b")], specs("a_out", "b_out")) == {"a_in": "a_out", "b": "b_out"}


def test_a_model_whose_every_input_looks_like_a_state_has_none():
    assert pair_states(specs("audio_in"), specs("audio_out")) == {}
    assert pair_states([X, *specs("audio_in")], specs("audio_out")) == {"audio_in": "audio_out"}
    assert pair_states([], [Y]) == {}

"""Pairing states by name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastgru.graph import TensorSpec
from fastgru.importers.states import pair_states


def specs(*names, shape=(1, None, 4), dtype="float32"):
    return [TensorSpec(name, dtype, shape) for name in names]


X = TensorSpec("x", "float32", (None, 1, 3))
Y = TensorSpec("y", "float32", (None, 1, 4))


# What networks call a state and its next value, public ones among them.
NAMES = """
    h0 hn, h0 h_n, h_0 h_n, h_0 hn, gru_h0 gru_hn, gru.h_0 gru.h_n, enc_h_0 enc_h_n, h0_2 hn_2, h0_l1 hn_l1, c_0 c_n
    h hn, c cn, h h_n, h0 h_out, h0 next_h, hx hy, cx cy, h_x h_y, initial_h Y_h, initial_c Y_c, init_state final_state
    cache_in cache_out, conv_cache conv_cache_out, in_cache out_cache, cache_in_0 cache_out_0, in_cache0 out_cache0
    h_in h_out, h_prev h_next, h_prev h, prev_h h, prev_h h_new, previous_state next_state, old_state new_state
    state new_state, state stateN, state state_out, states new_states, states_in states_out, state_in:0 state_out:0
    input_states output_states, input_state output_state, in_state out_state, instate0 outstate0, hiddenIn hiddenOut
    hidden hidden_out, hidden new_hidden, hidden hidden_next, hidden_state next_hidden_state, hidden_in hidden_n
    memory new_memory, rnn_state rnn_state_out, x.1 x, h.1 h, states.1 states, h h.1, h.1 h.5, out_state.1 out_state
    r1i r1o, vad_gru_prev_state vad_gru_state, cached_len_0 new_cached_len_0, cached_key_3 new_cached_key_3
    embed_states new_embed_states, processed_lens new_processed_lens, state0 next_state0, att_cache r_att_cache
    cache_last_channel cache_last_channel_next, cache_last_channel_len cache_last_channel_next_len
    past_key_values.0.decoder.key present.0.decoder.key, past.1.value present.1.value, pastKey presentKey
    lstm/state_h_in lstm/state_h_out, encoder.lstm.h0 encoder.lstm.hn
"""

# Two names that say nothing of a state, or of two different ones.
APART = """
    h1 hn, hidden hn, h_in g_out, h0 cn, cache_0 cache_out_1, input output, input_2 output_2, audio_in audio_out
    x_in x_out, x_lens x_lens_out, input_mask mask, input_lengths lengths, frames frames_out, noisy enhanced
    h h, in out, i o
    input_2 StatefulPartitionedCall:1, serving_default_h:0 StatefulPartitionedCall:0
    h Identity_1, r1i r2o, past present
"""


def pairs(text):
    return [tuple(pair.split()) for line in text.strip().splitlines() for pair in line.split(",")]


@pytest.mark.parametrize(("state", "following"), pairs(NAMES))
def test_names(state, following):
    assert pair_states([X, *specs(state)], [Y, *specs(following)]) == {state: following}


@pytest.mark.parametrize(("state", "following"), pairs(APART))
def test_names_that_do_not_go_together(state, following):
    assert pair_states([X, *specs(state)], [Y, *specs(following)]) == {}


# The inputs and outputs of public models, all of one dtype and shape here, so that names alone tell.
MODELS = {
    "silero-vad 4": ("input sr h c", "output hn cn", "h hn c cn"),
    "silero-vad 5": ("input state sr", "output stateN", "state stateN"),
    "GTCRN": (
        "mix conv_cache tra_cache inter_cache", "enh conv_cache_out tra_cache_out inter_cache_out",
        "conv_cache conv_cache_out tra_cache tra_cache_out inter_cache inter_cache_out",
    ),
    "DeepFilterNet": ("input_frame states atten_lim_db", "enhanced_audio_frame new_states lsnr", "states new_states"),
    "RNNoise": (
        "main_input vad_gru_prev_state noise_gru_prev_state", "denoise_output vad_gru_state noise_gru_state",
        "vad_gru_prev_state vad_gru_state noise_gru_prev_state noise_gru_state",
    ),
    "Robust Video Matting": (
        "src r1i r2i r3i r4i downsample_ratio", "fgr pha r1o r2o r3o r4o", "r1i r1o r2i r2o r3i r3o r4i r4o",
    ),
    "sherpa-onnx zipformer": (
        "x cached_len_0 cached_len_1 cached_avg_0 cached_avg_1",
        "encoder_out new_cached_len_0 new_cached_len_1 new_cached_avg_0 new_cached_avg_1",
        "cached_len_0 new_cached_len_0 cached_len_1 new_cached_len_1 cached_avg_0 new_cached_avg_0 cached_avg_1"
        " new_cached_avg_1",
    ),
    "sherpa-onnx lstm": (
        "x state0 state1", "encoder_out next_state0 next_state1", "state0 next_state0 state1 next_state1",
    ),
    "NeMo FastConformer": (
        "audio_signal length cache_last_channel cache_last_time cache_last_channel_len",
        "outputs encoded_lengths cache_last_channel_next cache_last_time_next cache_last_channel_next_len",
        "cache_last_channel cache_last_channel_next cache_last_time cache_last_time_next cache_last_channel_len"
        " cache_last_channel_next_len",
    ),
    "NeMo RNN-T decoder": ("targets states.1 states.2", "outputs states", ""),
    "WeNet": (
        "chunk offset att_cache cnn_cache", "output r_att_cache r_cnn_cache",
        "att_cache r_att_cache cnn_cache r_cnn_cache",
    ),
    "RLlib": (
        "obs state_in_0 state_in_1", "logits state_out_0 state_out_1",
        "state_in_0 state_out_0 state_in_1 state_out_1",
    ),
    "rl_games": (
        "obs out_state.1 hidden_state.1", "mu out_state hidden_state",
        "out_state.1 out_state hidden_state.1 hidden_state",
    ),
    "TensorFlow": ("input_1 input_2", "StatefulPartitionedCall:0 StatefulPartitionedCall:1", ""),
    "an enhancer": ("audio_in h_in", "audio_out h_out", "h_in h_out"),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_public_models(name):
    inputs, outputs, expected = (text.split() for text in MODELS[name])
    assert pair_states(specs(*inputs), specs(*outputs)) == dict(zip(expected[::2], expected[1::2], strict=True))


@given(st.lists(st.sampled_from([word for pair in pairs(NAMES) for word in pair]), unique=True, max_size=8))
def test_every_output_is_the_next_value_of_one_state_at_most(names):
    found = pair_states([X, *specs(*names[::2])], [Y, *specs(*names[1::2])])
    assert len(set(found.values())) == len(found)
    assert set(found) <= set(names[::2])


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
    assert pair_states(specs("h", "c"), specs("h_out", "c_out")) == {}
    assert pair_states([], [Y]) == {}

"""Saved states that were forged, with a checksum that holds: a `StateError` whatever they say."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from safetensors.numpy import save

from fastgru import GRU, Model, Sequential, SessionPool
from fastgru.errors import StateError
from fastgru.simd.target import TARGET, TARGETS
from fastgru.streaming import state_blob
from fastgru.streaming.state_blob import pack_state, unpack_state

MODEL = "ab" * 32
ANOTHER = next(target for target in TARGETS if target != TARGET)


def forged(body: bytes) -> bytes:
    return b"fastgru-state-2\n" + bytes.fromhex(MODEL) + hashlib.sha256(body).digest() + body


def tensors(nbytes: int, **entries: dict) -> bytes:
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + bytes(nbytes)


def entry(dtype: str, shape: list, *offsets: int) -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": list(offsets)}


def test_states_come_back_and_those_that_safetensors_wrote_are_read():
    state = {"h": np.arange(6, dtype=np.float32).reshape(1, 2, 3), "c": np.arange(4, dtype=np.float64)[::2]}
    for blob in (
        pack_state(state, MODEL),
        forged(save({k: np.ascontiguousarray(a) for k, a in state.items()}, {"target": TARGET.name})),
    ):
        back = unpack_state(blob, MODEL)
        assert {name: (a.dtype, a.tolist()) for name, a in back.items()} == {
            name: (a.dtype, a.tolist()) for name, a in state.items()
        }


@pytest.mark.parametrize(
    "body",
    [
        b"",
        bytes(8),
        tensors(16, h=entry("F8_E4M3", [16], 0, 16)),
        tensors(8, h=entry("F4", [16], 0, 8)),
        tensors(8, h=entry("C64", [1], 0, 8)),
        tensors(8, h=entry("U8", [8], 0, 8)),
        tensors(8, h=entry("U8", [8], 0, 8), __metadata__={"a": "b"}),
        tensors(8, h=entry("U8", [8], 0, 8), __metadata__={"target": TARGET.name, "a": "b"}),
        tensors(8, h=entry("U8", [8], 0, 8), __metadata__={"target": "x" * 5_000}),
        tensors(4, h=entry("F32", [1] * 100, 0, 4)),
        tensors(8, h=entry("U8", [8], 0, 8), c=entry("U8", [8], 0, 8)),
        tensors(8, h=entry("U8", [4], 4, 8)),
        tensors(0, h=entry("F32", [1 << 40], 0, 1 << 42)),
        tensors(0, h=entry("F32", [0, 1 << 47, 1 << 47], 0, 0)),
        tensors(8, h=entry("F32", [-2], 0, 8)),
        tensors(8, h=entry("F32", [2.0], 0, 8)),
        tensors(8, h={"dtype": ["F32"], "shape": {}, "data_offsets": None}),
        tensors(2, h=entry("BOOL", [2], 0, 2)).replace(b"\0\0", b"\2\2"),
        (1 << 63).to_bytes(8, "little") + b"{}",
        (8).to_bytes(8, "little") + b'{"\xff": 1}',
        (4).to_bytes(8, "little") + b"[[]]",
        (100_000).to_bytes(8, "little") + b"[" * 100_000,
    ],
)
def test_forged(body):
    with pytest.raises(StateError, match="saved state"):
        unpack_state(forged(body), MODEL)


def test_a_state_of_another_target_is_refused_unless_it_is_asked_for(monkeypatch):
    model = Model(Sequential(GRU.from_torch(weights())).to_graph(initial_state=True))
    stream, pool = model.stream(), SessionPool(model, 2)
    stream.push(np.ones((3, 1, 4), np.float32))
    with monkeypatch.context() as patch:
        patch.setattr(state_blob, "TARGET", ANOTHER)
        theirs = stream.save_state()
    assert theirs != stream.save_state()
    session, fresh = pool.open(), model.stream()
    for refused in (fresh.load_state, pool.open, lambda blob: pool.load(session, blob)):
        with pytest.raises(StateError) as caught:
            refused(theirs)
        assert all(word in str(caught.value) for word in (ANOTHER.name, TARGET.name, "any_target=True"))
    assert fresh.save_state() == pool.save(session) == model.stream().save_state()
    fresh.load_state(theirs, any_target=True)
    pool.load(session, theirs, any_target=True)
    assert fresh.save_state() == pool.save(session) == pool.save(pool.open(theirs, any_target=True))
    assert fresh.save_state() == stream.save_state()
    with pytest.raises(StateError, match="another model"):
        unpack_state(theirs, MODEL, any_target=True)


def weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = {"weight_ih_l0": (12, 4), "weight_hh_l0": (12, 4), "bias_ih_l0": (12,), "bias_hh_l0": (12,)}
    return {name: rng.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}

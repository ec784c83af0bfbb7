"""Saved states that were forged, with a checksum that holds: a `StateError` whatever they say."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from safetensors.numpy import save

from fastgru.errors import StateError
from fastgru.streaming.state_blob import pack_state, unpack_state

MODEL = "ab" * 32


def forged(body: bytes) -> bytes:
    return b"fastgru-state-1\n" + bytes.fromhex(MODEL) + hashlib.sha256(body).digest() + body


def tensors(nbytes: int, **entries: dict) -> bytes:
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + bytes(nbytes)


def entry(dtype: str, shape: list, *offsets: int) -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": list(offsets)}


def test_states_come_back_and_those_that_safetensors_wrote_are_read():
    state = {"h": np.arange(6, dtype=np.float32).reshape(1, 2, 3), "c": np.arange(4, dtype=np.float64)[::2]}
    for blob in (pack_state(state, MODEL), forged(save({k: np.ascontiguousarray(a) for k, a in state.items()}))):
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
        tensors(8, h=entry("U8", [8], 0, 8), __metadata__={"a": "b"}),
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

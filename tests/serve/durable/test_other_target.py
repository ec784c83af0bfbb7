"""A folder of states that a process with another target takes up: refused, until that is asked for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import fastgru
from bench.serve.models import save_gru

pytest.importorskip("uvicorn", reason="not installed: the extra `serve`")
pytest.importorskip("orjson", reason="not installed: the extra `serve`")

from killing import Numbered, Victim

from fastgru.simd.target import TARGET

LOWER = TARGET.levels[0]


@pytest.mark.skipif(LOWER == TARGET, reason="this CPU runs one level of its base alone")
def test_the_next_process_has_another_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_gru(tmp_path / "gru.safetensors", 64)
    victim = Victim(path, tmp_path / "states")
    client = Numbered(victim.port, 7, fastgru.load(path), 0)
    frame = np.ones(client.shape, np.float32)
    monkeypatch.setenv("FASTGRU_TARGET", LOWER.name)
    with victim:
        for step in range(3):
            client.infer(frame, sequence_step=step, sequence_start=step == 0)
        answer, state = client.ask("GET", "/sequences/7/state")
        assert answer.headers["Sequence-Step"] == "3"
        victim.kill()
        client.disconnect()
        monkeypatch.setenv("FASTGRU_TARGET", TARGET.name)
        victim.start()
        for method, place, body in (("GET", "/sequences/7", b""), ("PUT", "/sequences/8/state", state)):
            answer, text = client.ask(method, place, body)
            assert (answer.status, json.loads(text)["reason"]) == (409, "state")
            assert all(word in text.decode() for word in (LOWER.name, TARGET.name, "--any-target"))
        victim.kill()
        client.disconnect()
        victim.words.append("--any-target")
        victim.start()
        assert client.infer(frame, sequence_step=2) != b""  # the answer of the step before is kept
        client.infer(frame, sequence_step=3)
        answer, text = client.ask("PUT", "/sequences/8/state", state)
        assert (answer.status, json.loads(text)["step"]) == (200, 0)
        client.disconnect()
    assert "another target" in victim.log.read_text(errors="replace")

"""What clients may ask of a server with a folder: an answer once more, a sequence that is parked, a stream reopened."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest

import fastgru
from bench.serve.models import save_gru

pytest.importorskip("uvicorn", reason="not installed: the extra `serve`")
pytest.importorskip("orjson", reason="not installed: the extra `serve`")

from killing import Http, Socket, Victim

H = 16


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Victim, fastgru.Model]]:
    folder = tmp_path_factory.mktemp("again")
    path = save_gru(folder / "gru.safetensors", H)
    made = Victim(path, folder / "states", "--idle-seconds", "0.6")
    made.start()
    yield made, fastgru.load(path)
    assert made.stop() == 0
    assert "Traceback" not in made.log.read_text(errors="replace")


@pytest.fixture
def client(victim: tuple[Victim, fastgru.Model], request: pytest.FixtureRequest) -> Iterator[Http]:
    made = Http(victim[0].port, request.node.name, victim[1], 0)
    yield made
    made.disconnect()


def restart(victim: tuple[Victim, fastgru.Model], client: Http) -> None:
    victim[0].kill()
    client.disconnect()
    victim[0].start()


def refused(client: Http, method: str = "POST", path: str = "/infer", **parameters: Any) -> tuple[int, str]:
    text = b""
    if path == "/infer":
        given = {"name": "x", "datatype": "FP32", "shape": client.shape, "data": [0.0] * H}
        text = json.dumps({"parameters": {"sequence_id": client.name, **parameters}, "inputs": [given]}).encode()
    answer, body = client.ask(method, path, text)
    return answer.status, json.loads(body).get("reason", "")


@pytest.mark.parametrize("killed", [False, True])
def test_the_last_step_is_answered_again_and_does_not_run(victim: Any, client: Http, killed: bool) -> None:
    frames = [client.frame() for _ in range(4)]
    want = [client.stream.push(frame).tobytes() for frame in frames]
    for step, frame in enumerate(frames[:3]):
        assert client.infer(frame, sequence_step=step, sequence_start=step == 0) == want[step]
    if killed:
        restart(victim, client)
    for _ in range(3):
        assert client.infer(frames[2], sequence_step=2) == want[2]
    assert refused(client, sequence_step=1) == (409, "step")
    assert client.infer(frames[3], sequence_step=3) == want[3]
    assert json.loads(client.ask("GET", f"/sequences/{client.name}")[1])["step"] == 4


@pytest.mark.parametrize("killed", [False, True])
def test_the_step_that_ended_a_sequence_is_answered_again(victim: Any, client: Http, killed: bool) -> None:
    frames = [client.frame() for _ in range(2)]
    want = [client.stream.push(frame).tobytes() for frame in frames]
    client.infer(frames[0], sequence_step=0, sequence_start=True)
    assert client.infer(frames[1], sequence_step=1, sequence_end=True) == want[1]
    if killed:
        restart(victim, client)
    assert client.infer(frames[1], sequence_step=1, sequence_end=True) == want[1]
    assert refused(client, sequence_step=2) == (410, "ended")
    assert refused(client) == (400, "unknown_sequence")
    assert client.infer(frames[0], sequence_step=0, sequence_start=True) == want[0]
    assert refused(client, sequence_step=4, timeout=1_000)[0] == 503
    client.ask("DELETE", f"/sequences/{client.name}")
    assert refused(client, sequence_step=1) == (400, "unknown_sequence")


def test_no_answer_is_kept_of_a_state_that_was_set(victim: Any, client: Http) -> None:
    client.infer(client.frame(), sequence_step=0, sequence_start=True)
    client.infer(client.frame(), sequence_step=1)
    path = f"/sequences/{client.name}"
    saved = client.ask("GET", f"{path}/state")[1]
    assert client.ask("PUT", f"{path}/state", saved)[0].status == 200
    assert refused(client, sequence_step=1) == (409, "step")
    restart(victim, client)
    assert client.ask("GET", f"{path}/state")[1] == saved
    assert refused(client, sequence_step=1) == (409, "step")
    client.ask("POST", f"{path}/reset")
    restart(victim, client)
    assert json.loads(client.ask("GET", path)[1])["step"] == 0


def test_long_and_empty_answers_are_kept_too(victim: Any, client: Http) -> None:
    client.infer(client.frame(), sequence_start=True)
    client.stream.push(np.zeros(client.shape, np.float32))
    client.shape = (500, *client.shape[1:])
    frame = client.frame()
    want = client.infer(frame, sequence_step=1)
    assert len(want) == 500 * H * 4
    restart(victim, client)
    assert client.infer(frame, sequence_step=1) == want


def test_parked_sequences_are_listed_ended_and_taken_up(victim: Any, client: Http) -> None:
    frames = [client.frame() for _ in range(3)]
    want = [client.stream.push(frame).tobytes() for frame in frames]
    client.infer(frames[0], sequence_start=True)
    client.ask("POST", f"/sequences/{client.name}/fork", json.dumps({"id": "fork"}).encode())

    def listed() -> dict[str, Any]:
        return {each["id"]: each for each in json.loads(client.ask("GET", "/sequences")[1])["sequences"]}

    assert not listed()[client.name]["parked"]
    restart(victim, client)
    shown = listed()[client.name]
    assert (shown["parked"], shown["step"], shown["key"]) == (True, 1, None)
    assert client.infer(frames[1]) == want[1]
    assert not listed()[client.name]["parked"]
    assert client.ask("DELETE", "/sequences/fork")[0].status == 200
    assert "fork" not in listed()
    while not listed()[client.name]["parked"]:
        pass
    text = urlopen(f"http://127.0.0.1:{client.port}/metrics").read()
    assert re.search(rb'\nfastgru_parked_sessions{model="gru",version="1"} [1-9]', text)
    assert client.infer(frames[2], sequence_end=True) == want[2]
    assert client.name not in listed()


def test_a_stream_reopens_where_it_was(victim: Any, client: Http) -> None:
    """Parked with its connection open, and after a kill; the last answer is there until the state is set."""
    stream = Socket(victim[0].port, client.name, victim[1], 1)
    assert stream.open()["step"] == 0
    frames = [stream.frame() for _ in range(4)]
    want = [stream.stream.push(frame).tobytes() for frame in frames]
    stream.send(1, b'{"type": "answer"}')
    assert json.loads(stream.receive()[1])["reason"] == "no_answer"
    for frame, expected in zip(frames[:2], want, strict=False):
        stream.send(2, frame.tobytes())
        assert stream.receive() == (2, expected)
    while not json.loads(client.ask("GET", "/sequences")[1])["sequences"][-1]["parked"]:
        pass
    stream.send(1, b'{"type": "answer"}')
    assert stream.receive() == (2, want[1])
    while not json.loads(client.ask("GET", "/sequences")[1])["sequences"][-1]["parked"]:
        pass
    stream.send(2, frames[2].tobytes())
    assert stream.receive() == (2, want[2])
    restart(victim, client)
    stream.disconnect()
    stream.acknowledged = 2  # the last answer did not come
    assert stream.open()["step"] == 3
    stream.send(1, b'{"type": "answer"}')
    assert stream.receive() == (2, want[2])
    stream.send(2, frames[3].tobytes())
    assert stream.receive() == (2, want[3])
    stream.send(1, b'{"type": "reset"}')
    assert json.loads(stream.receive()[1])["type"] == "reset"
    stream.send(1, b'{"type": "answer"}')
    assert json.loads(stream.receive()[1])["reason"] == "no_answer"
    stream.disconnect()
    client.ask("DELETE", f"/sequences/{client.name}")

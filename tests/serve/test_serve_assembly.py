"""A server in a thread of its own: it takes models, answers over a socket, and ends when it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import http.client
import json
import logging
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

pytest.importorskip("orjson", reason="not installed: the extra `serve`")
pytest.importorskip("websockets", reason="not installed: the extra `serve`")

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from bench.serve.process import free_port
from fastgru import GRU, Gate, Linear, Model, Sequential, serve
from fastgru.serve.assembly import Assembly
from fastgru.serve.repository import Repository
from fastgru.serve.settings import ModelFile, Settings, SettingsError
from fastgru.simd.notices import Progress


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(np.float32) / 2


def net() -> Model:
    gate = [Gate(normal(8, 8, seed=k), normal(8, 8, seed=k + 3)) for k in range(3)]
    gru = GRU.from_gates(reset=gate[0], update=gate[1], candidate=gate[2])
    return Model(Sequential(gru, Linear(normal(3, 8))).to_graph(initial_state=True))


@contextmanager
def served(models: Any, **options: Any) -> Iterator[str]:
    """The URL of a server. It goes down at the end."""
    with running(models, **options) as (server, _):
        yield server.urls[0]


@contextmanager
def running(models: Any, **options: Any) -> Iterator[tuple[Any, asyncio.AbstractEventLoop]]:
    """The server and its loop."""
    found: list[Any] = []
    ready = threading.Event()

    def started(server: Any) -> None:
        found.append((server, asyncio.get_running_loop()))
        ready.set()

    thread = threading.Thread(target=serve.run, args=(models,), kwargs={"started": started, "port": 0, **options})
    thread.start()
    assert ready.wait(60)
    (server, loop) = found[0]
    try:
        yield server, loop
    finally:
        with contextlib.suppress(RuntimeError):  # it has ended by itself
            loop.call_soon_threadsafe(server.stop)
        thread.join(30)
        assert not thread.is_alive()


def ask(url: str, given: Any = None) -> Any:
    body = None if given is None else json.dumps(given).encode()
    with urllib.request.urlopen(urllib.request.Request(url, body), timeout=30) as reply:
        return json.loads(reply.read())


def test_a_server_answers_and_ends(tmp_path):
    model = net()
    model.save(tmp_path / "net.safetensors")
    x = normal(1, 1, 8)
    request = {
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1, 8], "data": x.ravel().tolist()}],
        "parameters": {"sequence_id": 7, "sequence_start": True},
    }
    with served([tmp_path / "net.safetensors"], capacity=8) as url:
        assert ask(f"{url}/v2/health/ready") == {"ready": True}
        assert [entry["name"] for entry in ask(f"{url}/v2/repository/index", {})] == ["net"]
        stream = model.stream()
        for step in range(3):
            request["parameters"]["sequence_start"] = step == 0
            (output,) = ask(f"{url}/v2/models/net/infer", request)["outputs"]
            np.testing.assert_array_equal(np.array(output["data"], np.float32), stream.push(x).ravel())


def refused(url: str, given: Any = None) -> tuple[int, Any, Any]:
    """(status, Retry-After, what it says) of a request that is refused."""
    with pytest.raises(urllib.error.HTTPError) as caught:
        ask(url, given)
    with caught.value as error:
        return error.code, error.headers["retry-after"], json.loads(error.read())


FRAME = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1, 8], "data": [0.0] * 8}]}


def test_it_listens_and_lives_before_the_models_are_loaded(monkeypatch):
    goes_on, read = threading.Event(), Repository.read

    def slow(self: Repository, name: str) -> Any:
        assert goes_on.wait(60)
        return read(self, name)

    monkeypatch.setattr(Repository, "read", slow)
    port = free_port()
    url = f"http://127.0.0.1:{port}"

    def look() -> None:
        try:
            for _ in range(500):
                try:
                    assert ask(f"{url}/v2/health/live") == {"live": True}
                    break
                except urllib.error.URLError:
                    time.sleep(0.01)
            assert refused(f"{url}/v2/health/ready") == (503, None, {"ready": False})
            status, again, told = refused(f"{url}/v2/models/m/infer", FRAME)
            assert (status, again, told["reason"]) == (503, "1", "loading")
            (entry,) = ask(f"{url}/v2/repository/index", {})
            seen.append(entry["state"])
        finally:
            goes_on.set()

    seen: list[str] = []
    looking = threading.Thread(target=look)
    looking.start()
    with served({"m": net()}, port=port):
        looking.join(30)
        assert seen == ["LOADING"]
        assert ask(f"{url}/v2/health/ready") == {"ready": True}
        assert ask(f"{url}/v2/models/m/infer", FRAME)["model_name"] == "m"


def test_a_busy_port_is_told_before_a_model_is_read(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SettingsError, match="cannot listen"):
        serve.run(tmp_path / "none.onnx", port=taken.getsockname()[1])
    with pytest.raises(OSError, match=r"none\.onnx"):
        serve.run(tmp_path / "none.onnx", port=0)


def test_a_start_that_fails_promises_no_answers(tmp_path, caplog):
    with caplog.at_level(logging.INFO, "fastgru.serve"), pytest.raises(OSError, match=r"none\.onnx"):
        serve.run(tmp_path / "none.onnx", port=0)
    assert not [record for record in caplog.records if record.name == "fastgru.serve"]


def test_a_second_stop_cuts_websockets_off_without_a_traceback(caplog):
    with (
        caplog.at_level(logging.INFO),
        running({"m": net()}) as (server, loop),
        connect(server.urls[0].replace("http", "ws") + "/v2/models/m/stream", proxy=None) as client,
    ):
        loop.call_soon_threadsafe(server.stop)
        assert "the server shuts down in 5 s" in json.loads(client.recv(20))["message"]
        loop.call_soon_threadsafe(server.stop)
        with pytest.raises(ConnectionClosed):
            client.recv(20)
    assert "1 WebSocket is open; the server waits at most 5 s for it to close" in caplog.messages
    assert all(record.levelno == logging.INFO for record in caplog.records)


def test_it_serves_on_for_a_while_when_it_is_not_ready_any_more():
    with running({"m": net()}, drain_delay_seconds=1.5) as (server, loop):
        url = server.urls[0]
        assert ask(f"{url}/v2/health/ready") == {"ready": True}
        loop.call_soon_threadsafe(server.stop)
        time.sleep(0.2)
        assert refused(f"{url}/v2/health/ready")[0] == 503
        assert ask(f"{url}/v2/models/m/infer", FRAME)["model_name"] == "m"  # over a connection that is new


def test_keys_are_read_again_and_those_that_have_gone_end_their_connections(tmp_path):
    def line(name: str, key: str) -> str:
        return f"{name} user {hashlib.sha256(key.encode()).hexdigest()}\n"

    path = tmp_path / "keys"
    path.write_text(line("ann", "a") + line("bob", "b"))
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect

    with running({"m": net()}, api_key_file=path) as (server, loop):
        url = server.urls[0].replace("http", "ws") + "/v2/models/m/stream"
        with (
            connect(url, additional_headers={"X-API-Key": "a"}, proxy=None) as ann,
            connect(url, additional_headers={"X-API-Key": "b"}, proxy=None) as bob,
            contextlib.closing(http.client.HTTPConnection(url.split("/")[2])) as kept,
        ):
            body, headers = json.dumps(FRAME), {"X-API-Key": "a", "Content-Type": "application/json"}
            for _ in range(3):
                kept.request("POST", "/v2/models/m/infer", body, headers)
                assert kept.getresponse().read()
            path.write_text("no keys\n")
            loop.call_soon_threadsafe(server.reload)  # which changes nothing
            kept.request("POST", "/v2/models/m/infer", body, headers)
            assert kept.getresponse().read()
            path.write_text(line("bob", "b") + line("carol", "c"))
            loop.call_soon_threadsafe(server.reload)
            with pytest.raises(ConnectionClosed) as caught:
                ann.recv(timeout=20)
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 1008
            for key, status in (("a", 401), ("b", 200), ("c", 200)):
                kept.close()
                kept.request("POST", "/v2/models/m/infer", body, headers | {"X-API-Key": key})
                answer = kept.getresponse()
                assert (answer.status, bool(answer.read())) == (status, True)
            bob.send('{"type": "open"}')
            assert json.loads(bob.recv(timeout=20))["type"] == "opened"


def test_idle_sessions_end_while_it_runs():
    x = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1, 8], "data": [0.0] * 8}]}
    with served({"m": net()}, idle_seconds=0.05) as url:
        ask(f"{url}/v2/models/m/infer", {**x, "parameters": {"sequence_id": 7, "sequence_start": True}})
        for _ in range(200):
            threading.Event().wait(0.02)
            if not ask(f"{url}/v2/models/m/sequences"):
                break
        with pytest.raises(urllib.error.HTTPError) as caught:
            ask(f"{url}/v2/models/m/infer", {**x, "parameters": {"sequence_id": 7}})
        with caught.value as error:
            assert error.code == 410
            assert json.loads(error.read())["reason"] == "evicted"


def test_an_option_that_there_is_not_is_named():
    with pytest.raises(SettingsError, match="no option is called prt; the options are models, host, port"):
        serve.run("model.onnx", prt=1)


def test_names_that_cannot_be_are_refused():
    with pytest.raises(SettingsError, match="'a/b' cannot be the name of a model"):
        serve.application({"a/b": net()})


@pytest.mark.parametrize("start", [serve.run, serve.application])
def test_options_of_reading_are_refused_for_models_in_memory(start, tmp_path):
    model, file = net(), tmp_path / "f.safetensors"
    model.save(file)
    said = r"precision=, open_states= cannot apply to m, which is in memory"
    with pytest.raises(SettingsError, match=said):
        start({"f": file, "m": model}, precision="int8", open_states=True)
    with pytest.raises(SettingsError, match=r"inputs= cannot apply to layer"):
        start({"layer": Linear(normal(3, 8))}, settings=Settings(inputs=("x",)))
    own = ModelFile("f", file, {"precision": "float64"})
    app = Assembly({"m": model}, Settings(models=(own,)))
    assert [served.model.precision for served in app.repository] == ["float32", "float64"]


def test_a_model_is_not_replaced_by_one_of_the_same_name_in_the_settings():
    with pytest.raises(SettingsError, match="m: two models have this name, one of them in the settings"):
        serve.application({"m": net()}, settings=Settings(models=("m=other.onnx",)))


def test_a_compilation_at_the_start_is_one_line_of_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    async def compiles(repository: Repository) -> None:
        progress = Progress("compiling kernels", 3)
        for done in range(3):
            progress.show()
            progress.reached(done)
        progress.close()

    monkeypatch.delenv("FASTGRU_QUIET", raising=False)
    monkeypatch.setattr("fastgru.serve.swap.start", compiles)
    assembly = Assembly({"net": net()}, Settings(), loads=False)
    with caplog.at_level("INFO", "fastgru.serve"):
        asyncio.run(assembly._prepare())
    assembly.close()
    assert [record.message for record in caplog.records] == ["compiling kernels"]
    assert capsys.readouterr().err == ""

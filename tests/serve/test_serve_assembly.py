"""A server in a thread of its own: it takes models, answers over a socket, and ends when it is told to."""

from __future__ import annotations

import asyncio
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from fastgru import GRU, Gate, Linear, Model, Sequential, serve
from fastgru.serve.settings import SettingsError

for extra in ("uvicorn", "httptools", "orjson", "websockets", "prometheus_client"):
    pytest.importorskip(extra, reason="not installed: the extra `serve`")


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(np.float32) / 2


def net() -> Model:
    gate = [Gate(normal(8, 8, seed=k), normal(8, 8, seed=k + 3)) for k in range(3)]
    gru = GRU.from_gates(reset=gate[0], update=gate[1], candidate=gate[2])
    return Model(Sequential(gru, Linear(normal(3, 8))).to_graph(initial_state=True))


@contextmanager
def served(models: Any, **options: Any) -> Iterator[str]:
    """The URL of a server. It goes down at the end."""
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
        yield server.urls[0]
    finally:
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
        assert caught.value.code == 410
        assert json.loads(caught.value.read())["reason"] == "evicted"


def test_an_option_that_there_is_not_is_named():
    with pytest.raises(SettingsError, match="unknown: prt; there are models, host, port"):
        serve.run("model.onnx", prt=1)


def test_names_that_cannot_be_are_refused():
    with pytest.raises(SettingsError, match="'a/b' cannot be the name of a model"):
        serve.application({"a/b": net()})

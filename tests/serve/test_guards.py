"""The whole server: who may ask for what, from which page, and what `/metrics` says of it."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastgru import GRU, Gate, Linear, Model, Sequential

pytest.importorskip("uvicorn", reason="needs the extra serve")
pytest.importorskip("orjson", reason="needs the extra serve")
pytest.importorskip("prometheus_client", reason="needs the extra serve")

from fastgru import serve

FRAME = [[[0.5] * 4]]


def model() -> Model:
    def normal(*shape: int, seed: int = 0) -> np.ndarray:
        return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(np.float32) / 2

    gates = [Gate(normal(6, 4, seed=k), normal(6, 6, seed=k + 3)) for k in range(3)]
    gru = GRU.from_gates(reset=gates[0], update=gates[1], candidate=gates[2])
    return Model(Sequential(gru, Linear(normal(3, 6))).to_graph(initial_state=True))


class Client:
    """Requests to a server in a thread."""

    def __init__(self, url: str) -> None:
        self.host = url.removeprefix("http://")

    def __call__(
        self, method: str, path: str, given: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, str], Any]:
        """(status, headers, what the body says)"""
        connection = http.client.HTTPConnection(self.host, timeout=30)
        try:
            connection.request(method, path, None if given is None else json.dumps(given), dict(headers or {}))
            reply = connection.getresponse()
            body = reply.read()
            found = {name.lower(): value for name, value in reply.getheaders()}
            is_json = found.get("content-type") == "application/json"
            return reply.status, found, json.loads(body) if is_json else body.decode()
        finally:
            connection.close()

    def infer(self, headers: Mapping[str, str], **parameters: Any) -> tuple[int, Any]:
        inputs = [{"name": "x", "datatype": "FP32", "shape": [1, 1, 4], "data": FRAME}]
        status, _, body = self("POST", "/v2/models/gru/infer", {"inputs": inputs, "parameters": parameters}, headers)
        return status, body


@contextmanager
def serving(**options: Any) -> Iterator[Client]:
    found: list[Any] = []
    ready = threading.Event()

    def started(server: Any) -> None:
        found.extend((server, asyncio.get_running_loop()))
        ready.set()

    given = {"started": started, "port": 0, "capacity": 16, **options}
    thread = threading.Thread(target=serve.run, args=({"gru": model()},), kwargs=given)
    thread.start()
    assert ready.wait(60)
    try:
        yield Client(found[0].urls[0])
    finally:
        found[1].call_soon_threadsafe(found[0].stop)
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "keys.txt"
    lines = [f"{name} {role} {hashlib.sha256(key.encode()).hexdigest()}" for name, role, key in (
        ("ann", "user", "key-a"), ("bob", "user", "key-b"), ("root", "admin", "key-r"),
    )]  # fmt: skip
    path.write_text("\n".join(lines))
    return path


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_keys_have_sessions_and_rights_of_their_own(keys: Path) -> None:
    ann, bob, root = bearer("key-a"), {"X-API-Key": "key-b"}, bearer("key-r")
    with serving(api_key_file=keys) as ask:
        for headers in ({}, bearer("key-c"), {"X-API-Key": ""}):
            status, found, body = ask("GET", "/v2/models/gru", headers=headers)
            assert (status, found["www-authenticate"], body["reason"]) == (401, "Bearer", "key")
            assert ask("GET", "/metrics", headers=headers)[0] == 401
        assert ask.infer(ann, sequence_id=7, sequence_start=True)[0] == 200
        # Another key has no such session, and its own one is another.
        assert ask.infer(bob, sequence_id=7)[0] == 400
        assert ask.infer(bob, sequence_id=7, sequence_start=True)[0] == 200
        first, second = ask.infer(ann, sequence_id=7)[1], ask.infer(bob, sequence_id=7)[1]
        assert first["outputs"][0]["data"] == second["outputs"][0]["data"]
        for headers in (ann, bob):
            assert ask("POST", "/v2/repository/models/gru/unload", headers=headers)[0] == 403
        assert ask("POST", "/v2/repository/models/gru/unload", headers=root)[0] == 200
        assert ask("GET", "/v2/models/gru", headers=ann)[0] == 404


def test_without_keys_this_machine_administrates_and_others_do_not() -> None:
    with serving() as ask:
        assert ask("POST", "/v2/repository/models/gru/load")[0] == 200
    with serving(host="0.0.0.0", insecure=True) as ask:
        assert ask("GET", "/v2/models/gru")[0] == 200
        assert ask("POST", "/v2/repository/models/gru/load")[0] == 403


def test_other_hosts_and_pages_get_nothing() -> None:
    with serving() as ask:
        assert ask("GET", "/v2", headers={"Host": "evil.com"})[2]["reason"] == "host"
        assert ask("GET", "/v2", headers={"Host": "localhost"})[0] == 200
        assert ask("POST", "/v2/models/gru/infer", {}, {"Origin": "https://evil.com"})[2]["reason"] == "origin"
        assert "access-control-allow-origin" not in ask("GET", "/v2", headers={"Origin": "http://localhost"})[1]
        assert ask("OPTIONS", "/v2/models/gru/infer", headers={"Origin": "https://evil.com"})[0] == 403
        text = ask("GET", "/metrics")[2]
    assert 'fastgru_refused_total{reason="host"} 1\n' in text
    assert 'fastgru_refused_total{reason="origin"} 2\n' in text


def test_allowed_pages_may_ask_and_read() -> None:
    with serving(allow_origin=("https://app.example",)) as ask:
        page = {"Origin": "https://app.example"}
        asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
        status, headers, _ = ask("OPTIONS", "/v2/models/gru/infer", headers=page | asked)
        assert (status, headers["access-control-allow-origin"]) == (204, "https://app.example")
        status, headers, _ = ask("GET", "/v2", headers=page)
        assert (status, headers["access-control-allow-origin"]) == (200, "https://app.example")
        status, headers, _ = ask("GET", "/nothing", headers=page)
        assert (status, headers["access-control-allow-origin"]) == (404, "https://app.example")
        assert ask("GET", "/v2", headers={"Origin": "https://other.example"})[0] == 403


def test_metrics_tell_what_has_been_asked() -> None:
    with serving() as ask:
        for n in range(5):
            assert ask.infer({}, sequence_id=1, sequence_start=n == 0)[0] == 200
        assert ask.infer({})[0] == 200
        assert ask.infer({}, sequence_id=2)[0] == 400
        status, headers, text = ask("GET", "/metrics")
    assert (status, headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
    labels = '{model="gru",version="1"}'
    assert float(values[f"nv_inference_request_success{labels}"]) == 6
    assert float(values[f"nv_inference_pending_request_count{labels}"]) == 0
    assert float(values[f"fastgru_sessions{labels}"]) == 1
    assert float(values[f"fastgru_step_seconds_count{labels}"]) == 6
    assert float(values['fastgru_refused_total{reason="unknown_sequence"}']) == 1
    assert float(values["process_open_fds"]) > 3


def stream_url(ask: Client) -> str:
    return f"ws://{ask.host}/v2/models/gru/stream"


def test_a_websocket_is_guarded_as_requests_are(keys: Path) -> None:
    client = pytest.importorskip("websockets.sync.client", reason="needs the extra serve")
    from websockets.exceptions import InvalidStatus

    with serving(api_key_file=keys, allow_origin=("https://app.example",)) as ask:
        for headers, status in (
            ({}, 401),
            (bearer("key-c"), 401),
            (bearer("key-a") | {"Origin": "https://evil.com"}, 403),
            (bearer("key-a") | {"Host": "evil.com"}, 421),
        ):
            host = {} if "Host" not in headers else {"Host": headers["Host"]}
            more = {name: value for name, value in headers.items() if name not in host}
            with pytest.raises(InvalidStatus) as caught:
                connect_as(client, stream_url(ask), more, host)
            assert caught.value.response.status_code == status
        with client.connect(
            stream_url(ask), additional_headers=bearer("key-a"), origin="https://app.example"
        ) as stream:
            stream.send(np.full(4, 0.5, np.float32).tobytes())
            assert len(stream.recv(timeout=20)) == 12


def connect_as(client: Any, url: str, headers: Mapping[str, str], host: Mapping[str, str]) -> None:
    """host: another name for the same address, as a page of a rebound domain would have it."""
    name, _, port = url.removeprefix("ws://").partition("/")[0].partition(":")
    address = url.replace(name, host.get("Host", name))
    with (
        socket.create_connection((name, int(port)), timeout=20) as sock,
        client.connect(address, sock=sock, additional_headers=headers),
    ):
        return


def test_streams_are_told_of_the_end() -> None:
    client = pytest.importorskip("websockets.sync.client", reason="needs the extra serve")
    from websockets.exceptions import ConnectionClosed

    with ExitStack() as stack:
        with serving(drain_seconds=2.0) as ask:
            stream = stack.enter_context(client.connect(stream_url(ask)))
            stream.send(np.full(4, 0.5, np.float32).tobytes())
            assert len(stream.recv(timeout=20)) == 12
            began = time.monotonic()
        assert time.monotonic() - began < 10
        told = []
        with pytest.raises(ConnectionClosed) as caught:
            told.extend(iter(lambda: stream.recv(timeout=20), None))
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1001


def test_a_handshake_that_is_none_gets_an_answer() -> None:
    """Whatever is wrong with it: nobody is left waiting."""
    key, version = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", b"Sec-WebSocket-Version: 13\r\n"
    first = b"GET /v2/models/gru/stream%b HTTP/1.1\r\n"
    with serving() as ask:
        name, _, port = ask.host.partition(":")
        for line, more, status in (
            (first % b"", key + version, 101),
            (first % b"", version, 400),
            (first % b"", key, 400),
            (first % b"", key + key + version, 400),
            (first % b"", key + b"Sec-WebSocket-Version: 12\r\n", 400),
            (first % b"", b"Sec-WebSocket-Key: a\r\n" + version, 400),
            (first % b"", key.replace(b"ZQ", b"\xc4Q") + version, 400),
            (first % b"", key + version + b"X: " + b"y" * 9000 + b"\r\n", 431),
            (first % (b"?" + b"a" * 9000), key + version, 431),
            (first % b"?a=1", key + version, 400),
            ((first % b"").replace(b"1.1", b"1.0"), key + version, 426),
            ((first % b"").replace(b"GET", b"POST"), key + version, 405),
        ):
            with socket.create_connection((name, int(port)), timeout=20) as sock:
                head = b"Host: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                sock.sendall(line + head + more + b"\r\n")
                assert int(sock.recv(12)[9:]) == status, (line, more)

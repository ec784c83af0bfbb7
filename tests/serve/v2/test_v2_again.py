"""Inference requests that come again on their connection get what they would get on one of their own."""

from __future__ import annotations

import http.client
import json
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

pytest.importorskip("uvicorn", reason="needs the extra 'serve'")
pytest.importorskip("orjson", reason="needs the extra 'serve'")

from protocol_models import in_bytes, in_json, normal, stateful, stateless
from test_serve_assembly import served

MODEL = stateful()
PATH = "/v2/models/m/infer"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served({"m": MODEL, "plain": stateless()}) as found:
        yield found


@pytest.fixture
def link(url: str) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    yield connection
    connection.close()


def ask(link: http.client.HTTPConnection, body: Any, headers: Any = None, path: str = PATH) -> tuple[int, Any, bytes]:
    given = body if isinstance(body, bytes) else json.dumps(body).encode()
    link.request("POST", path, given, headers or {})
    answer = link.getresponse()
    kept = {name: value for name, value in answer.getheaders() if name not in ("date", "retry-after")}
    return answer.status, kept, answer.read()


def in_sequence(body: dict[str, Any], name: Any, **more: Any) -> dict[str, Any]:
    return {**body, "parameters": {**body.get("parameters", {}), "sequence_id": name, **more}}


BODIES: list[Any] = [
    in_json(normal(1, 1, 8)),
    in_json(normal(5, 1, 8)),
    {"id": 'a"b', **in_json(normal(2, 1, 8))},
    in_json(normal(20_000, 1, 8)),  # more text than is written at once, if not more than is read at once
    in_json(normal(1, 1, 7)),
    {**in_json(normal(1, 1, 8)), "inputs": []},
    {**in_json(normal(1, 1, 8)), "no": 1},
    in_sequence(in_json(normal(1, 1, 8)), "never begun"),
    in_sequence(in_json(normal(1, 1, 8)), 0),
    in_sequence(in_json(normal(1, 1, 8)), "late", sequence_step=3),
    b"{",
    b"",
    b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,1,8],"data":[1e39,0,0,0,0,0,0,0]}]}',
]


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_json_gets_the_same_again(url: str, link: http.client.HTTPConnection, body: Any) -> None:
    first = ask(link, body)
    assert ask(link, in_json(normal(1, 1, 8, seed=1)))[0] == 200
    for _ in range(3):
        assert ask(link, body) == first


@pytest.mark.parametrize("text", [{}, {"id": "a"}, {"parameters": {"sequence_id": "no"}}, {"no": 1}, {"outputs": []}])
def test_bytes_get_the_same_again(link: http.client.HTTPConnection, text: Any) -> None:
    x = normal(3, 1, 8)
    body, headers = in_bytes(x)
    length = int(headers["Inference-Header-Content-Length"])
    given = json.dumps({**json.loads(body[:length]), **text}).encode()
    headers["Inference-Header-Content-Length"] = str(len(given))
    bodies = [given + body[length:], given + body[length:-1], given[:-1] + body[length:]]
    first = [ask(link, each, headers) for each in bodies]
    for _ in range(2):
        assert [ask(link, each, headers) for each in bodies] == first


def test_a_sequence_goes_on_as_a_stream(link: http.client.HTTPConnection) -> None:
    stream = MODEL.stream()
    for step in range(40):
        x = normal(1 + step % 3, 1, 8, seed=step)
        status, _, body = ask(link, in_sequence(in_json(x), "s", sequence_start=step == 0, sequence_step=step))
        assert status == 200
        (y,) = json.loads(body)["outputs"]
        np.testing.assert_array_equal(np.array(y["data"], np.float32), stream.push(x).ravel())
    assert ask(link, in_sequence(in_json(normal(1, 1, 8)), "s", sequence_step=7))[0] == 409
    assert ask(link, in_sequence(in_json(normal(1, 1, 8)), "s", sequence_end=True))[0] == 200
    assert ask(link, in_sequence(in_json(normal(1, 1, 8)), "s"))[0] == 400


def test_raw_bodies(link: http.client.HTTPConnection) -> None:
    headers = {"Inference-Header-Content-Length": "0"}
    for step in (1, 1, 4, 2):
        x = normal(step, 1, 8)
        status, given, body = ask(link, x.tobytes(), headers)
        assert status == 200
        assert body[int(given["inference-header-content-length"]) :] == MODEL.stream().push(x).tobytes()
    assert ask(link, b"abc", headers)[0] == 400


def test_a_model_that_is_unloaded_is_not_there(link: http.client.HTTPConnection) -> None:
    path = "/v2/models/plain/infer"
    x = in_json(normal(1, 1, 8))
    status = ask(link, x, path=path)[0]
    assert ask(link, x, path=path)[0] == status
    assert ask(link, {}, path="/v2/repository/models/plain/unload")[0] == 200
    assert ask(link, x, path=path)[0] == 404


def test_requests_count_whichever_way_they_go(link: http.client.HTTPConnection) -> None:
    def counts() -> Any:
        link.request("GET", "/v2/models/m/stats")
        stats = json.loads(link.getresponse().read())["model_stats"][0]
        return stats["inference_count"], stats["inference_stats"]["fail"]["count"]

    count, failed = counts()
    for _ in range(3):
        ask(link, in_json(normal(1, 1, 8)))
        ask(link, in_json(normal(1, 1, 7)))
    assert counts() == (count + 3, failed + 3)


def test_what_would_be_too_late_is_refused_before_its_tensors_come(url: str) -> None:
    x = normal(500, 1, 8)
    body, headers = in_bytes(x)
    length = int(headers["Inference-Header-Content-Length"])
    texts = [json.dumps({**json.loads(body[:length]), "parameters": {"timeout": t}}).encode() for t in (30_000_001, 1)]
    texts = [text.ljust(max(map(len, texts))) for text in texts]

    def head(text: bytes) -> bytes:
        lines = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nInference-Header-Content-Length: {len(text)}\r\n"
        return f"{lines}Content-Length: {len(text) + x.nbytes}\r\n\r\n".encode() + text

    host, _, port = urlsplit(url).netloc.partition(":")
    with socket.create_connection((host, int(port)), timeout=20) as sock:
        for _ in range(2):
            for text, status in ((texts[0], 200), (texts[0], 200), (texts[1], 503)):
                sock.sendall(head(text) if status == 503 else head(text) + x.tobytes())
                answer = http.client.HTTPResponse(sock)
                answer.begin()
                assert answer.status == status
                assert ("too_long" in answer.read().decode("latin-1")) is (status == 503)
                if status == 503:
                    sock.sendall(x.tobytes())


def test_clients_that_come_back_at_once_are_answered_each_time(url: str) -> None:
    """However few are answered in time, none waits for ever, and afterwards all get what they ask for."""
    body, headers = in_bytes(normal(1, 1, 8))
    length = int(headers["Inference-Header-Content-Length"])

    def request(timeout_us: int) -> bytes:
        given = {**json.loads(body[:length]), "parameters": {"timeout": timeout_us}}
        text = json.dumps(given).encode()
        head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nInference-Header-Content-Length: {len(text)}\r\n"
        size = len(text) + len(body) - length
        return f"{head}Content-Length: {size}\r\n\r\n".encode() + text + body[length:]

    def status(sock: socket.socket) -> int:
        answer = http.client.HTTPResponse(sock)
        answer.begin()
        answer.read()
        return answer.status

    host, _, port = urlsplit(url).netloc.partition(":")
    hasty, patient = request(400), request(30_000_000)
    with ExitStack() as stack:
        socks = [stack.enter_context(socket.create_connection((host, int(port)), timeout=20)) for _ in range(40)]
        seen: Counter[int] = Counter()
        for turn in range(50):
            for sock in socks:
                sock.sendall(hasty if turn else patient)  # its head is that of those that follow
            seen.update(status(sock) for sock in socks)
        assert seen.keys() <= {200, 503}
        assert seen[503]
        for sock in socks:
            sock.sendall(patient)
        assert [status(sock) for sock in socks] == [200] * len(socks)

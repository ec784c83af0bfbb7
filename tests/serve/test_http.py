"""HTTP over raw sockets: what is understood, what is refused, and what a connection may take."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="needs the extra serve")
pytest.importorskip("httptools", reason="needs the extra serve")

from rawserver import Echo, answer, connect, eventually, exchange, serving, until_closed

from fastgru.serve.errors import internal
from fastgru.serve.server import Server

HOST = b"Host: localhost\r\n"
END = HOST + b"Connection: close\r\n\r\n"


@pytest.fixture(scope="module")
def echo() -> Echo:
    return Echo()


@pytest.fixture(scope="module")
def server(echo: Echo) -> Iterator[Server]:
    with serving(echo, max_connections_per_address=200) as made:
        yield made


def status_of(data: bytes) -> int:
    assert data.startswith(b"HTTP/1.1 "), data
    return int(data[9:12])


def post(body: bytes, head: bytes = b"") -> bytes:
    return b"POST /a HTTP/1.1\r\n" + HOST + head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


def test_a_request_is_answered_and_another_follows(server: Server) -> None:
    with connect(server) as sock:
        for n in range(3):
            sock.sendall(post(b"x" * n))
            status, headers, body = answer(sock)
            assert status == 200
            assert "connection" not in headers
            assert headers["date"].endswith("gmt")
            assert json.loads(body) == {"method": "POST", "path": "/a", "query": "", "body": n}


def test_the_scope_is_that_of_asgi(server: Server, echo: Echo) -> None:
    exchange(server, b"GET /a%20b/%2F?c=%20d HTTP/1.1\r\nX-Name:  y\r\n" + END)
    scope = echo.calls[-1]
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/a b//", b"/a%20b/%2F", b"c=%20d")
    assert scope["headers"] == [(b"x-name", b"y"), (b"host", b"localhost"), (b"connection", b"close")]
    assert scope["client"][0] == "127.0.0.1"
    assert scope["server"] == tuple(scope["server"])
    assert (scope["type"], scope["scheme"], scope["http_version"], scope["root_path"]) == ("http", "http", "1.1", "")


def test_requests_of_one_packet_are_answered_in_their_order(server: Server) -> None:
    requests = b"".join(b"GET /%d HTTP/1.1\r\n" % n + HOST + b"\r\n" for n in range(60))
    with connect(server) as sock:
        sock.sendall(requests + b"GET /last HTTP/1.1\r\n" + END)
        data = until_closed(sock)
    bodies = [json.loads(part.partition(b"\r\n\r\n")[2]) for part in data.split(b"HTTP/1.1 200 OK\r\n")[1:]]
    assert [body["path"] for body in bodies] == [*(f"/{n}" for n in range(60)), "/last"]


def test_few_requests_wait_for_the_answer_before_them() -> None:
    """Each takes memory, twenty times its bytes."""
    echo = Echo()
    with serving(echo) as server, connect(server) as sock:
        sock.sendall(b"GET /wait HTTP/1.1\r\n" + HOST + b"\r\n" + (b"GET / HTTP/1.1\r\n" + HOST + b"\r\n") * 100)
        eventually(lambda: server.gate.refused["pipeline"] == 1)
        echo.release.set()
        data = until_closed(sock)
    assert data.count(b"HTTP/1.1 200") == 65
    assert data.count(b"HTTP/1.1 503") == 1


def test_bytes_may_come_one_by_one(server: Server) -> None:
    with connect(server) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(2):
            for byte in post(b"abc"):
                sock.sendall(bytes((byte,)))
                time.sleep(0.0002)
            assert json.loads(answer(sock)[2])["body"] == 3


def test_chunks_are_put_together(server: Server) -> None:
    head = b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + END
    assert b'"body": 5' in exchange(server, head + b"2\r\nab\r\n3;ext=1\r\ncde\r\n0\r\n\r\n")


def test_a_large_body_comes_whole(server: Server) -> None:
    with connect(server) as sock:
        sock.sendall(post(b"x" * (8 << 20)))
        assert json.loads(answer(sock)[2])["body"] == 8 << 20
    eventually(lambda: server.gate.in_flight == 0)


def test_a_large_answer_comes_whole(server: Server) -> None:
    data = exchange(server, b"GET /big?5000000 HTTP/1.1\r\n" + END)
    assert data.partition(b"\r\n\r\n")[2] == b"y" * 5_000_000


@pytest.mark.parametrize(("version", "body"), [("1.1", b"3\r\nabc\r\n" * 3 + b"0\r\n\r\n"), ("1.0", b"abc" * 3)])
def test_an_answer_in_parts(server: Server, version: str, body: bytes) -> None:
    data = exchange(server, f"GET /chunks HTTP/{version}\r\n".encode() + END)
    assert data.partition(b"\r\n\r\n")[2] == body
    assert (b"transfer-encoding: chunked" in data) == (version == "1.1")


def test_head_has_the_length_and_no_body(server: Server) -> None:
    data = exchange(server, b"HEAD /a HTTP/1.1\r\n" + END)
    head, _, body = data.partition(b"\r\n\r\n")
    assert b"content-length: " in head
    assert body == b""


def test_http_1_0_is_kept_alive_when_it_asks(server: Server) -> None:
    assert status_of(exchange(server, b"GET / HTTP/1.0\r\n" + HOST + b"\r\n")) == 200
    with connect(server) as sock:
        sock.sendall(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n" + HOST + b"\r\n")
        assert answer(sock)[1]["connection"] == "keep-alive"
        sock.sendall(b"GET / HTTP/1.0\r\n" + HOST + b"\r\n")
        assert answer(sock)[1]["connection"] == "close"


def test_100_continue_comes_when_the_body_is_wanted(server: Server) -> None:
    head = b"POST %b HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n" + HOST + b"\r\n"
    with connect(server) as sock:
        sock.sendall(head % b"/a")
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"abc")
        assert json.loads(answer(sock)[2])["body"] == 3
        sock.sendall(head % b"/late")  # answered without the body: none is asked for
        assert answer(sock)[0] == 401


def test_an_answer_before_the_body_leaves_the_connection_in_order(server: Server) -> None:
    with connect(server) as sock:
        sock.sendall(b"POST /late HTTP/1.1\r\nContent-Length: 6\r\n" + HOST + b"\r\nabc")
        assert answer(sock)[0] == 401
        sock.sendall(b"def" + post(b"x"))
        assert json.loads(answer(sock)[2])["body"] == 1


@pytest.mark.parametrize("upgrade", [b"h2c", b"websocket"])
def test_an_upgrade_that_is_not_done_is_answered_and_ends(server: Server, upgrade: bytes) -> None:
    head = b"GET /a HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: %b\r\n" % upgrade + HOST + b"\r\n"
    data = exchange(server, head + b"GET /b HTTP/1.1\r\n" + END)
    assert data.count(b"HTTP/1.1 200") == 1
    assert b"connection: close" in data


def test_a_failure_tells_nothing(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    for path in (b"/fail", b"/none"):
        data = exchange(server, b"GET %b HTTP/1.1\r\n" % path + HOST + b"\r\n")
        assert status_of(data) == 500
        assert b"secret" not in data
        assert b"ValueError" not in data
    assert "a secret" in caplog.text


# name: (bytes, status, reason)
REFUSED: dict[str, tuple[bytes, int, str]] = {
    "length and chunks": (b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", 400, "malformed"),
    "chunks and length": (b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", 400, "malformed"),
    "two lengths": (b"Content-Length: 3\r\nContent-Length: 4\r\n", 400, "malformed"),
    "two equal lengths": (b"Content-Length: 3\r\nContent-Length: 3\r\n", 400, "malformed"),
    "a list of lengths": (b"Content-Length: 3, 3\r\n", 400, "malformed"),
    "a signed length": (b"Content-Length: +3\r\n", 400, "malformed"),
    "a negative length": (b"Content-Length: -3\r\n", 400, "malformed"),
    "a hexadecimal length": (b"Content-Length: 0x3\r\n", 400, "malformed"),
    "no length": (b"Content-Length:\r\n", 400, "malformed"),
    "a length beyond all": (b"Content-Length: 99999999999999999999999999\r\n", 400, "malformed"),
    "a long body": (b"Content-Length: 16777217\r\n", 413, "body"),
    "another coding": (b"Transfer-Encoding: gzip, chunked\r\n", 400, "malformed"),
    "an unknown coding": (b"Transfer-Encoding: xchunked\r\n", 400, "malformed"),
    "chunks twice": (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400, "malformed"),
    "another coding before": (b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", 400, "malformed"),
    "two codings": (b"Content-Encoding: gzip\r\nContent-Encoding: identity\r\n", 400, "malformed"),
    "two lengths of JSON": (
        b"Inference-Header-Content-Length: 0\r\nInference-Header-Content-Length: 1\r\n",
        400,
        "malformed",
    ),
    "chunks, then none": (b"Transfer-Encoding: chunked, identity\r\n", 400, "malformed"),
    "a compressed body": (b"Content-Encoding: gzip\r\nContent-Length: 1\r\n", 415, "coding"),
    "a strange expectation": (b"Expect: 200-ok\r\n", 417, "malformed"),
    "two hosts": (b"Host: evil\r\n", 400, "malformed"),
    "a bare line feed": (b"X: y\nZ: a\r\n", 400, "malformed"),
    "a bare carriage return": (b"X: y\rZ: a\r\n", 400, "malformed"),
    "a folded header": (b"X: y\r\n z\r\n", 400, "malformed"),
    "a space before the colon": (b"X : y\r\n", 400, "malformed"),
    "no colon": (b"X\r\n", 400, "malformed"),
    "no name": (b": y\r\n", 400, "malformed"),
    "a NUL": (b"X: y\0z\r\n", 400, "malformed"),
    "101 headers": (b"".join(b"X-%d: y\r\n" % n for n in range(100)), 431, "head"),
    "a long header": (b"X: " + b"y" * (16 << 10) + b"\r\n", 431, "head"),
    "an upgrade with a body": (b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n", 400, "malformed"),
}
LINES: dict[str, bytes] = {
    "a bad method": b"FOO / HTTP/1.1\r\n",
    "a small method": b"get / HTTP/1.1\r\n",
    "another method": b"PROPFIND / HTTP/1.1\r\n",
    "TRACE": b"TRACE / HTTP/1.1\r\n",
    "CONNECT": b"CONNECT a:1 HTTP/1.1\r\n",
    "no version": b"GET /\r\n",
    "HTTP/0.9": b"GET / HTTP/0.9\r\n",
    "HTTP/2.0": b"GET / HTTP/2.0\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n",
    "another protocol": b"SOURCE / ICE/1.0\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "a line feed": b"GET / HTTP/1.1\n",
    "an empty line": b"\n",
    "empty lines": b"\r\n\r\n",
    "a whole address": b"GET http://evil/x HTTP/1.1\r\n",
    "a star": b"OPTIONS * HTTP/1.1\r\n",
    "a fragment": b"GET /#x HTTP/1.1\r\n",
    "a space in the path": b"GET /a b HTTP/1.1\r\n",
    "a byte in the path": b"GET /a\xff HTTP/1.1\r\n",
    "spaces": b"  \r\n",
    "a long path": b"GET /" + b"a" * (16 << 10) + b" HTTP/1.1\r\n",
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("split", [False, True])
def test_a_head_is_refused_and_the_connection_ends(server: Server, echo: Echo, name: str, split: bool) -> None:
    head, status, reason = REFUSED[name]
    data = b"POST /a HTTP/1.1\r\n" + HOST + head + b"\r\nabc"
    calls, before = len(echo.calls), server.gate.refused[reason]
    with connect(server) as sock:
        sock.sendall(data[:30])
        if split:
            time.sleep(0.02)
        sock.sendall(data[30:])
        got = until_closed(sock)
    assert status_of(got) == status
    made = json.loads(got.partition(b"\r\n\r\n")[2])
    assert made["reason"] == reason
    assert b"connection: close\r\n" in got
    assert server.gate.refused[reason] == before + 1
    assert len(echo.calls) == calls


@pytest.mark.parametrize("name", LINES)
def test_a_first_line_is_refused_and_the_connection_ends(server: Server, echo: Echo, name: str) -> None:
    calls = len(echo.calls)
    assert status_of(exchange(server, LINES[name] + END)) in (400, 431)
    assert len(echo.calls) == calls


def test_a_missing_host_is_refused(server: Server) -> None:
    for version in (b"1.0", b"1.1"):
        assert status_of(exchange(server, b"GET / HTTP/%b\r\n\r\n" % version)) == 400


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"2\nab\r\n0\r\n\r\n", 400),
        (b"2\r\nab\n0\r\n\r\n", 400),
        (b"-1\r\nab\r\n0\r\n\r\n", 400),
        (b"0x2\r\nab\r\n0\r\n\r\n", 400),
        (b"2\r\nabc\r\n0\r\n\r\n", 400),
        (b"fffffffffffffffff\r\nab\r\n", 400),
        (b"2;a=\nb\r\nab\r\n0\r\n\r\n", 400),
        (b"2 \r\nab\r\n0\r\n\r\n", 400),
        (b"2\r\nab\r\n0\r\nX: y\r\n\r\n", 400),
    ],
)
def test_chunks_that_could_be_read_in_two_ways_are_refused(server: Server, body: bytes, status: int) -> None:
    data = exchange(server, b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + HOST + b"\r\n" + body)
    assert status_of(data) == status
    assert data.count(b"HTTP/1.1") == 1


def test_what_came_before_a_fault_is_answered(server: Server) -> None:
    data = exchange(server, b"GET /1 HTTP/1.1\r\n" + HOST + b"\r\nGET /2 HTTP/1.1\r\n" + HOST + b"\r\nGET /3\r\n\r\n")
    statuses = [int(part[:3]) for part in data.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [200, 200, 400]


def test_a_head_without_an_end_is_refused(server: Server) -> None:
    with connect(server) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n" + HOST)
        for n in range(40):
            sock.sendall(b"X-%d: " % n + b"y" * 500 + b"\r\n")
        assert status_of(until_closed(sock)) == 431


def test_a_body_in_chunks_is_refused_where_it_grows_too_large() -> None:
    with serving(Echo(), max_body_bytes=1000) as server:
        data = exchange(
            server,
            b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + HOST + b"\r\n" + b"64\r\n" + b"x" * 100 + b"\r\n"
            b"400\r\n" + b"x" * 1024 + b"\r\n0\r\n\r\n",
        )
        assert status_of(data) == 413
        eventually(lambda: server.gate.in_flight == 0)


def test_a_fault_is_told_alike_wherever_it_is_found() -> None:
    async def fails(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            raise ValueError("of the application")
        await Echo()(scope, receive, send)

    with serving(fails) as server:
        data = exchange(server, post(b"x"))
    assert status_of(data) == 500
    assert internal().message.encode() in data


def test_bodies_in_flight_have_a_bound() -> None:
    echo = Echo()
    with serving(echo, max_body_bytes=1000, max_in_flight_bytes=2500) as server:
        waiting = [connect(server) for _ in range(2)]
        for sock in waiting:
            sock.sendall(b"POST /wait HTTP/1.1\r\nContent-Length: 1000\r\n" + HOST + b"\r\n" + b"x" * 1000)
        eventually(lambda: server.gate.in_flight == 2000)
        data = exchange(server, post(b"x" * 600))
        assert status_of(data) == 503
        assert b"retry-after: 1\r\n" in data
        assert b'"retry_after_s":1}' in data
        assert b"the server has too many bytes of unanswered requests" in data
        assert status_of(exchange(server, post(b"x" * 400, b"Connection: close\r\n"))) == 200
        echo.release.set()
        for sock in waiting:
            assert answer(sock)[0] == 200
            sock.close()
        eventually(lambda: server.gate.in_flight == 0)
        assert server.gate.refused == {"in_flight": 1}


@pytest.mark.parametrize("begin", [b"GET / HT", b"POST /a HTTP/1.1\r\nContent-Length: 5\r\n" + HOST + b"\r\nabc", b""])
def test_a_slow_request_is_ended(begin: bytes) -> None:
    """However it dribbles: the time is that of the whole request."""
    echo = Echo()
    with serving(echo, deadline_seconds=0.4) as server:
        with connect(server) as sock:
            began = time.monotonic()
            sock.sendall(begin)
            data = until_closed(sock)
            took = time.monotonic() - began
        assert 0.35 < took < 3
        assert status_of(data) == 408 if begin else data == b""
        assert server.gate.refused["slow"] == bool(begin)
        eventually(lambda: server.gate.in_flight == 0)
        eventually(lambda: not server.gate.connections)


def test_dribbling_does_not_help() -> None:
    with serving(Echo(), deadline_seconds=0.4) as server, connect(server) as sock:
        began = time.monotonic()
        for byte in b"GET / HTTP/1.1\r\nX: " + b"y" * 400:
            try:
                sock.sendall(bytes((byte,)))
            except OSError:
                break
            time.sleep(0.02)
        assert time.monotonic() - began < 6
        assert server.gate.refused["slow"] == 1


def test_an_idle_connection_is_closed_in_silence() -> None:
    with serving(Echo(), keep_alive_seconds=0.3) as server, connect(server) as sock:
        sock.sendall(post(b""))
        answer(sock)
        began = time.monotonic()
        assert until_closed(sock) == b""
        assert 0.2 < time.monotonic() - began < 3
        assert not server.gate.refused


def test_a_client_that_does_not_read_is_cut_off() -> None:
    with serving(Echo(), deadline_seconds=0.5) as server, connect(server) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.sendall(b"GET /big?50000000 HTTP/1.1\r\n" + HOST + b"\r\n")
        eventually(lambda: len(server.gate.connections) == 1)
        eventually(lambda: not server.gate.connections, 20)


def test_a_request_that_is_computed_has_no_such_limit() -> None:
    echo = Echo()
    with serving(echo, deadline_seconds=0.2, keep_alive_seconds=0.2) as server, connect(server) as sock:
        sock.sendall(b"GET /wait HTTP/1.1\r\n" + HOST + b"\r\n")
        time.sleep(1.0)
        echo.release.set()
        assert answer(sock)[0] == 200


def test_connections_of_an_address_have_a_bound(tmp_path: Path) -> None:
    with serving(Echo(), max_connections_per_address=3) as server:
        socks = [connect(server) for _ in range(3)]
        for sock in socks:
            sock.sendall(post(b""))
            assert answer(sock)[0] == 200
        assert server.gate.open == 3
        with connect(server) as sock:
            data = until_closed(sock)
        assert status_of(data) == 503
        assert server.gate.refused == {"connections": 1}
        socks.pop().close()
        eventually(lambda: server.gate.open == 2)
        assert status_of(exchange(server, post(b"", b"Connection: close\r\n"))) == 200
        for sock in socks:
            sock.close()
        eventually(lambda: server.gate.open == 0)


def test_whoever_works_for_a_client_that_goes_is_cancelled() -> None:
    echo = Echo()
    with serving(echo) as server:
        for begin in (b"GET /wait HTTP/1.1\r\n" + HOST + b"\r\n", post(b"abcd")[:-1]):
            before = len(echo.calls)
            with connect(server) as sock:
                sock.sendall(begin)
                eventually(lambda before=before: len(echo.calls) > before)
        eventually(lambda: echo.cancelled == 2)
        eventually(lambda: server.gate.in_flight == 0 and not server.gate.connections)


def test_another_request_waits_for_the_answer_before_it() -> None:
    echo = Echo()
    with serving(echo) as server, connect(server) as sock:
        sock.sendall(b"GET /wait HTTP/1.1\r\n" + HOST + b"\r\n" + post(b"x"))
        eventually(lambda: len(echo.calls) == 1)
        time.sleep(0.05)
        assert len(echo.calls) == 1
        echo.release.set()
        assert json.loads(answer_and_rest(sock))["body"] == 1


def answer_and_rest(sock: socket.socket) -> Any:
    """The body of the second of two answers."""
    data = b""
    while data.count(b"}") < 2:
        data += sock.recv(1 << 16)
    return data.rpartition(b"\r\n\r\n")[2]


def test_a_websocket_is_handed_over_and_counts() -> None:
    pytest.importorskip("websockets", reason="needs the extra serve")
    from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
    from websockets.sync.client import connect as ws_connect

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "websocket":
            await Echo()(scope, receive, send)
            return
        await receive()
        await send({"type": "websocket.accept"})
        message = await receive()
        await send({"type": "websocket.send", "bytes": message["bytes"] + scope["query_string"]})
        await receive()

    with serving(app, websocket=WebSocketsSansIOProtocol, max_connections_per_address=1) as server:
        url = server.urls[0].replace("http", "ws")
        for _ in range(2):
            with ws_connect(f"{url}/a?b") as client:
                client.send(b"hello ")
                assert client.recv() == b"hello b"
                assert server.gate.open == 1
                with connect(server) as sock:
                    assert status_of(until_closed(sock)) == 503
            eventually(lambda: all(transport.is_closing() for transport in server.gate._upgraded))


@pytest.mark.parametrize(
    ("messages", "status"),
    [
        ([{"headers": [(b"x", b"a\r\nset-cookie: b")]}, {"body": b""}], 500),
        ([{"headers": [(b"x\n", b"a")]}, {"body": b""}], 500),
        ([{"headers": [(b"content-length", b"3")]}, {"body": b"abcd"}], 500),
        ([{"headers": [(b"content-length", b"3")]}, {"body": b"ab"}], 500),
        ([{"headers": []}, {"status": 200, "headers": []}], 500),
        ([{"body": b""}], 500),
        ([{"headers": [(b"content-length", b"2")]}, {"body": b"a", "more_body": True}, {"body": b"b"}], 200),
        ([{"status": 204, "headers": []}, {"body": b"ignored"}], 204),
    ],
)
def test_an_application_that_breaks_the_rules_breaks_nothing_else(messages: list[dict[str, Any]], status: int) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await Echo()(scope, receive, send)
            return
        for message in messages:
            kind = "body" if "body" in message else "start"
            await send({"type": f"http.response.{kind}", **({"status": 200} if kind == "start" else {}), **message})

    with serving(app) as server, connect(server) as sock:
        sock.sendall(post(b"x", b"Connection: close\r\n"))
        data = until_closed(sock)
        assert status_of(data) == status
        assert data.count(b"HTTP/1.1") == 1
        assert b"set-cookie" not in data
        eventually(lambda: server.gate.in_flight == 0)

"""Requests that come again with the same head: past the application where it offers that, and like all others else."""

from __future__ import annotations

import asyncio
import gc
import json
import time
import weakref
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="needs the extra serve")
pytest.importorskip("httptools", reason="needs the extra serve")

from rawserver import Echo, answer, connect, eventually, exchange, serving, until_closed

from fastgru.serve.app import AGAIN, Answer, json_answer
from fastgru.serve.repetition import Asker

HOST = b"Host: localhost\r\n"


class Offering(Echo):
    """An application that has the bodies behind each head answered by itself, past ASGI.

    bodies: what came so. later: answers come when `release` is set. refuses: bodies are refused by their first bytes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[bytes] = []
        self.later = self.refuses = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if AGAIN in scope.get("extensions", {}):
            scope["extensions"][AGAIN](self)
        await super().__call__(scope, receive, send)

    def takes(self, size: int) -> bool:
        return size != 13

    def refusal(self, data: bytes, at: int, size: int) -> Answer | None:
        return json_answer({"refused": size}, 503) if self.refuses else None

    def begin(self, data: bytes, at: int, asker: Asker) -> Any:
        self.bodies.append(data[at:])
        if not self.later:
            asker.reply(json_answer({"again": len(data) - at}))
            return None
        return asyncio.ensure_future(self._wait(asker, len(data) - at))

    async def _wait(self, asker: Asker, size: int) -> None:
        try:
            while not self.release.is_set():
                await asyncio.sleep(0.005)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        asker.reply(json_answer({"again": size}))


def post(body: bytes, head: bytes = b"", path: bytes = b"/a") -> bytes:
    return b"POST %b HTTP/1.1\r\n%b%bContent-Length: %d\r\nX: y\r\n\r\n%b" % (path, HOST, head, len(body), body)


def told(sock: Any) -> Any:
    status, headers, body = answer(sock)
    assert status in (200, 503)
    assert headers["date"].endswith("gmt")
    return json.loads(body)


def test_bodies_of_any_length_behind_the_same_head() -> None:
    app = Offering()
    with serving(app) as server, connect(server) as sock:
        sock.sendall(post(b"first"))
        assert told(sock)["body"] == 5
        for size in (3, 0, 12, 100_000, 7):
            sock.sendall(post(b"x" * size))
            assert told(sock) == {"again": size}
        assert len(app.calls) == 1
        assert [len(body) for body in app.bodies] == [3, 0, 12, 100_000, 7]
        for other in (
            post(b"x" * 13),
            post(b"x", path=b"/b"),
            post(b"x", b"Y: z\r\n"),
            post(b"x").replace(b": y", b":y"),
        ):
            calls = len(app.calls)
            sock.sendall(other)
            assert "body" in told(sock)
            assert len(app.calls) == calls + 1


def test_bytes_may_come_one_by_one() -> None:
    app = Offering()
    with serving(app) as server, connect(server) as sock:
        sock.sendall(post(b"x"))
        assert told(sock)["body"] == 1
        data = post(b"abcdefgh")
        head = data.index(b"\r\n\r\n") + 4
        for begin in (head, head + 3):  # with the head whole, and it is one of these
            sock.sendall(data[:begin])
            for byte in data[begin:]:
                time.sleep(0.002)
                sock.sendall(bytes((byte,)))
            assert told(sock) == {"again": 8}
        sock.sendall(data[:40])
        time.sleep(0.05)
        sock.sendall(data[40:])
        assert told(sock)["body"] == 8
        sock.sendall(data)
        assert told(sock) == {"again": 8}
        assert app.bodies == [b"abcdefgh"] * 3
        assert server.gate.in_flight == 0


@pytest.mark.parametrize("split", [False, True])
def test_requests_of_one_packet_are_answered_in_their_order(split: bool) -> None:
    app = Offering()
    with serving(app) as server, connect(server) as sock:
        sock.sendall(post(b"x"))
        assert told(sock)["body"] == 1
        data = b"".join([post(b"x" * n) for n in range(1, 5)]) + post(b"last", b"Connection: close\r\n")
        begin = len(post(b"")) if split else len(data)
        sock.sendall(data[:begin])
        if split:
            time.sleep(0.05)
            sock.sendall(data[begin:])
        answers = until_closed(sock).split(b"HTTP/1.1 ")[1:]
        bodies = [json.loads(text.partition(b"\r\n\r\n")[2]) for text in answers]
        assert [body.get("body", body.get("again")) for body in bodies] == [1, 2, 3, 4, 4]


@pytest.mark.parametrize(
    "request_",
    [
        post(b"x", b"Expect: 100-continue\r\n"),
        post(b"x").replace(b"HTTP/1.1", b"HTTP/1.0").replace(b"X: y", b"Connection: keep-alive"),
        b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + HOST + b"\r\n1\r\nx\r\n0\r\n\r\n",
        b"GET /a HTTP/1.1\r\n" + HOST + b"\r\n",
    ],
    ids=["expect", "1.0", "chunked", "no body"],
)
def test_heads_that_do_more_go_the_way_of_all(request_: bytes) -> None:
    app = Offering()
    with serving(app) as server, connect(server) as sock:
        for n in range(1, 4):
            sock.sendall(request_)
            data = b""
            while b'"body"' not in data:
                data += sock.recv(1 << 16)
            assert len(app.calls) == n
        assert not app.bodies


def test_what_comes_meanwhile_waits() -> None:
    app = Offering()
    with serving(app) as server, connect(server) as sock:
        sock.sendall(post(b"x"))
        assert told(sock)["body"] == 1
        app.later = True
        sock.sendall(post(b"xy"))
        eventually(lambda: len(app.bodies) == 1)
        assert server.gate.in_flight > 0
        sock.sendall(post(b"xyz", b"Connection: close\r\n"))
        time.sleep(0.05)
        assert len(app.calls) == 1
        app.release.set()
        data = until_closed(sock)
        assert data.index(b'{"again":2}') < data.index(b'"body": 3}')
        eventually(lambda: server.gate.in_flight == 0)


def test_whoever_works_for_a_client_that_goes_is_cancelled() -> None:
    app = Offering()
    with serving(app) as server:
        for data in (post(b"xy"), post(b"xy")[:-1]):
            with connect(server) as sock:
                sock.sendall(post(b"x"))
                assert told(sock)["body"] == 1
                app.later = True
                sock.sendall(data)
                eventually(lambda: server.gate.in_flight > 0)
        eventually(lambda: app.cancelled == 1)
        eventually(lambda: server.gate.in_flight == 0 and not server.gate.connections)


def test_an_answer_may_come_before_the_body() -> None:
    app = Offering()
    with serving(app) as server, connect(server) as sock:
        sock.sendall(post(b"x"))
        assert told(sock)["body"] == 1
        app.refuses = True
        sock.sendall(post(b"x" * 9)[:-5])
        assert told(sock) == {"refused": 9}
        assert server.gate.in_flight == 0
        sock.sendall(b"xxxxx")
        sock.sendall(post(b"xyz"))
        assert told(sock) == {"again": 3}
        sock.sendall(post(b"x" * 200_000))
        assert told(sock) == {"refused": 200_000}
        sock.sendall(post(b"xy"))
        assert told(sock) == {"again": 2}
        assert app.bodies == [b"xyz", b"xy"]


def test_the_limits_are_those_of_all_requests() -> None:
    app = Offering()
    with serving(app, max_body_bytes=1_000, max_in_flight_bytes=1_500, deadline_seconds=0.4) as server:
        app.later = True

        def warm() -> Any:
            sock = connect(server)
            sock.sendall(post(b"x"))
            assert told(sock)["body"] == 1
            return sock

        with warm() as sock:
            sock.sendall(post(b"x" * 1_001))
            assert until_closed(sock).startswith(b"HTTP/1.1 413 ")
        with warm() as sock:
            sock.sendall(post(b"x" * 9)[:-1])
            assert until_closed(sock).startswith(b"HTTP/1.1 408 ")
        with warm() as one, warm() as two:
            one.sendall(post(b"x" * 1_000))
            eventually(lambda: server.gate.in_flight >= 1_000)
            two.sendall(post(b"x" * 1_000)[:-300])
            assert until_closed(two).startswith(b"HTTP/1.1 503 ")
            time.sleep(1.0)  # who waits for an answer has all the time
            app.release.set()
            assert told(one) == {"again": 1_000}
        eventually(lambda: server.gate.in_flight == 0)


def test_a_server_that_goes_down_answers_what_has_come() -> None:
    app = Offering()
    with serving(app) as server, connect(server) as sock:
        sock.sendall(post(b"x"))
        assert told(sock)["body"] == 1
        app.later = True
        sock.sendall(post(b"xy"))
        eventually(lambda: len(app.bodies) == 1)
        (connection,) = server.gate.connections
        connection.loop.call_soon_threadsafe(server.stop)  # type: ignore[attr-defined]
        time.sleep(0.05)
        app.release.set()
        data = until_closed(sock)
        assert b"connection: close" in data
        assert data.endswith(b'{"again":2}')


def test_an_answer_that_ends_the_connection_does() -> None:
    class Ending(Offering):
        def begin(self, data: bytes, at: int, asker: Asker) -> Any:
            asker.reply(json_answer({}, 415, (b"connection", b"close")))

    with serving(Ending()) as server, connect(server) as sock:
        sock.sendall(post(b"x"))
        assert told(sock)["body"] == 1
        sock.sendall(post(b"x"))
        assert until_closed(sock).startswith(b"HTTP/1.1 415 ")
        assert b"415" not in exchange(server, post(b"x", b"Connection: close\r\n"))


def test_a_connection_that_is_over_leaves_nothing_behind() -> None:
    class Keeping(Offering):
        """What answers has a way back, as that of inference does."""

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            if AGAIN in scope.get("extensions", {}):
                scope["extensions"][AGAIN](Keeping())
            await Echo.__call__(self, {**scope, "extensions": {}}, receive, send)

        def begin(self, data: bytes, at: int, asker: Asker) -> Any:
            self.asker = asker
            return super().begin(data, at, asker)

    gc.collect()
    gc.disable()
    try:
        with serving(Keeping()) as server:
            with connect(server) as sock:
                sock.sendall(post(b"x"))
                assert told(sock)["body"] == 1
                sock.sendall(post(b"xy"))
                assert told(sock) == {"again": 2}
                (connection,) = [weakref.ref(each) for each in server.gate.connections]
            eventually(lambda: connection() is None)
    finally:
        gc.enable()

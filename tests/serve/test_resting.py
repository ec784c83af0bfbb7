"""Connections whose requests came too late are not read for a while, and no longer than that."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

pytest.importorskip("orjson", reason="needs the extra 'serve'")

from protocol_models import in_bytes
from rawserver import connect, eventually, make_certificate, serving
from test_repetition import Offering, post, told
from test_scheduler import I, normal, running, serve

from fastgru.serve.app import Answer, json_answer
from fastgru.serve.errors import ServeError
from fastgru.serve.load import Load
from fastgru.serve.resting import Resting
from fastgru.serve.scheduler import Scheduler
from fastgru.serve.server import Server
from fastgru.serve.settings import Settings
from fastgru.serve.v2.again import Again
from fastgru.serve.v2.infer import Inference

LATE = ServeError(503, "too late", reason="overload")


class Transport:
    is_closed = False

    def is_closing(self) -> bool:
        return self.is_closed


class Line:
    """A connection, which is the asker as well."""

    def __init__(self) -> None:
        self.transport, self.unread_ns, self.is_read = Transport(), 0, True
        self.answers: list[Answer] = []

    @property
    def line(self) -> Line:
        return self

    def rest(self) -> None:
        assert self.is_read
        self.is_read = False

    def wake(self) -> None:
        assert not self.is_read
        assert not self.transport.is_closed
        self.is_read = True

    def reply(self, answer: Answer) -> None:
        self.answers.append(answer)


class Loop:
    """The resting connections of a loop that is behind, where a request takes 20 us, and its time."""

    def __init__(self) -> None:
        self.now, self.load = 1_000_000, Load()
        self.load.besides_ns = 20_000.0
        self.resting = Resting(self.load, lambda: self.now)
        self.iterate(0)
        assert self.load.is_behind

    def iterate(self, after: int, *, reads: bool = True) -> bool:
        """End an iteration, `after` nanoseconds later, which took long and read requests, or neither."""
        self.now += after
        if reads:
            self.load.sees(self.now - 100_000)
        self.load.end_iteration(self.now)
        return self.resting.end_iteration(self.now)

    def refuse(self, line: Line, error: ServeError = LATE) -> None:
        if not self.resting.waited_ns(line):
            self.resting.refused(line, error)


def test_one_is_read_again_after_the_other() -> None:
    loop, lines = Loop(), [Line() for _ in range(3)]
    for line in lines:
        loop.refuse(line)
        loop.now += 1
    assert [line.unread_ns for line in lines] == [1_000_000, 1_000_001, 1_000_002]
    assert len(loop.resting) == 3
    assert not loop.iterate(799_996)
    assert not any(line.is_read for line in lines)
    assert loop.iterate(1)
    assert [line.is_read for line in lines] == [True, False, False]
    loop.now += 50
    loop.refuse(lines[0])  # what is read now may have waited since it rested, so that it does not rest again
    assert lines[0].is_read
    assert lines[0].unread_ns == 0
    assert loop.iterate(100_000)
    assert not loop.iterate(100_000)
    assert loop.iterate(599_950)
    assert [line.is_read for line in lines] == [True, True, False]
    loop.refuse(lines[0])  # this one came in time, and is refused all the same
    assert not lines[0].is_read
    loop.iterate(1_000)  # the loops that look for requests first have not read yet
    assert lines[1].unread_ns == 1_000_001
    loop.iterate(1_000)  # nothing was there
    assert lines[1].unread_ns == 0
    assert lines[0].unread_ns > 0
    loop.resting.end()
    assert all(line.is_read for line in lines)
    loop.iterate(1_000)
    loop.iterate(1_000)
    assert not loop.resting
    assert [line.unread_ns for line in lines] == [0, 0, 0]


def test_a_connection_that_rests_again_keeps_its_new_time() -> None:
    loop, line = Loop(), Line()
    loop.refuse(line)
    loop.iterate(800_000)
    loop.refuse(line)
    loop.refuse(line)
    rested = loop.now
    assert line.unread_ns == rested
    loop.iterate(1_000)
    loop.iterate(1_000)
    assert line.unread_ns == rested


def test_they_take_a_twentieth_of_the_time() -> None:
    loop, lines, requests, begin = Loop(), [Line() for _ in range(300)], 0, 0
    for line in lines:
        loop.refuse(line)
    begin = loop.now
    for _ in range(2_000):
        loop.iterate(130_000)
        for line in lines:
            if line.is_read:  # the client asks again at once, once an iteration
                loop.refuse(line)
                requests += 1
    assert requests * 20_000 / (loop.now - begin) == pytest.approx(0.05, rel=0.02)


def test_an_idle_loop_wakes_them_quickly() -> None:
    loop, lines, awake = Loop(), [Line() for _ in range(100)], []
    loop.load.besides_ns = 1e6
    for line in lines:
        loop.refuse(line)
    loop.iterate(1_000_000, reads=False)
    for _ in range(8):
        awake.append(sum(line.is_read for line in lines))
        loop.iterate(2_000_001, reads=False)
    assert awake == [0, 1, 3, 7, 15, 31, 63, 100]


def test_a_loop_that_is_not_behind_lets_nobody_rest() -> None:
    load, line = Load(), Line()
    resting = Resting(load, lambda: 1)
    resting.refused(line, LATE)
    load.sees(1)  # what this iteration has read has not waited
    resting.refused(line, LATE)
    assert line.is_read
    assert not resting


def test_other_refusals_and_closed_connections_do_not_rest() -> None:
    loop, line, gone, later = Loop(), Line(), Line(), Line()
    loop.refuse(line, ServeError(503, "never in time", reason="too_long"))
    loop.refuse(line, ServeError(404, "no such sequence", reason="unknown_sequence"))
    gone.transport.is_closed = True
    loop.refuse(gone)
    assert not loop.resting
    loop.refuse(later)
    later.transport.is_closed = True
    loop.iterate(800_000)
    assert not loop.resting
    assert not later.is_read


@pytest.mark.parametrize("timeout_us", [500_000, None])
def test_a_request_that_has_waited_unread_is_late_by_that(timeout_us: int | None) -> None:
    served = serve()
    body, headers = in_bytes(normal(1, 1, I))
    length = int(headers["Inference-Header-Content-Length"])
    given = json.loads(body[:length]) | ({} if timeout_us is None else {"parameters": {"timeout": timeout_us}})
    text = json.dumps(given).encode()
    data = text + body[length:]

    request = SimpleNamespace(
        headers={b"inference-header-content-length": b"%d" % len(text)}, query=b"", identity=SimpleNamespace(key=None)
    )
    request.fail = lambda error: Answer(error.status, [], error.reason.encode())

    async def work(scheduler: Scheduler) -> None:
        line, again = Line(), Again(Inference(served, scheduler, Settings()), request)  # type: ignore[arg-type]

        async def asked() -> tuple[int, bytes]:
            again.begin(data, 0, line)
            while not line.answers:
                await asyncio.sleep(0)
            answer = line.answers.pop()
            return answer.status, answer.body

        assert (await asked())[0] == 200
        assert line.is_read
        scheduler._load.short_ns += 60e9  # more than the deadline of the server
        scheduler._load.is_behind = True
        assert await asked() == (503, b"overload")
        assert not line.is_read
        scheduler._load.short_ns -= 60e9
        while scheduler.resting:
            await asyncio.sleep(0.001)
        assert line.is_read
        assert (await asked())[0] == 200
        line.unread_ns = scheduler._clock() - 1_000_000_000
        assert await asked() == ((503, b"overload") if timeout_us else (200, ANY))
        assert line.is_read

    running(work)


class Refusing(Offering):
    """Lets a connection rest for each body that begins with R, as if the loop were behind."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = Loop()
        self.held: Any = None

    def begin(self, data: bytes, at: int, asker: Any) -> Any:
        if data[at : at + 1] == b"H":
            self.held = asker
            return SimpleNamespace(cancel=lambda: None)
        super().begin(data, at, asker)
        if data[at : at + 1] == b"R":
            self.loop.resting.refused(asker.line, LATE)
        return None


def call(server: Server, work: Callable[[], object]) -> None:
    """Run `work` on the thread of the server."""
    done = threading.Event()
    (connection,) = server.gate.connections

    def run() -> None:
        work()
        done.set()

    connection.loop.call_soon_threadsafe(run)  # type: ignore[attr-defined]
    assert done.wait(10)


@contextmanager
def over_each(over: str, app: Any, folder: Path) -> Iterator[tuple[Server, Any]]:
    """A server that is reached over this, and a connection to it."""
    if over == "tls":
        cert, key = make_certificate(folder)
        context = ssl.create_default_context(cafile=str(cert))
        with (
            serving(app, tls_cert=cert, tls_key=key) as server,
            connect(server) as sock,
            context.wrap_socket(sock, server_hostname="localhost") as tls,
        ):
            yield server, tls
        return
    with serving(app, **({"unix": folder / "a.sock"} if over == "unix" else {})) as server, connect(server) as sock:
        yield server, sock


@pytest.mark.parametrize("over", ["port", "unix", "tls"])
@pytest.mark.parametrize("asks", [True, False])
def test_a_connection_that_rests_is_read_once_more_before_the_server_stops(
    over: str, asks: bool, tmp_path: Path
) -> None:
    app = Refusing()
    with over_each(over, app, tmp_path) as (server, sock):
        for body in (b"first", b"R"):
            sock.sendall(post(body))
            assert told(sock)
        if asks:
            sock.sendall(post(b"unread"))
            time.sleep(0.05)
        assert app.bodies == [b"R"]
        call(server, server.stop)
        if asks:
            assert told(sock) == {"again": 6}
        assert sock.recv(1) == b""


def test_a_connection_that_rests_is_not_closed_for_idleness() -> None:
    app = Refusing()
    with serving(app, keep_alive_seconds=0.2) as server, connect(server) as sock:
        for body in (b"first", b"R"):
            sock.sendall(post(body))
            assert told(sock)
        sock.sendall(post(b"unread"))
        time.sleep(0.6)
        call(server, app.loop.resting.end)
        assert told(sock) == {"again": 6}


def test_pipelined_requests_do_not_end_a_rest() -> None:
    app = Refusing()
    with serving(app) as server, connect(server) as sock:
        sock.sendall(post(b"first"))
        assert told(sock)
        sock.sendall(post(b"H"))
        eventually(lambda: app.held is not None)
        sock.sendall(post(b"one", path=b"/b") + post(b"two", path=b"/b"))
        (connection,) = server.gate.connections
        eventually(lambda: len(connection._waiting) == 2)  # type: ignore[attr-defined]

        def answer_and_rest() -> None:
            app.held.reply(json_answer({"held": 1}, 503))
            app.loop.resting.refused(connection, LATE)  # type: ignore[arg-type]

        call(server, answer_and_rest)
        eventually(lambda: not connection._waiting and connection._exchange is None)  # type: ignore[attr-defined]
        answers = b""
        while answers.count(b'"body"') < 2:
            answers += sock.recv(1 << 16)
        assert answers.count(b"HTTP/1.1 ") == 3
        sock.sendall(post(b"unread"))
        time.sleep(0.05)
        assert not connection.transport.is_reading()  # type: ignore[attr-defined]
        call(server, app.loop.resting.end)
        assert told(sock)["body"] == 6


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, "uvloop"])
def test_how_long_a_request_lay_unread_is_known_in_every_loop(new_loop: Any) -> None:
    if new_loop == "uvloop":
        new_loop = pytest.importorskip("uvloop").new_event_loop
    waits: list[int] = []

    class Connection(asyncio.Protocol):
        transport: Any
        unread_ns = 0

        def connection_made(self, transport: Any) -> None:
            self.transport = transport
            made.set_result(self)

        def rest(self) -> None:
            self.transport.pause_reading()

        def wake(self) -> None:
            self.transport.resume_reading()

        def data_received(self, data: bytes) -> None:
            waits.append(scheduler.resting.waited_ns(self))

    async def work() -> None:
        nonlocal scheduler, made
        scheduler, made = Scheduler(), asyncio.get_running_loop().create_future()
        server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0)
        with socket.create_connection(server.sockets[0].getsockname()) as client:
            line = await made
            scheduler._load.is_behind = True
            scheduler.resting.refused(line, LATE)
            client.sendall(b"x")
            await asyncio.sleep(0.02)
            scheduler._ask()
            while not waits:
                await asyncio.sleep(0.001)
            assert waits[0] >= 20_000_000
            client.sendall(b"y")
            while len(waits) < 2:
                await asyncio.sleep(0.001)
            assert waits[1] == 0
            line.transport.close()
        server.close()

    scheduler = made = cast(Any, None)
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(work())


class _Any:
    def __eq__(self, other: object) -> bool:
        return True


ANY: Any = _Any()

"""The process around the application: signals, the end, Unix sockets and TLS."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from users import child

pytest.importorskip("uvicorn", reason="needs the extra serve")
pytest.importorskip("httptools", reason="needs the extra serve")

from rawserver import Echo, answer, connect, eventually, exchange, make_certificate, serving, until_closed

from fastgru.serve.server import Server
from fastgru.serve.settings import Settings, SettingsError

GET = b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n"


class InThread:
    """A server whose end is looked at. ended: when `run` has come back."""

    def __init__(self, app: Any, drain: Any = None, **given: Any) -> None:
        self.server = Server(app, Settings(port=0, **given), drain=drain)
        self.ended = threading.Event()
        self._started = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        assert self._started.wait(20)

    def _run(self) -> None:
        self.server.run(self._begun)
        self.ended.set()

    def _begun(self, server: Server) -> None:
        self.loop = asyncio.get_running_loop()
        self._started.set()

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.server.stop)

    def join(self) -> None:
        self.thread.join(20)
        assert self.ended.is_set()


def test_what_has_been_asked_is_answered_before_the_end() -> None:
    echo = Echo()
    run = InThread(echo)
    with connect(run.server) as busy, connect(run.server) as idle, connect(run.server) as fresh:
        for sock in (busy, idle):
            sock.sendall(GET % b"/a")
            answer(sock)
        busy.sendall(GET % b"/wait")
        eventually(lambda: len(echo.calls) == 3)
        run.stop()
        assert until_closed(idle) == b""
        assert until_closed(fresh) == b""
        with pytest.raises(ConnectionRefusedError):
            connect(run.server)
        assert not run.ended.wait(0.2)
        echo.release.set()
        status, headers, _ = answer(busy)
        assert (status, headers["connection"]) == (200, "close")
        assert until_closed(busy) == b""
    run.join()


def test_the_grace_has_an_end() -> None:
    echo = Echo()
    run = InThread(echo, drain_seconds=0.3)
    with connect(run.server) as sock:
        sock.sendall(GET % b"/wait")
        eventually(lambda: len(echo.calls) == 1)
        began = time.monotonic()
        run.stop()
        assert until_closed(sock) == b""
        assert 0.25 < time.monotonic() - began < 5
    run.join()
    assert echo.cancelled == 1


def test_a_second_stop_waits_for_nobody() -> None:
    echo = Echo()

    async def drain(seconds: float) -> None:
        assert 0 < seconds <= 10
        await asyncio.sleep(60)

    run = InThread(echo, drain=drain)
    with connect(run.server) as sock:
        sock.sendall(GET % b"/wait")
        eventually(lambda: len(echo.calls) == 1)
        began = time.monotonic()
        run.stop()
        assert not run.ended.wait(0.1)
        run.stop()
        assert until_closed(sock) == b""
        run.join()
        assert time.monotonic() - began < 5


def test_an_application_that_does_not_start_is_an_error() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no"})

    with pytest.raises(SettingsError, match="could not start"):
        Server(app, Settings(port=0)).run()


PROGRAM = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from rawserver import Echo
from fastgru.serve.server import Server
from fastgru.serve.settings import Settings
Server(Echo(), Settings(port=0, drain_seconds=20)).run(lambda server: print(server.urls[0], flush=True))
print("ended", flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("twice", [False, True])
def test_a_signal_ends_it_with_status_0(number: signal.Signals, twice: bool) -> None:
    program = PROGRAM.format(tests=str(Path(__file__).parent))
    with child([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        host, _, port = url.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port)), timeout=20) as sock:
            if twice:  # somebody waits, for longer than this test
                sock.sendall(GET % b"/wait")
                time.sleep(0.2)
            process.send_signal(number)
            if twice:
                time.sleep(0.3)
                assert process.poll() is None
                process.send_signal(number)
            assert until_closed(sock) == b""
        assert process.stdout.read() == "ended\n"
        assert process.wait(20) == 0


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")
def test_a_unix_socket_serves(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    echo = Echo()
    with serving(echo, unix=path, max_connections_per_address=1) as server:
        socks = [connect(server) for _ in range(5)]  # no address, and so no bound of one
        for sock in socks:
            sock.sendall(GET % b"/a")
            assert answer(sock)[0] == 200
            sock.close()
        assert echo.calls[0]["client"] is None
    assert not path.exists()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("tls"))


def over_tls(server: Server, context: ssl.SSLContext) -> bytes:
    with connect(server) as sock, context.wrap_socket(sock, server_hostname="localhost") as tls:
        tls.sendall(b"GET /a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return until_closed(tls)


def test_tls(certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    echo = Echo()
    with serving(echo, tls_cert=cert, tls_key=key, deadline_seconds=2.0) as server:
        assert server.urls[0].startswith("https://")
        context = ssl.create_default_context(cafile=str(cert))
        assert over_tls(server, context).startswith(b"HTTP/1.1 200")
        assert echo.calls[0]["scheme"] == "https"
        assert b"HTTP/1.1" not in exchange(server, GET % b"/a")  # without TLS there is no answer
        with connect(server) as sock:  # nor for long a connection that does not begin
            began = time.monotonic()
            assert until_closed(sock) == b""
            assert time.monotonic() - began < 8
        with connect(server) as sock, context.wrap_socket(sock, server_hostname="localhost") as tls:
            tls.sendall(b"GET /a HTTP/1.1\r\n\r\n")
            assert until_closed(tls).startswith(b"HTTP/1.1 400")


def test_clients_may_need_a_certificate(certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    with serving(Echo(), tls_cert=cert, tls_key=key, tls_client_ca=cert) as server:
        context = ssl.create_default_context(cafile=str(cert))
        with pytest.raises((ssl.SSLError, OSError, AssertionError)):
            assert over_tls(server, context)
        context.load_cert_chain(cert, key)
        assert over_tls(server, context).startswith(b"HTTP/1.1 200")


def test_files_of_tls_that_are_none_are_named(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    cert, _ = certificate
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("no key")
    for key in (wrong, tmp_path / "none.pem"):
        with pytest.raises(SettingsError, match=f"TLS cannot be set up from .*{key.name}"):
            Server(Echo(), Settings(port=0, tls_cert=cert, tls_key=key)).run()

"""A server in a thread, and raw sockets to it."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fastgru.serve.server import Server
from fastgru.serve.settings import Settings


class Echo:
    """An ASGI application that tells what it got. calls: the scopes. cancelled: how often its client has gone.

    Paths: /wait answers when `release` is set; /fail raises; /none answers nothing; /late never reads the body; /big
    sends that many bytes; /chunks streams three parts.
    """

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.cancelled = 0
        self.release = threading.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        self.calls.append(scope)
        path = scope["path"]
        if path == "/fail":
            raise ValueError("a secret")
        if path == "/none":
            return
        status, body = 200, b""
        if path == "/late":
            status = 401
        else:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.cancelled += 1
                return
            body = message["body"]
        if path == "/wait":
            try:
                while not self.release.is_set():
                    await asyncio.sleep(0.005)
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        await send({"type": "http.response.start", "status": status, "headers": []})
        if path == "/chunks":
            for _ in range(3):
                await send({"type": "http.response.body", "body": b"abc", "more_body": True})
            await send({"type": "http.response.body", "body": b""})
            return
        made = {"method": scope["method"], "path": path, "query": scope["query_string"].decode(), "body": len(body)}
        text = b"y" * int(scope["query_string"]) if path == "/big" else json.dumps(made).encode()
        await send({"type": "http.response.body", "body": text})


@contextmanager
def serving(app: Any, **given: Any) -> Iterator[Server]:
    """The server, listening at a free port, or at the Unix socket of the settings."""
    websocket = given.pop("websocket", None)
    drain = given.pop("drain", None)
    free = {} if "unix" in given else {"port": 0}
    server = Server(app, Settings(**{**free, **given}), websocket=websocket, drain=drain)
    started = threading.Event()
    loops: list[asyncio.AbstractEventLoop] = []
    failures: list[BaseException] = []

    def begun(_: Server) -> None:
        loops.append(asyncio.get_running_loop())
        started.set()

    def run() -> None:
        try:
            server.run(begun)
        except BaseException as error:
            failures.append(error)
        finally:
            started.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert started.wait(20)
    if failures:
        thread.join()
        raise failures[0]
    try:
        yield server
    finally:
        if thread.is_alive():
            for _ in range(2):
                try:
                    loops[0].call_soon_threadsafe(server.stop)
                except RuntimeError:  # it has ended by itself
                    break
        thread.join(20)
        assert not thread.is_alive()
        if failures:
            raise failures[0]


def connect(server: Server) -> socket.socket:
    url = server.urls[0]
    if url.startswith("unix:"):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(10)
        sock.connect(url.removeprefix("unix:"))
        return sock
    host, _, port = url.rpartition("://")[2].rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), timeout=10)


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of localhost that signs itself, and its key, as files in this folder."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    more = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    try:
        subprocess.run([*command, *more], check=True, capture_output=True, timeout=60)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs openssl")
    return cert, key


def until_closed(sock: socket.socket) -> bytes:
    """All that comes until the other side has no more to say."""
    parts = []
    while True:
        try:
            part = sock.recv(1 << 16)
        except ConnectionResetError:
            part = b""
        if not part:
            return b"".join(parts)
        parts.append(part)


def answer(sock: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """One answer with a length: (status, headers, body)."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = sock.recv(1 << 16)
        assert part, data
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    size = int(headers.get("content-length", 0))
    while len(body) < size:
        part = sock.recv(1 << 16)
        assert part
        body += part
    assert len(body) == size, "more than one answer"
    return int(first.split()[1]), headers, body


def exchange(server: Server, data: bytes) -> bytes:
    """What comes back on a connection of its own until the server closes it."""
    with connect(server) as sock:
        sock.sendall(data)
        return until_closed(sock)


def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until it holds."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it does not come true"
        time.sleep(0.005)

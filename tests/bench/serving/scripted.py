"""A tiny server of V2 that does what it is told: it stalls, refuses, closes connections, answers in chunks."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

__all__ = ["Scripted", "scripted"]

# Given how many requests have come, and what one says: the status and the body, None to close without an answer.
Script = Callable[[int, Mapping[str, Any]], "tuple[int, bytes] | None"]
MODEL = {"name": "m", "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}], "outputs": []}


class Scripted:
    """script: what is done about each request. closing: every answer ends its connection. chunked: the coding."""

    def __init__(self, script: Script, *, closing: bool = False, chunked: bool = False) -> None:
        self.script, self.closing, self.chunked = script, closing, chunked
        self.came, self.connections, self.said = 0, 0, list[Mapping[str, Any]]()
        self.lock = threading.Lock()
        self.gate = threading.Lock()  # held while the whole server stalls
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.threads = [threading.Thread(target=self._accept)]
        self.clients: list[socket.socket] = []
        self.threads[0].start()

    def close(self) -> None:
        """Of everything; to be called once nobody comes any more."""
        for each in (self.listener, *self.clients):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for thread in list(self.threads):
            thread.join(20)

    def stall(self, seconds: float) -> None:
        """Answer nobody for so long."""
        with self.gate:
            time.sleep(seconds)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            self.threads.append(threading.Thread(target=self._serve, args=(client,)))
            self.clients.append(client)
            self.threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            data = b""
            while True:
                head, blank, rest = data.partition(b"\r\n\r\n")
                lines = head.split(b"\r\n")
                fields = dict(line.lower().split(b": ", 1) for line in lines[1:])
                length = int(fields.get(b"content-length", 0))
                if not blank or len(rest) < length:
                    try:
                        got = client.recv(65536)
                    except OSError:
                        return
                    if not got:
                        return
                    data += got
                    continue
                size = int(fields.get(b"inference-header-content-length", length))
                answer = self._answer(lines[0].split(b" ")[1].decode(), rest[:size])
                data = rest[length:]
                try:
                    if answer is None:
                        return
                    client.sendall(self._written(*answer))
                except OSError:
                    return
                if self.closing:
                    return

    def _answer(self, path: str, text: bytes) -> tuple[int, bytes] | None:
        if path == "/v2":
            return 200, json.dumps({"name": "scripted", "version": "0", "extensions": ["binary_tensor_data"]}).encode()
        if path == "/v2/repository/index":
            return 200, b'[{"name": "m", "state": "READY"}]'
        if path == "/v2/models/m":
            return 200, json.dumps(MODEL).encode()
        if not path.endswith("/infer"):
            return 404, b"{}"
        with self.lock:
            self.came += 1
            number, said = self.came, json.loads(text)
            self.said.append(said)
        answer = self.script(number, said)
        with self.gate:
            return answer

    def _written(self, status: int, body: bytes) -> bytes:
        close = b"Connection: close\r\n" if self.closing else b""
        if self.chunked:
            cut = len(body) // 2
            parts = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:cut], body[cut:]) if part)
            return b"HTTP/1.1 %d X\r\n%sTransfer-Encoding: chunked\r\n\r\n%s0\r\n\r\n" % (status, close, parts)
        return b"HTTP/1.1 %d X\r\n%sContent-Length: %d\r\n\r\n%s" % (status, close, len(body), body)


@contextmanager
def scripted(script: Script | None = None, **options: bool) -> Iterator[Scripted]:
    server = Scripted(script or (lambda number, said: (200, b"{}")), **options)
    try:
        yield server
    finally:
        server.close()

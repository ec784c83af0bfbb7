"""A server that is killed under load, again and again, and clients that hold it to what was acknowledged.

Every client has one sequence, and a stream in this process that is pushed once for every step of it. What comes back
has the bits of that stream, so that a step that was lost, or run twice, is seen at the next one.
"""

from __future__ import annotations

import base64
import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import numpy as np

import fastgru
from bench.serve.process import free_port

__all__ = ["CLIENTS", "Client", "Load", "Victim"]

PATIENCE_S = 60.0
Array = np.ndarray[Any, Any]


class Victim:
    """`fastgru serve` with a folder of states. starts: how long each start took until it was ready, in seconds."""

    def __init__(self, model: Path, folder: Path, *options: str) -> None:
        self.port, self.folder, self.starts = free_port(), folder, list[float]()
        self.words = [sys.executable, "-m", "fastgru", "serve", f"gru={model}", "--port", str(self.port)]
        self.words += ["--state-dir", str(folder), *options]
        self.log = folder.with_name(f"{folder.name}.log")

    def start(self) -> None:
        began = time.perf_counter()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.words, stdout=log, stderr=log)
        while time.perf_counter() < began + PATIENCE_S:
            if self.process.poll() is not None:
                raise RuntimeError(self.log.read_text(errors="replace")[-2_000:])
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as probe:
                    probe.sendall(b"GET /v2/health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    if probe.recv(64).startswith(b"HTTP/1.1 200"):
                        self.starts.append(time.perf_counter() - began)
                        return
            except OSError:
                pass
            time.sleep(0.01)
        raise RuntimeError("the server is not ready")

    def __enter__(self) -> Victim:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)


class LostError(Exception):
    """The connection is gone, or the server is not there."""


class Client:
    """One sequence. acknowledged: its steps that were answered. retried: those that were sent more than once."""

    def __init__(self, port: int, name: int | str, model: fastgru.Model, seed: int) -> None:
        self.port, self.name, self.stream = port, name, model.stream()
        self.random = np.random.default_rng(seed)
        (field,) = [spec for spec in model.inputs if spec.name in self.stream.inputs]
        self.shape = tuple([1 if n is None else n for n in field.shape])
        self.acknowledged = self.retried = 0
        self.connection: Any = None

    def frame(self) -> Array:
        return self.random.standard_normal(self.shape, dtype=np.float32)

    def go_on(self, goes_on: Callable[[], bool]) -> None:
        """Step after step. Raises `AssertionError` for what must not be."""
        while goes_on():
            frame = self.frame()
            want, tries, until = self.stream.push(frame).tobytes(), 0, time.monotonic() + PATIENCE_S
            while True:
                try:
                    got = self.step(frame, tries)
                except LostError:
                    assert time.monotonic() < until, f"{self.name}: no answer"
                    tries += 1
                    self.disconnect()
                    time.sleep(0.02)
                else:
                    break
            self.retried += bool(tries)
            assert got is None or got == want, f"{self.name}: step {self.acknowledged} has other bits"
            self.acknowledged += 1

    def step(self, frame: Array, tries: int) -> bytes | None:
        """The bytes of the answer; None where it is known that the step has been. Raises `LostError`."""
        raise NotImplementedError

    def disconnect(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None


class Http(Client):
    """Over V2 with tensors as bytes; one connection."""

    def ask(self, method: str, path: str, body: bytes = b"", head: dict[str, str] | None = None) -> tuple[Any, bytes]:
        try:
            if self.connection is None:
                self.connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
            self.connection.request(method, f"/v2/models/gru{path}", body, head or {})
            answer = self.connection.getresponse()
            text = answer.read()
        except (OSError, HTTPException) as error:
            raise LostError from error
        if answer.status == 503 and json.loads(text)["reason"] in ("draining", "loading"):
            raise LostError
        return answer, text

    def infer(self, frame: Array, **parameters: Any) -> bytes:
        raw = frame.tobytes()
        given = {"name": "x", "datatype": "FP32", "shape": frame.shape, "parameters": {"binary_data_size": len(raw)}}
        parameters |= {"sequence_id": self.name, "binary_data_output": True}
        text = json.dumps({"parameters": parameters, "inputs": [given]}).encode()
        head = {"Inference-Header-Content-Length": str(len(text))}
        answer, body = self.ask("POST", "/infer", text + raw, head)
        assert answer.status == 200, (self.name, self.acknowledged, body)
        return body[int(answer.headers["Inference-Header-Content-Length"]) :]


class Numbered(Http):
    """Each step has its number, and is sent again under it until it is answered."""

    def step(self, frame: Array, tries: int) -> bytes:
        return self.infer(frame, sequence_step=self.acknowledged, sequence_start=self.acknowledged == 0)


class Ending(Numbered):
    """Numbered, too, with sequences of a few steps, of which the last one ends it, and the id is used again."""

    LENGTH = 7

    def step(self, frame: Array, tries: int) -> bytes:
        at = self.acknowledged % self.LENGTH
        made = self.infer(frame, sequence_step=at, sequence_start=at == 0, sequence_end=at == self.LENGTH - 1)
        if at == self.LENGTH - 1:
            self.stream.reset()
        return made


class Unnumbered(Http):
    """After a kill the sequence is asked how many steps it had: all that were acknowledged, and one more perhaps."""

    def step(self, frame: Array, tries: int) -> bytes | None:
        if tries and self.acknowledged:
            answer, text = self.ask("GET", f"/sequences/{self.name}")
            assert answer.status == 200, (self.name, text)
            step = json.loads(text)["step"]
            assert step in (self.acknowledged, self.acknowledged + 1), (self.name, step, self.acknowledged)
            if step == self.acknowledged + 1:
                return None
        return self.infer(frame, sequence_start=self.acknowledged == 0)


class Socket(Client):
    """Over a WebSocket, which is opened again, and asks for the answer that it has not got."""

    def step(self, frame: Array, tries: int) -> bytes | None:
        try:
            if self.connection is None:
                opened = self.open()
                assert opened["step"] in (self.acknowledged, self.acknowledged + 1), (opened, self.acknowledged)
                if opened["step"] == self.acknowledged + 1:
                    self.send(1, b'{"type": "answer"}')
                    return self.answer()
            self.send(2, frame.tobytes())
            return self.answer()
        except OSError as error:
            raise LostError from error

    def answer(self) -> bytes:
        kind, text = self.receive()
        while kind == 1 and json.loads(text)["type"] == "event":
            kind, text = self.receive()
        if kind == 1 and json.loads(text)["reason"] == "draining":
            raise LostError
        assert kind == 2, (self.name, text)
        return text

    def open(self) -> dict[str, Any]:
        self.connection = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)
        self.rest = b""
        key = base64.b64encode(os.urandom(16)).decode()
        self.connection.sendall(
            f"GET /v2/models/gru/stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        head = self.read_until(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101"):
            raise LostError(head)
        goes_on = self.acknowledged > 0
        self.send(1, json.dumps({"type": "open", "sequence_id": self.name, "continue": goes_on, "keep": True}).encode())
        kind, text = self.receive()
        opened = json.loads(text)
        if opened.get("reason") == "draining":
            raise LostError
        assert (kind, opened["type"]) == (1, "opened"), opened
        return dict(opened)

    def send(self, kind: int, payload: bytes) -> None:
        size = len(payload)
        length = bytes([128 | size]) if size < 126 else b"\xfe" + struct.pack(">H", size)
        self.connection.sendall(bytes([128 | kind]) + length + bytes(4) + payload)

    def receive(self) -> tuple[int, bytes]:
        while True:
            first, size = self.read(2)
            if size == 126:
                (size,) = struct.unpack(">H", self.read(2))
            payload = self.read(size)
            if first & 15 == 8:
                raise LostError
            if first & 15 in (1, 2):
                return first & 15, payload

    def read(self, size: int) -> bytes:
        while len(self.rest) < size:
            self.more()
        text, self.rest = self.rest[:size], self.rest[size:]
        return text

    def read_until(self, end: bytes) -> bytes:
        while end not in self.rest:
            self.more()
        text, _, self.rest = self.rest.partition(end)
        return text

    def more(self) -> None:
        got = self.connection.recv(1 << 16)
        if not got:
            raise LostError
        self.rest += got


CLIENTS: Sequence[type[Client]] = (Numbered, Ending, Unnumbered, Socket)


class Load:
    """Clients of every kind, each on a thread, as long as the block runs. Leaving it raises what a client has seen.

    pause_s: for how long they rest at most between two steps.
    """

    def __init__(self, port: int, model: fastgru.Model, count: int, pause_s: float = 0.0) -> None:
        self._pause_s = pause_s
        self.clients = [CLIENTS[i % len(CLIENTS)](port, i + 1, model, i) for i in range(count)]
        self.faults: list[BaseException] = []
        self._goes_on = True
        self._threads = [threading.Thread(target=self._run, args=(client,), daemon=True) for client in self.clients]

    def _run(self, client: Client) -> None:
        try:
            client.go_on(self._may_go_on)
        except BaseException as error:
            self.faults.append(error)

    def _may_go_on(self) -> bool:
        if self._pause_s:
            time.sleep(random.random() * self._pause_s)
        return self._goes_on and not self.faults

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._goes_on = False
        for thread in self._threads:
            thread.join(PATIENCE_S)
        for client in self.clients:
            client.disconnect()
        for fault in self.faults:
            raise fault

    def wait(self, rng: random.Random) -> None:
        """Until every client has gone on since, and then for a moment of any length."""
        before = [client.acknowledged for client in self.clients]
        until = time.monotonic() + PATIENCE_S
        while any(client.acknowledged == n for client, n in zip(self.clients, before, strict=True)):
            if self.faults:
                return
            assert time.monotonic() < until, "a client does not go on"
            time.sleep(0.002)
        time.sleep(rng.random() * 0.1)

"""Two servers behind nginx, and clients that hold them to what one long stream gives.

Each client has a sequence whose steps have numbers, and sends a step again until it is answered. What it must never
see is an answer with other bits than those of a stream in this process that was pushed once for every step.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from slowness import within

import fastgru

__all__ = ["Fleet", "Front", "Load", "Server"]

PATIENCE_S = 60.0
Array = np.ndarray[Any, Any]


def until(done: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + within(PATIENCE_S)
    while not done():
        assert time.monotonic() < end, what
        time.sleep(0.01)


class Server:
    """`fastgru serve` on a Unix socket, with a folder of states."""

    def __init__(self, model: Path, folder: Path, number: int) -> None:
        self.socket, self.log = folder / f"{number}.sock", folder / f"{number}.log"
        self.words = [sys.executable, "-m", "fastgru", "serve", f"gru={model}", "--unix", str(self.socket)]
        self.words += ["--state-dir", str(folder / f"states{number}")]

    def start(self) -> None:
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.words, stdout=log, stderr=log)
        until(self.is_ready, "the server is not ready")

    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text(errors="replace")[-2_000:]
        status, _ = asyncio.run(ask(str(self.socket), "/v2/health/ready"))
        return status == 200

    def sequences(self) -> list[Any]:
        _, text = asyncio.run(ask(str(self.socket), "/v2/models/gru/sequences"))
        return list(json.loads(text)["sequences"])

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(within(30))


async def ask(path: str, what: str) -> tuple[int, bytes]:
    """A GET over a Unix socket; (0, b"") where nobody answers."""
    try:
        reader, writer = await asyncio.open_unix_connection(path)
    except OSError:
        return 0, b""
    try:
        writer.write(f"GET {what} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        return int(head.split()[1]) if head else 0, body
    finally:
        writer.close()


class Front:
    """nginx with the configuration of the page, for servers whose sockets are in this folder."""

    def __init__(self, folder: Path, port: int, page: str) -> None:
        self.folder, self.port, self._page = folder, port, page
        self.conf = folder / "nginx.conf"
        self.process: subprocess.Popen[bytes] | None = None
        self.write()

    def write(self, down: int | None = None) -> None:
        """down: the number of the server to which nothing is sent."""
        text = self._page.replace("listen 80;", f"listen 127.0.0.1:{self.port};").replace(
            "/run/fastgru/", f"{self.folder}/"
        )
        if down is not None:
            text, found = re.subn(rf"(/{down}\.sock[^;]*);", r"\1 down;", text)
            assert found == 1
        names = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        places = "".join(f"{name}_temp_path {self.folder}/{name};" for name in names)
        user = "user root; " if os.getuid() == 0 else ""  # its workers read a folder of this one
        self.conf.write_text(
            f"{user}daemon off; worker_shutdown_timeout 2s; pid {self.folder}/nginx.pid;"
            f" error_log {self.folder}/error.log; events {{ worker_connections 2048; }}\n"
            f"http {{ access_log off; {places}\n{text}\n}}\n"
        )

    def __enter__(self) -> Front:
        self.process = subprocess.Popen(["nginx", "-p", str(self.folder), "-c", str(self.conf)])
        until(lambda: (self.folder / "nginx.pid").exists() and bool(self.workers()), "nginx does not start")
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(within(30))

    def workers(self) -> set[str]:
        assert self.process is not None
        pid = self.process.pid
        try:
            return set(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        except OSError:
            return set()

    def reload(self) -> None:
        """Read the configuration again; back when no worker has the one before."""
        before = self.workers()
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)
        until(lambda: bool(self.workers()) and not before & self.workers(), "nginx does not take the configuration")


class Client:
    """One sequence. outputs: of each step; None where it is known to have been, and its answer is lost.

    retried: steps that were sent more than once. missed: how often the sequence was not where the request came.
    """

    def __init__(self, port: int, name: int, frames: Array) -> None:
        self.port, self.name, self.frames = port, name, frames
        self.outputs: list[bytes | None] = []
        self.retried = self.missed = 0
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    def frame(self, step: int) -> Array:
        return self.frames[(7 * self.name + step) % len(self.frames)]

    async def go_on(self, goes_on: Callable[[], bool], every_s: float) -> None:
        """A step every so often; one that is late is sent at once."""
        due = time.monotonic() + every_s * (self.name % 16) / 16
        while goes_on():
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due = max(due + every_s, time.monotonic() - 1.0)
            await self.step(len(self.outputs))
        self.disconnect()

    async def step(self, step: int) -> None:
        end = time.monotonic() + within(PATIENCE_S)
        for tries in range(1 << 30):
            assert time.monotonic() < end, f"{self.name}: no answer to step {step}"
            if tries:
                self.retried += tries == 1
                await asyncio.sleep(0.05)
            try:
                status, head, body = await self.send(step)
            except (OSError, EOFError, asyncio.IncompleteReadError):
                self.disconnect()
                continue
            if status == 200:
                size = int(re.search(rb"(?i)inference-header-content-length: (\d+)", head)[1])  # type: ignore[index]
                self.outputs.append(body[size:])
                return
            if status in (502, 504):  # of nginx: there is no server
                continue
            error = json.loads(body)
            if (status, error["reason"]) == (409, "step"):
                (following,) = re.findall(r"the next is (\d+)", error["error"])
                assert int(following) == step + 1, (self.name, step, error)
                self.outputs.append(None)
                return
            if (status, error["reason"]) == (400, "unknown_sequence"):  # it has not come here yet
                assert step, error
                self.missed += 1
                continue
            assert status == 503, (self.name, step, error)

    async def send(self, step: int) -> tuple[int, bytes, bytes]:
        if self.streams is None:
            self.streams = await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = self.streams
        frame = self.frame(step)
        raw = frame.tobytes()
        given = {"name": "x", "datatype": "FP32", "shape": frame.shape, "parameters": {"binary_data_size": len(raw)}}
        parameters = {"sequence_id": self.name, "sequence_step": step, "sequence_start": step == 0}
        parameters |= {"binary_data_output": True, "timeout": 5_000_000}
        text = json.dumps({"parameters": parameters, "inputs": [given]}).encode()
        writer.write(
            f"POST /v2/models/gru/infer HTTP/1.1\r\nHost: localhost\r\nX-Session: {self.name}\r\n"
            f"Inference-Header-Content-Length: {len(text)}\r\nContent-Length: {len(text) + len(raw)}\r\n\r\n".encode()
            + text
            + raw
        )
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(re.search(rb"(?i)content-length: (\d+)\r\n", head.replace(b"Header-Content", b""))[1])  # type: ignore[index]
        body = await reader.readexactly(size)
        if b"Connection: close" in head:
            self.disconnect()
        return int(head.split()[1]), head, body

    def disconnect(self) -> None:
        if self.streams is not None:
            self.streams[1].close()
            self.streams = None


class Load:
    """Clients that send frames at this rate, on a thread of their own, as long as the block runs."""

    def __init__(self, port: int, count: int, frames: Array, rate: float) -> None:
        self.clients = [Client(port, name, frames) for name in range(1, count + 1)]
        self._every_s, self._goes_on = 1 / rate, True
        self.faults: list[BaseException] = []

    async def _run(self) -> None:
        async def one(client: Client) -> None:
            try:
                await client.go_on(lambda: self._goes_on and not self.faults, self._every_s)
            except BaseException as error:
                self.faults.append(error)
                raise

        await asyncio.gather(*[one(client) for client in self.clients], return_exceptions=True)

    def __enter__(self) -> Load:
        from threading import Thread

        self._thread = Thread(target=asyncio.run, args=(self._run(),), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._goes_on = False
        self._thread.join(within(PATIENCE_S))
        for fault in self.faults:
            raise fault

    def wait(self, steps: int) -> None:
        """Until every client has gone on by so many steps."""
        before = [len(client.outputs) for client in self.clients]

        def done() -> bool:
            pairs = zip(self.clients, before, strict=True)
            return bool(self.faults) or all(len(client.outputs) >= n + steps for client, n in pairs)

        until(done, "a client does not go on")
        for fault in self.faults:
            raise fault

    def check(self, model: fastgru.Model) -> None:
        """Every answer has the bits of one long stream."""
        for client in self.clients:
            stream = model.stream()
            for step, got in enumerate(client.outputs):
                want = stream.push(client.frame(step)).tobytes()
                assert got is None or got == want, f"{client.name}: step {step} has other bits"


class Fleet:
    """Two servers, nginx before them, and a load."""

    def __init__(self, model: Path, folder: Path, port: int, page: str) -> None:
        self.folder, self.servers = folder, [Server(model, folder, number) for number in (1, 2)]
        self.front = Front(folder, port, page)

    @contextmanager
    def running(self) -> Iterator[Fleet]:
        try:
            for server in self.servers:
                server.start()
            with self.front:
                yield self
        finally:
            for server in self.servers:
                if server.process.poll() is None:
                    server.kill()

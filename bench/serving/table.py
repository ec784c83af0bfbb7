"""One row of the table of peers: a server over one protocol, measured in rounds, so that servers take turns."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from bench.serve.models import frames_of
from bench.serve.process import Process, on_core
from bench.serve.replayed import Replayed
from bench.serving.gru import step, weights
from bench.serving.peers import HIDDEN
from fastgru.bench.serving.load import Load
from fastgru.bench.serving.target import Target
from fastgru.bench.serving.wire import PROTOCOLS, Raw, Wire

__all__ = ["NAMES", "SESSIONS", "GrpcClient", "GrpcRow", "HttpRow", "Row", "grpc_client"]

Array = np.ndarray[Any, Any]
NAMES = {
    "binary": "HTTP, tensors as bytes", "json": "HTTP, JSON", "websocket": "WebSocket", "raw": "HTTP, bytes alone",
    "unary": "gRPC, unary", "stream": "gRPC, stream",
}  # fmt: skip
SESSIONS = 64
_KEPT = 4
_WARM = 0.1  # seconds in which connections that a server has closed between two turns are opened again
_IDS = count(1)


class Row:
    """latencies: of one session in a closed loop, in ns. answered, seconds, cpu_s (of the server): of 64 sessions."""

    def __init__(self, server: str, protocol: str, process: Process) -> None:
        self.server, self.protocol, self.process = server, protocol, process
        self.latencies: list[Array] = []
        self.answered, self.seconds, self.cpu_s, self.rss = 0, 0.0, 0.0, 0

    def one(self, seconds: float) -> None:
        """Measure one session for a turn."""
        raise NotImplementedError

    def many(self, seconds: float) -> None:
        """Measure 64 sessions for a turn."""
        raise NotImplementedError

    def close(self) -> None:
        """Note the memory of the server. Subclasses then close their connections."""
        self.rss = self.process.memory("Rss")

    def figures(self) -> dict[str, Any]:
        """Return p50 of one session, steps per second and CPU time per step of 64, and the memory after them."""
        p50 = float(np.median(np.concatenate(self.latencies))) / 1e3
        cpu, rate = 1e6 * self.cpu_s / max(1, self.answered), self.answered / self.seconds
        given = {"server": self.server, "protocol": NAMES[self.protocol]}
        return {**given, "p50_us": p50, "steps": rate, "cpu_us": cpu, "rss": self.rss}

    def check(self, outputs: list[Any]) -> None:
        """Raise `ValueError` if the server's numbers differ from NumPy's."""
        h = np.zeros(HIDDEN, np.float32)
        wanted = [h := step(weights(HIDDEN), x.ravel(), h) for x in frames_of(HIDDEN)[:_KEPT]]
        got = np.asarray(outputs, np.float32)
        if not len(got) or not np.allclose(got, wanted[: len(got)], atol=1e-4):
            raise ValueError(f"{self.server}, {NAMES[self.protocol]}: other numbers than those of NumPy")


class HttpRow(Row):
    """A row over HTTP or WebSocket, with the load generator of this package."""

    def __init__(self, server: str, protocol: str, process: Process, core: int) -> None:
        super().__init__(server, protocol, process)
        made: dict[str, type[Wire]] = {**PROTOCOLS, "raw": Raw}
        wire, frames = made[protocol](Target.local(process.port)), frames_of(HIDDEN)
        self._core = core
        connections = [[_Kept(wire, next(_IDS), frames, 7 * i) for i in range(n)] for n in (1, SESSIONS)]
        self._one, self._many = (Load(some) for some in connections)
        with on_core(core):
            for load, (first, *_) in zip((self._one, self._many), connections, strict=True):
                load.closed_loop(0.3)
                self.check([np.frombuffer(output, np.float32) for output in first.outputs])

    def one(self, seconds: float) -> None:
        with on_core(self._core):
            self._one.closed_loop(_WARM)
            self.latencies.append(self._one.closed_loop(seconds).latencies)

    def many(self, seconds: float) -> None:
        with on_core(self._core):
            self._many.closed_loop(_WARM)
            before = self.process.cpu_s()
            outcome = self._many.closed_loop(seconds)
            self.cpu_s += self.process.cpu_s() - before
        if refused := outcome.sent - outcome.statuses[200]:
            raise ValueError(f"{self.server}, {NAMES[self.protocol]}: {refused} frames without an output")
        self.answered, self.seconds = self.answered + outcome.statuses[200], self.seconds + outcome.seconds

    def close(self) -> None:
        super().close()
        self._one.close()
        self._many.close()


class _Kept(Replayed):
    """A connection that keeps its first outputs."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.outputs: list[bytes] = []

    def take(self, status: int, body: bytes) -> None:
        if status == 200 and len(self.outputs) < _KEPT:
            self.outputs.append(self.wire.tensor(body))
        super().take(status, body)


class GrpcClient:
    """The process of Triton's client, in another environment."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, **job: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("Triton's client has ended")
        found: dict[str, Any] = json.loads(line)
        return found


@contextmanager
def grpc_client(python: Path, core: int) -> Iterator[GrpcClient]:
    """Start Triton's client in the environment of this Python, on this core."""
    words = ["taskset", "-c", str(core), str(python), str(Path(__file__).with_name("grpc_client.py"))]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        yield GrpcClient(process)
        process.stdin.close()


class GrpcRow(Row):
    """A row over gRPC, with Triton's own client, which opens new connections for every turn."""

    def __init__(self, server: str, protocol: str, process: Process, port: int, client: GrpcClient) -> None:
        super().__init__(server, protocol, process)
        self._client, self._given = client, {"port": port, "streams": protocol == "stream"}
        for sessions in (1, SESSIONS):
            self.check(self._ask(sessions, 0.6)["outputs"])

    def _ask(self, sessions: int, seconds: float) -> dict[str, Any]:
        first = next(_IDS)
        for _ in range(sessions):
            next(_IDS)
        found = self._client.ask(**self._given, sessions=sessions, first=first, seconds=seconds)
        if error := found.get("error"):
            raise RuntimeError(f"{self.server}, {NAMES[self.protocol]}: {error}; {self.process.said()}")
        return found

    def one(self, seconds: float) -> None:
        self.latencies.append(np.asarray(self._ask(1, seconds)["latencies"]))

    def many(self, seconds: float) -> None:
        before = self.process.cpu_s()
        found = self._ask(SESSIONS, seconds)
        self.cpu_s += self.process.cpu_s() - before
        self.answered, self.seconds = self.answered + len(found["latencies"]), self.seconds + seconds

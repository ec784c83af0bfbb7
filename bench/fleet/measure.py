"""Measures what a step, a session and a state cost on one machine, for `python -m bench.fleet`."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import numpy as np

import fastgru
from bench.fleet.plan import Found, table
from bench.serve.durable import keep_sessions, ready
from bench.serve.models import frames_of, save_gru
from bench.serve.process import Process, on_core
from bench.serve.setting import Setting
from fastgru.bench.serving.wire import Wire

__all__ = ["found_of", "state_sizes"]

BATCH = 128
CONNECTIONS = 64
SESSIONS = 1_000  # whose memory is measured; a server accepts 1,024 connections from one address
KEPT = 10_000
MOVED = 500
STEPS = 5
ROUNDS = 9


def found_of(setting: Setting, hidden: int, seconds: float) -> Found:
    """Measure everything about a float32 GRU with so many units and inputs."""
    model = save_gru(setting.folder / "gru.safetensors", hidden)
    cpu_us, messages = _frames(setting, model, hidden, seconds)
    alone, batch = (_step_us(setting, model, hidden, sessions, seconds) for sessions in (1, BATCH))
    session_bytes, move_us = _session(setting, model, hidden)
    kept, none = setting.folder / "kept", setting.folder / "none"
    keep_sessions(model, kept, KEPT)
    record = sum(path.stat().st_blocks * 512 for path in kept.rglob("*")) / KEPT
    start_s, kept_s = (median(ready(model, folder) for _ in range(5)) for folder in (none, kept))
    return Found(hidden, alone, batch, cpu_us, STEPS, messages, session_bytes, record, start_s, kept_s, KEPT, move_us)


def _frames(
    setting: Setting, model: Path, hidden: int, seconds: float
) -> tuple[dict[str, float], dict[str, tuple[int, int]]]:
    """Return the server's CPU time in us, and the bytes, of a frame by protocol: medians over rounds in turns."""
    kinds = {
        "websocket": ("websocket", 1),
        "chunks": ("websocket", STEPS),
        "binary": ("binary", 1),
        "json": ("json", 1),
    }
    took: dict[str, list[float]] = {name: [] for name in kinds}
    messages = {}
    with setting.server(model) as server, ExitStack() as stack:
        loads = {}
        for name, (protocol, steps) in kinds.items():
            frames, wire = frames_of(hidden, steps), setting.wire(protocol, server)
            messages[name] = len(wire.encode(1 << 20, frames[0])), _answer(wire, frames[0])
            loads[name] = stack.enter_context(setting.load(wire, CONNECTIONS, frames))
            loads[name].closed_loop(0.3)
        for _ in range(ROUNDS):
            for name, load in loads.items():
                before = server.cpu_s()
                answered = load.closed_loop(seconds / ROUNDS).statuses[200]
                took[name].append(1e6 * (server.cpu_s() - before) / answered)
    return {name: median(each) for name, each in took.items()}, messages


def state_sizes(setting: Setting, streams: int) -> str:
    """Return a table with the bytes of a state, of a state as it is sent, and of all states in the memory of a pool."""
    models = {
        f"GRU, H = {hidden}": save_gru(setting.folder / f"{hidden}.safetensors", hidden) for hidden in (64, 128, 256)
    }
    models["the model of `fastgru demo`"] = fastgru.demo_path()
    lines = []
    for name, path in models.items():
        for precision in ("float32", "int8") if path in (list(models.values())[1],) else ("float32",):
            model = fastgru.load(path, precision=precision)
            size = sum(
                int(np.prod([n or 1 for n in spec.shape or ()])) * np.dtype(spec.dtype).itemsize
                for spec in model.inputs
                if spec.name in model.graph.states
            )
            sent = len(model.stream(1).save_state())
            memory = f"{2 * size * streams / 2**30:.2f} GiB"
            weights = f"{name}, weights in {precision}"
            lines.append([weights, f"{size:,}", f"{sent:,}", memory])
    return table(("state", "bytes", "bytes as sent", "two banks for all streams"), lines)


def _step_us(setting: Setting, path: Path, hidden: int, sessions: int, seconds: float) -> float:
    """Return the microseconds of one session in a push of `sessions`."""
    pool = fastgru.SessionPool(fastgru.load(path), sessions)
    handles = np.array([pool.open() for _ in range(sessions)], np.int64)
    x = np.random.default_rng(0).standard_normal((1, sessions, hidden), dtype=np.float32)
    y, took = np.empty_like(x), list[float]()
    pool.push_rows(handles, x, out=y)
    with on_core(setting.server_core):
        end = time.perf_counter() + seconds
        while (begin := time.perf_counter()) < end:
            for _ in range(20):
                pool.push_rows(handles, x, out=y)
            took.append((time.perf_counter() - begin) / 20)
    return median(took) / sessions * 1e6


def _answer(wire: Wire, frame: np.ndarray) -> int:
    """Return the bytes of the answer to a frame that is not the first of its session."""
    session, size = 1 << 20, 0
    with wire.target.connected() as connection:
        if hello := wire.hello(session):
            connection.sendall(hello)
            data = b""
            while b"\r\n\r\n" not in data:
                data += connection.recv(1 << 16)
        for start in (True, False):
            connection.sendall(wire.encode(session, frame, start=start))
            data, answer = b"", None
            while answer is None:
                data += connection.recv(1 << 16)
                answer = wire.cut(data)
            if answer[0] != 200:
                raise ConnectionError(f"the answer has the status {answer[0]}")
            size = answer[2]
    return size


def _session(setting: Setting, model: Path, hidden: int) -> tuple[float, float]:
    """Return the server's bytes for a session with a WebSocket, and the us to move a state to another server."""
    with setting.server(model) as server, setting.server(model) as other:
        server_wire = setting.wire("websocket", server)
        with setting.load(server_wire, 8, frames_of(hidden)) as load:
            load.closed_loop(0.5)
            before = server.memory()
            with setting.load(server_wire, SESSIONS, frames_of(hidden)) as more:
                more.closed_loop(2.0)
                size = (server.memory() - before) / SESSIONS
                ids = [connection.session for connection in more.connections[:MOVED]]
                took = median(_moved(server, other, ids))
    return size, took * 1e6


def _moved(server: Process, other: Process, ids: list[int]) -> Iterator[float]:
    """Yield the seconds for each state, over two connections that stay open."""
    source, target = (http.client.HTTPConnection("127.0.0.1", each.port) for each in (server, other))
    for number in ids:
        path, begin = f"/v2/models/gru/sequences/{number}/state", time.perf_counter()
        source.request("GET", path)
        state = source.getresponse()
        target.request("PUT", path, state.read())
        put = target.getresponse()
        put.read()
        if state.status != 200 or put.status >= 300:
            raise ConnectionError(f"the state of {number} was not moved: {state.status}, {put.status}")
        yield time.perf_counter() - begin
    source.close()
    target.close()

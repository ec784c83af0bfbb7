"""Sessions in real time, and the latency tail of an open loop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.serve.models import frames_of, gtcrn_frames, save_gru
from bench.serve.process import Process, floor, free_port
from bench.serve.setting import Setting
from fastgru.bench.serving.load import Load
from fastgru.bench.serving.outcome import Outcome
from fastgru.bench.serving.schedule import periodic, poisson
from fastgru.bench.serving.target import Target
from fastgru.bench.serving.wire import Echo

__all__ = ["busy_rate", "capacity", "realtime", "tail"]

Array = np.ndarray[Any, Any]
Schedule = tuple[Array, Array]

SESSIONS = {"websocket": 220, "binary": 160}
GTCRN = ("websocket", 120, 62.5)


def realtime(setting: Setting) -> None:
    """Run sessions on one core, each with a frame every 10 ms (GTCRN: 16), for a minute, and count the late frames."""
    gru = save_gru(setting.folder / "gru.safetensors")
    for protocol, sessions in SESSIONS.items():
        if setting.wants(protocol):
            _realtime(setting, gru, "gru", frames_of(), protocol, sessions, 100.0)
    if setting.gtcrn is not None and setting.wants("gtcrn"):
        protocol, sessions, hz = GTCRN
        path = setting.gtcrn / "gtcrn_simple.onnx"
        _realtime(setting, path, path.stem, gtcrn_frames(setting.gtcrn), protocol, sessions, hz)


def _realtime(
    setting: Setting, model: Path, name: str, frames: list[Array], protocol: str, sessions: int, hz: float
) -> None:
    sessions = setting.sessions or sessions
    schedule = periodic(sessions, hz, setting.seconds(60))
    wire_size = len(frames[0].tobytes())
    echo = _echo(setting, wire_size, sessions, schedule)
    title = f"{sessions} sessions of {name} at {hz:g} frames a second, {protocol}"
    with setting.server(model) as server:
        wire = setting.wire(protocol, server, name)
        with setting.load(wire, sessions, frames) as load:
            load.open_loop(*periodic(sessions, hz, 1.0))
            before = server.cpu_s()
            outcome = load.open_loop(*schedule)
            setting.note(outcome.line())
            setting.found(f"{title}: core of the server", 100 * (server.cpu_s() - before) / outcome.seconds, "%")
            more = 1e5 * (outcome.late / len(schedule[0]) - echo.late / len(schedule[0]))
            setting.found(f"{title}: p99", outcome.us(99), "us")
            setting.found(f"{title}: late by 10 ms, in 100,000, above an echo", more, "frames", 1)
            setting.replay(load, model, title)


def _echo(setting: Setting, size: int, sessions: int, schedule: Schedule) -> Outcome:
    """Run the same schedule against a raw echo."""
    with (
        floor("echo", free_port(), str(size), core=setting.server_core) as process,
        setting.load(Echo(Target.local(process.port), size), sessions, [np.zeros(size, np.uint8)]) as load,
    ):
        outcome = load.open_loop(*schedule)
    setting.note("echo: " + outcome.line())
    return outcome


def capacity(setting: Setting, protocol: str, sessions: int, run: Callable[[], Outcome]) -> float:
    """Return the answers per second in a closed loop of so many connections."""
    run()
    outcome = run()
    rate = outcome.statuses[200] / outcome.seconds
    setting.found(f"capacity, {sessions} connections, {protocol}", rate, "/s")
    return rate


def busy_rate(setting: Setting, server: Process, load: Load, share: float) -> float:
    """Return the frames per second, at random times, that keep the server's core busy for this share of the time.

    A frame takes less CPU time when more come at once, so this is not a share of the rate of a closed loop.
    """
    outcome = load.closed_loop(2.0)
    rate = 0.5 * outcome.statuses[200] / outcome.seconds
    for seed in range(4):
        before = server.cpu_s()
        outcome = load.open_loop(*poisson(len(load.connections), rate, 1.0, 100 + seed))
        busy = (server.cpu_s() - before) / outcome.seconds
        rate *= min(1.5, max(0.5, share / busy))
    setting.note(f"{rate:.0f} frames a second at {100 * share:.0f} % of a core")
    return rate


def tail(setting: Setting) -> None:
    """Send frames at random times that keep the server's core busy for 70 % of the time, and compare with an echo."""
    model, frames, sessions = save_gru(setting.folder / "gru.safetensors"), frames_of(), 64
    for protocol in filter(setting.wants, SESSIONS):
        title = f"{protocol} at 70 % load"
        with setting.server(model) as server, setting.load(setting.wire(protocol, server), sessions, frames) as load:
            schedule = poisson(sessions, busy_rate(setting, server, load, 0.7), setting.seconds(30))
            before = server.cpu_s()
            outcome = load.open_loop(*schedule)
            setting.note(outcome.line())
            setting.found(f"{title}: frames a second", outcome.sent / outcome.seconds, "/s")
            setting.found(f"{title}: core of the server", 100 * (server.cpu_s() - before) / outcome.seconds, "%")
            setting.replay(load, model, protocol)
        echo = _echo(setting, len(frames[0].tobytes()), sessions, schedule)
        setting.found(f"{title}: p50", outcome.us(50), "us")
        setting.found(f"{title}: p99 over p50", outcome.us(99) / outcome.us(50), "x", 3)
        setting.found(f"{title}: p99 over p50 of an echo", echo.us(99) / echo.us(50), "x")
        beyond = (outcome.us(99.9) - echo.us(99.9)) / 1e3
        setting.found(f"{title}: p99.9 beyond an echo's", beyond, "ms", 5)

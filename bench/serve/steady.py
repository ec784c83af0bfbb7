"""What the server adds to the latency of a raw TCP echo, and its CPU time per step."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np

from bench.serve.models import frames_of, save_gru
from bench.serve.process import Process, floor, free_port
from bench.serve.setting import Setting
from fastgru.bench.serving.load import Load
from fastgru.bench.serving.outcome import Outcome
from fastgru.bench.serving.target import Target
from fastgru.bench.serving.wire import Echo, Raw, Wire

__all__ = ["added", "cpu"]

ADDED_US = {"binary": 25, "json": 35, "websocket": 20}
CPU_US = {"binary": 45, "websocket": 30, "json": None}


def added(setting: Setting) -> None:
    """Measure p50 of one connection, next to an echo of as many bytes, in turns."""
    frames, model = frames_of(), save_gru(setting.folder / "gru.safetensors")
    rounds, seconds = (30, 0.3) if setting.full else (8, 0.15)
    with setting.server(model) as server, ExitStack() as stack:
        for protocol, bound in ADDED_US.items():
            if not setting.wants(protocol):
                continue
            wire = setting.wire(protocol, server)
            size = len(wire.encode(1, frames[0]))
            echo = stack.enter_context(floor("echo", free_port(), str(size), core=setting.server_core))
            ours, theirs = [], []
            with (
                setting.load(wire, 1, frames) as load,
                setting.load(Echo(Target.local(echo.port), size), 1, frames) as floor_load,
            ):
                for _ in range(rounds):
                    theirs.append(floor_load.closed_loop(seconds).latencies)
                    ours.append(load.closed_loop(seconds).latencies)
                setting.replay(load, model, protocol)
            before, after = (float(np.median(np.concatenate(each))) / 1e3 for each in (theirs, ours))
            setting.found(f"p50, raw TCP echo of {size} bytes", before, "us")
            setting.found(f"p50 of {protocol} above it", after - before, "us", bound)
        port = free_port()
        stack.enter_context(floor("raw", port, core=setting.server_core))
        with setting.load(Raw(Target.local(port)), 1, frames) as load:
            load.closed_loop(seconds)
            alone = load.closed_loop(rounds * seconds).us(50)
        setting.found("p50 of uvicorn, body sent back, above it", alone - before, "us")


def cpu(setting: Setting) -> None:
    """Measure the server's CPU time per step with 64 connections in a closed loop, for ours and others in one run."""
    frames, model, seconds = frames_of(), save_gru(setting.folder / "gru.safetensors"), setting.seconds(20)
    with floor("echo", free_port(), "256", core=setting.server_core) as process:
        _step(setting, process, Echo(Target.local(process.port), 256), "raw TCP echo", seconds, None)
    for kind, name in (("raw", "uvicorn, body sent back"), ("numpy", "uvicorn with a step in NumPy")):
        if not setting.wants(kind):
            continue
        with floor(kind, free_port(), core=setting.server_core) as process:
            _step(setting, process, Raw(Target.local(process.port)), name, seconds, None)
    for protocol, bound in CPU_US.items():
        if not setting.wants(protocol):
            continue
        with setting.server(model) as process, setting.load(setting.wire(protocol, process), 64, frames) as load:
            _closed(setting, process, load, protocol, seconds, bound)
            setting.replay(load, model, protocol)


def _step(setting: Setting, process: Process, wire: Wire, name: str, seconds: float, bound: float | None) -> None:
    with setting.load(wire, 64, frames_of()) as load:
        _closed(setting, process, load, name, seconds, bound)


def _closed(setting: Setting, process: Process, load: Load, name: str, seconds: float, bound: float | None) -> Outcome:
    load.closed_loop(0.5)
    before = process.cpu_s()
    outcome = load.closed_loop(seconds)
    took = process.cpu_s() - before
    answered = max(1, outcome.statuses[200])
    setting.found(f"CPU a step of {name}", 1e6 * took / answered, "us", bound)
    setting.note(outcome.line())
    if refused := outcome.sent - outcome.statuses[200]:
        setting.found(f"frames of {name} without an output", refused, "frames", 0)
    return outcome

"""Twice the load that the server can handle: what it refuses, how soon, and how long admitted requests wait."""

from __future__ import annotations

import numpy as np

from bench.serve.models import frames_of, save_gru
from bench.serve.realtime import busy_rate, capacity
from bench.serve.setting import Setting
from fastgru.bench.serving.outcome import Outcome
from fastgru.bench.serving.schedule import periodic, poisson

__all__ = ["overload"]

# The timeout of steps over the p99 of a calm server. The bound of 2 leaves room for delays that no server can foresee.
_DEADLINE = 1.5
STEPS = 200  # of the long request, at H = 256: some milliseconds


def overload(setting: Setting) -> None:
    if setting.wants("long"):
        _long_requests(setting)
    for protocol in ("binary", "json"):
        if setting.wants("steps") or setting.wants(protocol):
            _steps(setting, protocol)


def _long_requests(setting: Setting) -> None:
    """Send requests without a sequence that take over a millisecond each, at random times, at twice the capacity."""
    model = save_gru(setting.folder / "wide.safetensors", 256)
    frames = frames_of(256, STEPS, 5)
    with setting.server(model) as server:
        wire = setting.wire("binary", server, "wide")
        with setting.load(wire, 8, frames, alone=True) as load:
            rate = capacity(setting, f"requests of {STEPS} steps at H = 256", 8, lambda: load.closed_loop(2.0))
            calm = load.open_loop(*poisson(8, 0.7 * rate, setting.seconds(20)))
        wire = setting.wire("binary", server, "wide", timeout_us=int(2 * calm.us(99)))
        with setting.load(wire, 256, frames, alone=True) as load:
            outcome = load.open_loop(*poisson(256, 2 * rate, setting.seconds(30)), drop=True)
    _report(setting, "2x overload, long requests", outcome, calm, rate, 90)
    refused = np.percentile(outcome.refusals, 99) / 1e6 if len(outcome.refusals) else float("nan")
    setting.found("2x overload, long requests: p99 of refusals", refused, "ms", 2)


def _steps(setting: Setting, protocol: str) -> None:
    """Run twice as many sessions, with a step every 10 ms, as one core can serve.

    With binary tensors the client is no faster than the server, and sends only what it can. With JSON it is faster.
    """
    title = f"2x overload, steps, {protocol}"
    model, frames = save_gru(setting.folder / "gru.safetensors"), frames_of()
    with setting.server(model) as server:
        with setting.load(setting.wire(protocol, server), 64, frames) as load:
            rate = capacity(setting, f"{protocol}, steps at H = 64", 64, lambda: load.closed_loop(2.0))
            calm = load.open_loop(*poisson(64, busy_rate(setting, server, load, 0.7), setting.seconds(10)))
        sessions = int(2 * rate / 100)
        wire = setting.wire(protocol, server, timeout_us=int(_DEADLINE * calm.us(99)))
        before = server.memory()
        with setting.load(wire, sessions, frames) as load:
            first = load.open_loop(*periodic(sessions, 100, 1.0), drop=True)
            middle = server.memory()
            busy = server.cpu_s()
            outcome = load.open_loop(*periodic(sessions, 100, setting.seconds(30)), drop=True)
            busy = (server.cpu_s() - busy) / outcome.seconds
            grown = server.memory() - middle
            setting.note(f"{first.line()}; memory {before >> 10} KiB, then {middle >> 10}")
            setting.replay(load, model, title)
    _report(setting, title, outcome, calm, rate)
    setting.found(f"{title}: core of the server", 100 * busy, "%")
    setting.found(f"{title}: memory grown", grown / (1 << 20), "MiB", 5)


def _report(
    setting: Setting, title: str, outcome: Outcome, calm: Outcome, rate: float, least: float | None = None
) -> None:
    setting.note("70 % load: " + calm.line())
    setting.note("overload: " + outcome.line())
    setting.found(f"{title}: core of the client", 100 * outcome.client_share, "%")
    setting.found(f"{title}: p99 by which the client's loop was late", outcome.lag_ns / 1e6, "ms")
    good = outcome.statuses[200] / outcome.seconds / rate
    setting.found(f"{title}: goodput, of the capacity", 100 * good, "%", least, least=True)
    setting.found(f"{title}: p99 of those admitted, over that at 70 % load", outcome.us(99) / calm.us(99), "x", 2)
    others = sum(count for status, count in outcome.statuses.items() if status not in (200, 503))
    setting.found(
        f"{title}: refusals that are no 503, and frames without an answer", others + outcome.lost, "frames", 0
    )

"""Thousands of sessions over every protocol, which end in every way: what remains in the server."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator, Sequence

import numpy as np

import fastgru
from bench.serve.models import frames_of, save_gru
from bench.serve.process import on_core
from bench.serve.replayed import Replayed
from bench.serve.setting import Setting
from fastgru.bench.serving.connection import Connection
from fastgru.bench.serving.load import Load
from fastgru.bench.serving.schedule import periodic

__all__ = ["soak"]

WAVE = 50
STEPS = 20
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def soak(setting: Setting, sessions: int | None = None) -> None:
    """Run waves of 50 sessions with 20 steps each, which end, close or vanish. 10,000 sessions take ten minutes.

    Memory is compared from a tenth of the run on, when every buffer and every table has reached its largest size.
    """
    sessions = sessions or (10_000 if setting.full else 1_000)
    pause = 600 * WAVE / 10_000 if setting.full else 0.0
    model, frames = save_gru(setting.folder / "gru.safetensors"), frames_of()
    loaded, wrong, replayed, waves = fastgru.load(model), 0, 0, max(4, sessions // WAVE)
    with setting.server(model, "--idle-seconds", "5") as server, on_core(setting.client_core):
        wires = [setting.wire(protocol, server) for protocol in ("websocket", "binary", "json")]
        descriptors, memory = server.descriptors(), []
        for wave in range(waves):
            begun = time.monotonic()
            ids = [next(setting.ids) for _ in range(WAVE)]
            connections = [Replayed(wires[i % 3], i, frames, i) for i in ids]
            load = Load(connections)
            outcome = load.open_loop(*periodic(WAVE, 40, STEPS / 40, wave))
            if outcome.statuses.keys() != {200}:
                setting.found(f"wave {wave}: answers that are no output", outcome.sent - outcome.statuses[200], "", 0)
            for connection in connections[wave % 7 :: 7]:
                replayed += 1
                wrong += connection.replay(loaded.stream(1)) != connection.digest
            _leave(connections, wave)
            load.close()
            memory.append(server.memory())
            if wave % max(1, waves // 10) == 0:
                setting.note(f"wave {wave}: {memory[-1] >> 10} KiB, {server.descriptors()} descriptors")
            time.sleep(max(0.0, pause - (time.monotonic() - begun)))
        time.sleep(7)
        left = server.descriptors()
        memory.append(server.memory())
    steady = memory[max(1, waves // 10) :]
    setting.found(f"soak: sessions that came and went in {waves} waves", waves * WAVE, "sessions")
    setting.found("soak: memory grown since the first tenth", _growth(steady) / (1 << 20), "MiB", 5)
    setting.found("soak: descriptors grown", left - descriptors, "", 0)
    setting.found(f"soak: of {replayed} sessions replayed in process, other bits", wrong, "sessions", 0)


def _growth(memory: Sequence[int]) -> float:
    """Return the median of the last tenth minus that of the first."""
    few = max(1, len(memory) // 10)
    return float(np.median(memory[-few:]) - np.median(memory[:few]))


def _leave(connections: Sequence[Connection], wave: int) -> None:
    """End a third of the sessions, close the connections of a third, and let a third vanish with a reset."""
    for way, connection in zip(_ways(wave), connections, strict=False):
        if way == "ends":
            connection.socket.setblocking(True)
            connection.socket.settimeout(5)
            connection.socket.sendall(connection.wire.farewell(connection.session, connection.frames[0]))
            connection.socket.recv(65536)
        elif way == "vanishes":
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)


def _ways(wave: int) -> Iterator[str]:
    ways = ("ends", "closes", "vanishes")
    for i in range(WAVE):
        yield ways[(i // 3 + wave) % 3]

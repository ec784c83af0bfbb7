"""The cost of a folder of states: a step with and without it, in turns, and a start with many sessions in it."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from bench.serve.models import frames_of, save_gru
from bench.serve.process import free_port
from bench.serve.setting import Setting
from fastgru.serve.durable.folder import Folder
from fastgru.serve.repository import Repository
from fastgru.serve.settings import Settings

__all__ = ["durable", "keep_sessions", "ready"]

COST_US = 10
READY_S = 1.0
KEPT = 10_000
RAM = Path("/dev/shm")
_READY = b"GET /v2/health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def durable(setting: Setting) -> None:
    """Measure p50 of one connection, H = 64, next to a server without a folder; then the time until it is ready."""
    model = save_gru(setting.folder / "gru.safetensors")
    with tempfile.TemporaryDirectory(dir=RAM if RAM.is_dir() else None) as ram:
        folders = {"on a RAM disk": Path(ram) / "states", "on disk": setting.folder / "states"}
        if setting.wants("cost"):
            _cost(setting, model, folders)
        if setting.wants("start"):
            for where, folder in folders.items():
                _start(setting, model, folder.with_name("many"), where)


def _cost(setting: Setting, model: Path, folders: dict[str, Path]) -> None:
    frames, (rounds, seconds) = frames_of(), (30, 0.3) if setting.full else (12, 0.12)
    options = {"": ["--idle-seconds", "300"]} | {where: ["--state-dir", str(each)] for where, each in folders.items()}
    options["on disk, with --state-sync"] = ["--state-dir", str(setting.folder / "synced"), "--state-sync"]
    with ExitStack() as stack:
        servers = {where: stack.enter_context(setting.server(model, *each)) for where, each in options.items()}
        for protocol in ("binary", "websocket"):
            loads = {
                where: stack.enter_context(setting.load(setting.wire(protocol, server), 1, frames))
                for where, server in servers.items()
            }
            took: dict[str, list[np.ndarray]] = {where: [] for where in loads}
            for _ in range(rounds):
                for where, load in loads.items():
                    took[where].append(load.closed_loop(seconds).latencies)
            p50 = {where: float(np.median(np.concatenate(each))) / 1e3 for where, each in took.items()}
            setting.found(f"{protocol}, p50 without a folder", p50[""], "us")
            for where in folders:
                setting.found(f"{protocol}, p50 above it, {where}", p50[where] - p50[""], "us", COST_US)
                setting.replay(loads[where], model, f"{protocol}, {where}")
            synced = "on disk, with --state-sync"
            setting.found(f"{protocol}, p50 above it, {synced}", p50[synced] - p50[""], "us")


def _start(setting: Setting, model: Path, folder: Path, where: str) -> None:
    keep_sessions(model, folder, KEPT)
    took = [ready(model, folder) for _ in range(5)]
    setting.found(f"until ready with {KEPT:,} sessions {where}, median", float(np.median(took)), "s", READY_S)


def keep_sessions(model: Path, folder: Path, count: int) -> None:
    """Make a folder of states with so many sessions of the model `gru`."""
    settings = Settings(state_dir=folder)
    kept = Folder(settings)
    sessions = Repository({"gru": model}, settings, folder=kept).get("gru").sessions
    assert sessions is not None
    for name in range(1, count + 1):
        sessions.begin(name)
    kept.close()


def ready(model: Path, folder: Path) -> float:
    """Return the seconds from the start of the process to its first 200. The process is then killed."""
    port, began = free_port(), time.perf_counter()
    words = [sys.executable, "-m", "fastgru", "serve", f"gru={model}", "--port", str(port), "--state-dir", str(folder)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while process.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=1) as probe:
                    probe.sendall(_READY)
                    if probe.recv(64).startswith(b"HTTP/1.1 200"):
                        return time.perf_counter() - began
            except OSError:
                time.sleep(0.002)
        raise RuntimeError(f"the server ended with {process.returncode}")
    finally:
        process.kill()
        process.wait()

"""The pool without a server: a push of many sessions in one call, next to a loop of streams."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

import fastgru
from bench.serve.models import gtcrn_frames, save_gru
from bench.serve.process import on_core
from bench.serve.setting import Setting

__all__ = ["pool"]

PUSH_US = {1: 3, 64: 60, 1024: 900}
SESSIONS = 8_000
GTCRN = 120

Array = np.ndarray[Any, Any]


def pool(setting: Setting) -> None:
    with on_core(setting.server_core):
        for sessions, bound in PUSH_US.items():
            ours, theirs = _beside(setting, 64, sessions)
            setting.found(f"push of {sessions} sessions, H = 64", ours, "us", bound)
            setting.found(f"    above 1.05x a loop of {sessions} streams", ours - 1.05 * theirs, "us", 2)
        if setting.gtcrn is not None:
            model, frames = fastgru.load(setting.gtcrn / "gtcrn_simple.onnx"), gtcrn_frames(setting.gtcrn)
            x = np.concatenate([frames[i % len(frames)] for i in range(GTCRN)])
            ours, theirs = _compared(setting, model, x, 0)
            setting.found(f"push of {GTCRN} sessions of GTCRN, whose batch is fixed", ours, "us")
            setting.found(f"    over a loop of {GTCRN} streams", ours / theirs, "x", 0.9)
        for hidden in (16, 128, 256, 512):
            for sessions in (1, 16, 128, 1024, 4096) if setting.full else (1, 128):
                ours, theirs = _beside(setting, hidden, sessions)
                setting.found(f"push of {sessions} sessions, H = {hidden}", ours, "us")
                setting.found(f"    above 1.05x a loop of {sessions} streams", ours - 1.05 * theirs, "us", 2)
                if (hidden, sessions) == (256, 128):
                    setting.found("    over the loop", ours / theirs, "x", 0.35)
        _realtime(setting)


def _beside(setting: Setting, hidden: int, sessions: int) -> tuple[float, float]:
    """Return the microseconds of a push of a pool and of a loop of streams, in turns: medians over the same rounds."""
    model = fastgru.load(save_gru(setting.folder / f"gru{hidden}.safetensors", hidden))
    return _compared(
        setting, model, np.random.default_rng(0).standard_normal((1, sessions, hidden), dtype=np.float32), 1
    )


def _compared(setting: Setting, model: fastgru.Model, x: Array, axis: int) -> tuple[float, float]:
    """x: a frame for each session along the axis. Each session's output has the shape of its frame."""
    sessions, y = x.shape[axis], np.empty_like(x)
    many = fastgru.SessionPool(model, sessions)
    handles = np.array([many.open() for _ in range(sessions)], np.int64)
    streams = [model.stream(1) for _ in range(sessions)]
    frames = [np.ascontiguousarray(frame) for frame in np.split(x, sessions, axis)]
    out = np.empty_like(frames[0])

    def loop() -> None:
        for stream, frame in zip(streams, frames, strict=True):
            stream.push(frame, out=out)

    def push() -> None:
        many.push_rows(handles, x, out=y)

    ours, theirs = [], []
    repeats = max(1, 2_000 // sessions)
    for _ in range(30 if setting.full else 9):
        ours.append(_time(push, repeats))
        theirs.append(_time(loop, repeats))
    return median(ours), median(theirs)


def _time(call: Callable[[], None], repeats: int) -> float:
    call()
    begin = time.perf_counter_ns()
    for _ in range(repeats):
        call()
    return (time.perf_counter_ns() - begin) / repeats / 1e3


def _realtime(setting: Setting) -> None:
    """Run 8,000 sessions with a frame every 10 ms on one core: a tick every millisecond, for the sessions due in it."""
    model = fastgru.load(save_gru(setting.folder / "gru64.safetensors", 64))
    many = fastgru.SessionPool(model, SESSIONS)
    handles = np.array([many.open() for _ in range(SESSIONS)], np.int64).reshape(10, -1)
    x = np.random.default_rng(0).standard_normal((1, handles.shape[1], 64), dtype=np.float32)
    y, late, ticks = np.empty_like(x), 0, int(1_000 * setting.seconds(60))
    many.push_rows(handles[0], x, out=y)
    base, busy = time.perf_counter_ns() + 1_000_000, 0
    for tick in range(ticks):
        due = base + tick * 1_000_000
        while (now := time.perf_counter_ns()) < due:
            time.sleep(max(0, due - now - 100_000) / 1e9)
        many.push_rows(handles[tick % 10], x, out=y)
        done = time.perf_counter_ns()
        busy += done - max(now, due)
        late += done - due > 10_000_000
    setting.found(f"{SESSIONS} sessions at 100 frames a second in process: of a core", busy / ticks / 1e4, "%", 100)
    setting.found("    ticks late by 10 ms, in 100,000", 1e5 * late / ticks, "", 1)

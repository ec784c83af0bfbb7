"""When frames are due, in nanoseconds from the start, ascending, and the numbers of their connections."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["ARRIVALS", "Schedule", "constant", "periodic", "poisson"]

Array = np.ndarray[Any, Any]
Schedule = tuple[Array, Array]  # due (n,) int64 in ns, whose (n,) int64


def periodic(sessions: int, hz: float, seconds: float, seed: int = 0) -> Schedule:
    """Return frames of sessions with one frame every 1 / hz seconds each, at random phases."""
    phase = np.sort(np.random.default_rng(seed).uniform(0, 1 / hz, sessions))
    due = (phase[None] + np.arange(int(seconds * hz))[:, None] / hz).ravel()
    return (1e9 * due).astype(np.int64), np.tile(np.arange(sessions), int(seconds * hz))


def poisson(sessions: int, rate: float, seconds: float, seed: int = 0) -> Schedule:
    """Return frames at a mean of `rate` per second in all, as from independent clients; sessions take turns."""
    gaps = np.random.default_rng(seed).exponential(1e9 / rate, int(rate * seconds))
    return np.cumsum(gaps).astype(np.int64), np.arange(len(gaps)) % sessions


def constant(sessions: int, rate: float, seconds: float, seed: int = 0) -> Schedule:
    """Return frames of all sessions together, one every 1 / rate seconds; sessions take turns."""
    due = np.arange(int(rate * seconds)) * (1e9 / rate)
    return due.astype(np.int64), np.arange(len(due)) % sessions


ARRIVALS = {"poisson": poisson, "constant": constant}

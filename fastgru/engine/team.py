"""Our own threads: parked in a read while nothing runs, woken by a write, meeting inside a call only.

They are woken through an eventfd where there is one: a kernel takes a write to a pipe for a sign that the writer is
about to sleep, and would run the reader on the writer's core.

A team of n is the calling thread and n - 1 workers. There is one team of each size; a call that finds it busy runs on
its own thread, with the same bits. After a fork the child starts with none and makes its own when it needs one.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from statistics import median
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fastgru.errors import UnsupportedModelError
from fastgru.kernels.operands.team import CORE, MEMBER_WORDS, TEAM_WORDS, THREAD
from fastgru.kernels.run import ALLOWED, CONTROL_WORDS, team_runner, worker
from fastgru.kernels.table import STATUS_WORDS
from fastgru.simd.sizes import CPU_WORDS, SHARED_WORDS

__all__ = ["Team", "borrow", "check_threads", "give_back", "wake_seconds"]


# More cores than one call gains from on any machine there is; a mistyped number must not exhaust the system.
_MOST_THREADS: Final = 256


class Team:
    """The caller and its workers."""

    def __init__(self, members: int) -> None:
        self.members = members
        self._control = np.zeros(CONTROL_WORDS, np.int64)
        self._shared = np.zeros(SHARED_WORDS + 16, np.int64)
        meeting = self._shared.ctypes.data + -self._shared.ctypes.data % 128
        self._words: NDArray[Any] = np.zeros((members, MEMBER_WORDS), np.int64)
        for number, words in enumerate(self._words):
            words[:3] = number, members, meeting
            words[TEAM_WORDS + 1] = 1  # the team of one behind it
            words[CORE] = -1
        if hasattr(os, "sched_getaffinity"):
            for core in os.sched_getaffinity(0):
                if core < 64 * CPU_WORDS:
                    self._control.view(np.uint64)[ALLOWED + core // 64] |= np.uint64(1 << (core % 64))
        pipes = [_channel() for _ in range(members - 1)]
        self._wake = np.array([-1, *(w for _, w in pipes)], np.int64)
        self._run, work = team_runner(), worker()
        self._threads: list[threading.Thread] = []
        control = self._control.ctypes.data
        self._arguments = (control, self._words.ctypes.data, members, self._wake.ctypes.data)
        for number, (source, _) in enumerate(pipes, start=1):
            arguments = (control, int(self._words[number].ctypes.data), source)
            thread = threading.Thread(target=work, args=arguments, daemon=True, name=f"fastgru-{number}")
            thread.start()
            self._threads.append(thread)
            self._words[number, THREAD] = thread.native_id or 0

    def run(self, words: int, bases: int, walk: int = 0) -> int:
        """Carry out a program; the status code."""
        self._words[:, [3, TEAM_WORDS + 3]] = walk
        return int(self._run(words, bases, *self._arguments))

    def close(self) -> None:
        """Let the workers end."""
        self._control[:ALLOWED] = 0
        for descriptor in self._wake[1:].tolist():
            os.write(descriptor, (1).to_bytes(8, sys.byteorder))
        for thread in self._threads:  # the words that they look at are this object's
            thread.join(timeout=1)


def _channel() -> tuple[int, int]:
    """(descriptor to sleep on, descriptor to wake by)."""
    if hasattr(os, "eventfd"):
        descriptor = os.eventfd(0, os.EFD_CLOEXEC)
        return descriptor, descriptor
    return os.pipe()


_lock = threading.Lock()
_free: dict[int, Team] = {}
_busy: set[int] = set()
_wake_costs: dict[int, float] = {}


def check_threads(threads: int) -> None:
    """Raise `UnsupportedModelError` unless a call may use so many threads here."""
    if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= _MOST_THREADS:
        raise UnsupportedModelError(f"threads={threads!r}: expected an integer from 1 to {_MOST_THREADS}")
    if threads > 1 and os.name != "posix":
        raise UnsupportedModelError(f"threads={threads}: on this system a call runs on one thread; use threads=1")


def borrow(members: int) -> Team | None:
    """The team of this size, or None where it is busy or where one thread is enough."""
    if members < 2:
        return None
    with _lock:
        if members in _busy:
            return None
        _busy.add(members)
        team = _free.pop(members, None)
    try:
        return Team(members) if team is None else team
    except (OSError, RuntimeError) as error:  # no descriptor, or no thread, to be had
        with _lock:
            _busy.discard(members)
        raise UnsupportedModelError(f"threads={members}: the system refuses them ({error}); use fewer") from error


def give_back(team: Team) -> None:
    """Let the next call of this size have the team."""
    with _lock:
        _busy.discard(team.members)
        _free[team.members] = team


def wake_seconds(members: int) -> float | None:
    """What it costs to call a team together for nothing, measured once; None where the team is busy before that.

    A program that saves less is not shared.
    """
    if members in _wake_costs:
        return _wake_costs[members]
    words = np.zeros(1, np.int64)
    status = np.zeros(STATUS_WORDS, np.int64)
    bases = np.array([status.ctypes.data], np.int64)
    addresses = words.ctypes.data, bases.ctypes.data
    team = borrow(members)
    if team is None:
        return None
    try:
        costs = []
        for _ in range(32):
            start = time.perf_counter()
            team.run(*addresses)
            costs.append(time.perf_counter() - start)
    finally:
        give_back(team)
    _wake_costs[members] = median(costs)
    return _wake_costs[members]


def _forget() -> None:
    """In a forked child: its parent's workers are not here."""
    global _lock
    _lock = threading.Lock()
    _free.clear()
    _busy.clear()


def _close_all() -> None:
    for team in _free.values():
        team.close()
    _free.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
atexit.register(_close_all)

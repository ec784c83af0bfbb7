"""Teams of threads. A worker sleeps on a lock until a call releases the lock, and meets others only inside a call.

With `spin_us`, workers spin for some microseconds after a call before they sleep (`kernels.team`).

A team of n is the calling thread and n - 1 workers. There is one team of each size; a call that finds it busy runs on
its own thread, with the same bits. The locks are those of Python's C interface, which use no file descriptors. A forked
child starts without teams and makes its own when it needs one.
"""

from __future__ import annotations

import ctypes
import math
import os
import threading
from collections.abc import Callable
from numbers import Real
from typing import Final, Protocol
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from fastgru.errors import UnsupportedModelError
from fastgru.kernels.operands.team import CONTROL, MEMBER, TEAM
from fastgru.kernels.operands.ticket import ROSTER
from fastgru.kernels.run import worker
from fastgru.process import lock, to_the_end
from fastgru.simd.sizes import CPU_WORDS, SHARED_WORDS

__all__ = ["Team", "check_threads", "forget_at_forks", "team_address", "usable_cores"]


# More cores than one call gains from on any machine. A mistyped number must not exhaust the system.
_MOST_THREADS: Final = 256
# To wait longer, a thread had better sleep: a wake-up costs only some microseconds.
_MOST_SPIN_US: Final = 10_000

_allocate = ctypes.pythonapi.PyThread_allocate_lock
_allocate.restype = ctypes.c_void_p
_acquire, _release = ctypes.pythonapi.PyThread_acquire_lock, ctypes.pythonapi.PyThread_release_lock
_acquire.argtypes, _release.argtypes = (ctypes.c_void_p, ctypes.c_int), (ctypes.c_void_p,)


class Team:
    """The workers of a team, and the words through which a call finds them. Raises `OSError` or `RuntimeError`.

    A team lives until the process ends, even while the interpreter shuts down, because a daemon thread may be in a
    call.
    """

    def __init__(self, members: int) -> None:
        self._control = _zeros(CONTROL.words)
        self._shared, self._words = _zeros(SHARED_WORDS), _zeros(members, MEMBER.words)
        meeting = self._shared.ctypes.data
        for number, words in enumerate(self._words):
            words[[TEAM.number, TEAM.members, TEAM.shared, MEMBER.core]] = number, members, meeting, -1
            words[MEMBER.alone + TEAM.members] = 1
        for core in usable_cores():
            if core < 64 * CPU_WORDS:
                self._control.view(np.uint64)[CONTROL.allowed + core // 64] |= np.uint64(1 << (core % 64))
        self._team = _zeros(ROSTER.locks + members)
        self._team[ROSTER.size] = members
        self._team[[ROSTER.control, ROSTER.members]] = self._control.ctypes.data, self._words.ctypes.data
        self.address = int(self._team.ctypes.data)
        self._threads: list[threading.Thread] = []
        try:
            for number in range(1, members):
                self._start(number)
        except BaseException:
            self.close()
            raise

    def _start(self, number: int) -> None:
        asleep = _allocate()
        if not asleep:
            raise OSError("no lock is available")
        _acquire(asleep, 1)
        self._team[ROSTER.locks + number] = asleep
        arguments = (int(self._control.ctypes.data), int(self._words[number].ctypes.data), asleep)
        thread = threading.Thread(target=_work, args=(worker(), arguments, self), daemon=True, name=f"fastgru-{number}")
        thread.start()
        self._threads.append(thread)
        self._words[number, MEMBER.thread] = thread.native_id or 0

    def close(self) -> None:
        """End the workers. No call may be running."""
        for number, _ in enumerate(self._threads, start=1):
            self._words[number, MEMBER.program] = 0
            _release(int(self._team[ROSTER.locks + number]))
        for thread in self._threads:
            thread.join(timeout=1)


def _zeros(*shape: int) -> NDArray[np.int64]:
    """Return zeros that start on a pair of cache lines, the unit of the adjacent-line prefetcher."""
    raw = np.zeros(math.prod(shape) + 32, np.int64)
    begin = -raw.ctypes.data % 128 // 8
    return raw[begin : begin + math.prod(shape)].reshape(shape)


def _work(work: Callable[..., int], arguments: tuple[int, int, int], team: Team) -> None:
    """Run a worker. `team` keeps the memory of the addresses alive.

    This function must not need a lock: a thread that waits for this one may hold it.
    """
    work(*arguments)


_teams: dict[int, Team] = {}
_left_behind: list[Team] = []  # teams of the parent process: a call that was running during the fork still reads them


def check_threads(threads: int, spin_us: float = 0) -> None:
    """Raise `UnsupportedModelError` unless a call may use this many threads here, with this time to spin."""
    if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= _MOST_THREADS:
        raise UnsupportedModelError(f"threads is {threads!r}, expected an integer from 1 to {_MOST_THREADS}")
    if threads > 1 and os.name != "posix":
        raise UnsupportedModelError(
            f"threads is {threads}, expected 1, because a call runs on one thread on this system"
        )
    if isinstance(spin_us, bool) or not isinstance(spin_us, Real) or not 0 <= spin_us <= _MOST_SPIN_US:
        raise UnsupportedModelError(
            f"spin_us={spin_us!r}: expected microseconds from 0 to {_MOST_SPIN_US:,}, for which threads look out for"
            " the next call after one"
        )
    if spin_us and threads == 1:
        raise UnsupportedModelError(
            f"spin_us={spin_us!r} with threads=1: a call has no other threads that could look out; give threads=2 or"
            " more, or spin_us=0"
        )


def usable_cores() -> set[int]:
    """Return the numbers of the cores that threads of this process may run on.

    They are those of the calling thread and of the main thread, because a thread may have bound itself to one core.
    """
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0) | os.sched_getaffinity(os.getpid())
    return set(range(os.cpu_count() or 1))


def team_address(members: int) -> int:
    """Return the address of the words of the team of this size, which is made if there is none yet.

    Raises `UnsupportedModelError` if the system refuses to start the threads.
    """
    team = _teams.get(members)
    if team is None:
        with lock:
            try:
                team = _teams.get(members) or _teams.setdefault(members, to_the_end(Team(members)))
            except (OSError, RuntimeError) as error:
                raise UnsupportedModelError(
                    f"threads is {members}, but the system refuses to start them ({error}); use fewer threads"
                ) from error
    return team.address


class _User(Protocol):
    def forget_team(self) -> None: ...


_users: WeakSet[_User] = WeakSet()


def forget_at_forks(user: _User) -> None:
    """Have `user.forget_team` called in a forked child, because `user` keeps the address of a team."""
    _users.add(user)


def _forget() -> None:
    """Forget all teams in a forked child, which does not have the parent's workers."""
    _left_behind.extend(_teams.values())
    _teams.clear()
    for user in _users:
        user.forget_team()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)

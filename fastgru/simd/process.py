"""What there is once in a process: the package's locks, and words that native code reads.

Planning, compiling, linking and starting threads hold `lock`, and nobody waits for anything else in the package while
he has it. So no two locks can be taken in two orders; a finaliser or a signal handler that comes in between runs on the
thread that has the lock, which may take it again; and a fork waits until no other thread has it, so that a child never
begins in the middle of somebody else's work. What is done under the lock may be entered again, and may be left by any
exception. A lock of `short_lock` is the same for a few lines of Python that wait for nothing at all, so it may be taken
by whoever has `lock`, never the other way round.

Native code runs without locks. It claims a stream, a frame or a team by exchanging a word for the number of the process
(`EPOCH`), which a forked child counts up: what a thread of the parent had claimed, and will never give back here, is
free again.
"""

from __future__ import annotations

import os
import threading
from functools import partial
from typing import Any, Final

import numpy as np

__all__ = ["EPOCH", "LOOK", "MAIN", "lock", "process", "short_lock"]

EPOCH: Final = 0  # of this process: 1, and one more in each child that a fork made
MAIN: Final = 1  # the thread that runs Python's signal handlers
LOOK: Final = 2  # the address of `kernels.entries.look`, 0 until something runs

process = np.array([1, threading.main_thread().ident or 0, 0], np.int64)


lock = threading.RLock()
_locks = [lock]  # in the order in which a fork takes them


def short_lock() -> Any:
    """Another lock, for the life of the process. Call it where a module is imported."""
    _locks.append(threading.RLock())
    return _locks[-1]


def _before_fork() -> None:
    for each in _locks:
        each.acquire()


def _after_fork(*, child: bool) -> None:
    for each in _locks[::-1]:
        try:
            each.release()
        except RuntimeError:  # a signal handler has ended the waiting with an exception
            if child:
                each._at_fork_reinit()  # whoever has it is no more
    if child:
        process[EPOCH] += 1
        process[MAIN] = threading.get_ident()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=partial(_after_fork, child=False),
        after_in_child=partial(_after_fork, child=True),
    )

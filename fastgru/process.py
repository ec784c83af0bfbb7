"""What exists once in a process: the locks of the package, and the words that native code reads.

Planning, compiling, linking and starting threads hold `lock`, and nobody waits for anything else in the package while
he has it. So no two locks can be taken in two orders; a finaliser or a signal handler that comes in between runs on the
thread that has the lock, which may take it again; and a fork waits until no other thread has it, so that a child never
begins in the middle of somebody else's work. What is done under the lock may be entered again, and may be left by any
exception. A lock of `short_lock` is the same for a few lines of Python that wait for nothing at all, so it may be taken
by whoever has `lock`, never the other way round.

Native code runs without locks. It claims a stream, a session or a team by writing the number of the process (`EPOCH`)
into a word, in one step with a look at what was there. A forked child counts that number up: what a thread of the
parent had claimed, and will never give back here, is free again.
"""

import _thread
import ctypes
import os
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Generic, TypeVar, overload

import numpy as np

__all__ = [
    "EPOCH", "HEAD", "ITEMS", "LOOK", "MAIN", "lock", "once", "process", "short_lock", "to_the_end", "undisturbed",
    "wait_at_forks",
]  # fmt: skip

EPOCH: Final = 0  # of this process: 1, and one more in each child that a fork made
MAIN: Final = 1  # the thread that runs Python's signal handlers
LOOK: Final = 2  # the address of `kernels.entries.look`, 0 until something runs
HEAD: Final = 3  # words of the head of an object of this Python
ITEMS: Final = 4  # words of a tuple before its items

_Kept = TypeVar("_Kept")
_Result = TypeVar("_Result")


def to_the_end(thing: _Kept) -> _Kept:
    """Keep an object when the interpreter is taken down, too: a daemon thread may be in the middle of a native call."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))
    return thing


_layout = object.__basicsize__ // 8, tuple.__basicsize__ // 8
process = to_the_end(np.array([1, threading.main_thread().ident or 0, 0, *_layout], np.int64))


lock = threading.RLock()
_locks: list[Any] = [lock]  # in the order in which a fork takes them


def short_lock() -> Any:
    """Another lock, for the life of the process. Call it where a module is imported."""
    made = threading.RLock()
    wait_at_forks(made)
    return made


def wait_at_forks(held: Any) -> None:
    """Have a fork wait until no other thread has this `RLock`, under which nothing waits for a lock of this package."""
    _locks.append(held)


class once(Generic[_Result]):  # noqa: N801  (used as a decorator)
    """`functools.cached_property` as Python has it from 3.12 on: in 3.11 all objects of a class share a lock."""

    def __init__(self, function: Callable[[Any], _Result]) -> None:
        self._function, self.__doc__ = function, function.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, owner: None, kind: type) -> "once[_Result]": ...

    @overload
    def __get__(self, owner: object, kind: type) -> _Result: ...

    def __get__(self, owner: object | None, kind: type) -> "once[_Result] | _Result":
        if owner is None:
            return self
        result = owner.__dict__[self._name] = self._function(owner)
        return result


_undisturbed = short_lock()


def undisturbed(work: Callable[[], _Result]) -> _Result:
    """What `work` returns or raises; no signal handler comes into the middle of it.

    An import of Numba, or a compilation, that an exception leaves half done cannot be begun again in the same process,
    and llvmlite would keep its lock. Handlers run on the main thread alone, so that one has another thread do the work.
    An exception of a handler ends the waiting, not the work, and whoever comes next waits for it. `work` must not need
    `lock`.
    """
    outcome: list[Any] = []
    epoch, ended = process[EPOCH], threading.Lock()
    ended.acquire()

    def do() -> None:
        with _undisturbed:
            try:
                outcome.append((work(), None))
            except BaseException as error:
                outcome.append((None, error))
            ended.release()

    def start() -> None:
        """On a thread that runs no handlers: an exception inside `Thread.start` would leave the new one waiting."""
        try:
            threading.Thread(target=do, name="fastgru-compiler", daemon=False).start()
        except RuntimeError:
            do()

    if threading.current_thread() is threading.main_thread():
        try:
            _thread.start_new_thread(start, ())
        except RuntimeError:  # the system has no more threads
            do()
        while not ended.acquire(timeout=1):
            if not outcome and process[EPOCH] != epoch:  # a child that a handler has forked lacks the thread
                do()
    else:
        do()
    result, error = outcome[0]
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]


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

"""What exists once in a process: the locks of the package, and the words that native code reads.

Planning, compiling, linking and starting threads happen under `lock`. A thread that holds it waits for nothing else in
the package, so no two locks are ever taken in two orders. A finaliser or signal handler runs on the thread that it
interrupts, which may take `lock` again. A fork waits until no other thread holds `lock`, so that a child never starts
in the middle of another thread's work. Work under the lock must allow reentry, and any exception may end it. A lock of
`short_lock` guards a few lines of Python that wait for nothing at all. A thread that holds `lock` may take such a lock,
but not the other way round.

Native code runs without locks. It claims a stream, a session or a team with one atomic operation, which checks a word
and writes the number of the process (`EPOCH`) into it. A forked child increments that number, which frees the claims of
the parent's threads: those threads do not exist in the child.
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

EPOCH: Final = 0  # of this process: 1, plus one for each fork between the first process and this one
MAIN: Final = 1  # the thread that runs Python's signal handlers
LOOK: Final = 2  # the address of `kernels.entries.look`, 0 until something runs
HEAD: Final = 3  # words of an object's header in this Python
ITEMS: Final = 4  # words of a tuple before its items

_Kept = TypeVar("_Kept")
_Result = TypeVar("_Result")


def to_the_end(thing: _Kept) -> _Kept:
    """Keep an object alive even while the interpreter shuts down: a daemon thread may still be in a native call."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))
    return thing


_layout = object.__basicsize__ // 8, tuple.__basicsize__ // 8
process = to_the_end(np.array([1, threading.main_thread().ident or 0, 0, *_layout], np.int64))


lock = threading.RLock()
_locks: list[Any] = [lock]  # in the order in which a fork takes them


def short_lock() -> Any:
    """Return another lock, for the life of the process. Call this when a module is imported."""
    made = threading.RLock()
    wait_at_forks(made)
    return made


def wait_at_forks(held: Any) -> None:
    """Make a fork wait until no other thread holds this `RLock`. A holder must not wait for a lock of this package."""
    _locks.append(held)


class once(Generic[_Result]):  # noqa: N801  (used as a decorator)
    """`functools.cached_property` as of Python 3.12: in 3.11, all objects of a class share a lock."""

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
    """Return or raise what `work` does, without a signal handler in the middle of it.

    An exception in the middle of an import of Numba or of a compilation would leave work that cannot start again in the
    same process, and llvmlite would keep its lock. Handlers run on the main thread alone, so the main thread has
    another thread do the work. An exception of a handler ends the wait, not the work, and the next caller waits for
    that work. `work` must not need `lock`.
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
        """Run on a thread without handlers: an exception inside `Thread.start` would leave the new thread waiting."""
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
            if not outcome and process[EPOCH] != epoch:  # in a child that a handler forked, the thread does not exist
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
        except RuntimeError:  # a signal handler ended the wait with an exception
            if child:
                each._at_fork_reinit()  # its holder does not exist here
    if child:
        process[EPOCH] += 1
        process[MAIN] = threading.get_ident()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=partial(_after_fork, child=False),
        after_in_child=partial(_after_fork, child=True),
    )

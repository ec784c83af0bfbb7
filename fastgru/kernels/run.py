"""The native calls that run a whole program, alone or on a team, and the layout of its words.

    words: `PROGRAM`, with `HEAD` for each instruction, then the operands

`member` is the member that carries out the instruction, or EVERYONE if the team shares it. `after` is a sum of flags.
`MEETS`: the members wait for each other after it. `LOOKS`: signals may be handled after it. `JUMPS`: the instruction
has decided which one comes next for the member that carried it out; the others go on at `skip`. `COUNTS`: it adds one
to its own `count`, which needs words that no other call uses meanwhile.

The call writes the addresses of inputs and outputs into `bases`; `bases[BASES.status]` points to the status words. If a
member fails, the run ends where the members meet next, and the first report is kept. A run sets its own mode of the
floating-point unit (`simd.control`) and restores the caller's afterwards.

The functions are those of `kernels.entries`; the first use of each compiles it or reads it from the cache.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from fastgru.kernels.compiling import ensure
from fastgru.kernels.operands.declare import places
from fastgru.kernels.table import builds_only, native
from fastgru.process import LOOK, process
from fastgru.simd.native import python_function
from fastgru.simd.ndarray import check_layout

__all__ = [
    "COUNTS", "EVERYONE", "HEAD", "IN_USE", "JUMPS", "LOOKS", "MEETS", "MISFIT", "NOT_OPEN", "NO_ROOM", "PROGRAM",
    "TWICE", "Calls", "SessionCalls", "calls", "mode_exchanger", "plain_mode", "session_calls", "team_caller", "worker",
]  # fmt: skip

EVERYONE: Final = -1
PROGRAM: Final = places("count heads", heads=0)
HEAD: Final = places("handler operands member after skip count")  # of an instruction
MEETS: Final = 1
LOOKS: Final = 2
JUMPS: Final = 4
COUNTS: Final = 8

# What a call returns if it has not run: an array does not match the ticket; another call is using the state.
MISFIT: Final = -1
IN_USE: Final = -2

# What else calls for sessions return: there are more sessions than room; one is not open; one comes twice.
NO_ROOM: Final = -3
NOT_OPEN: Final = -4
TWICE: Final = -5

_ALWAYS: Final = ("change_mode", "look", "run_alone", "put", "take")


def _entry(name: str) -> Callable[..., int]:
    ensure([native(name)], soon=[native(each) for each in _ALWAYS])
    return python_function(native(name).address, name)


class Calls(NamedTuple):
    """The functions that every caller of programs needs: `run_alone`, `take` and `put` (`kernels.entries`)."""

    alone: Callable[[int, Any, Any], int]
    take: Callable[[int, int, Any], int]
    put: Callable[[int, int, Any, int], int]


@functools.cache
def calls() -> Calls:
    """Return the functions. They check arrays and tuples before they use them, so any objects can be passed.

    Raises `UnsupportedModelError` if the arrays of this NumPy have an unexpected layout.
    """
    check_layout()
    ensure([native(name) for name in _ALWAYS])
    process[LOOK] = native("look").address
    return Calls(_entry("run_alone"), _entry("take"), _entry("put"))


class SessionCalls(NamedTuple):
    """The functions for a pool of sessions (`kernels.sessions`). Except for `push`, they do not check their arrays."""

    open: Callable[[int, Any], int]
    close: Callable[[int, int], int]
    copy: Callable[[int, int, Any, int], int]
    push: Callable[[int, int, Any, Any, Any], int]
    settle: Callable[[int, int], int]


@functools.cache
def session_calls() -> SessionCalls:
    """Return the functions. Raises as `calls`."""
    calls()
    names = [f"{name}_session{'s' if name in ('push', 'settle') else ''}" for name in SessionCalls._fields]
    ensure([native(name) for name in names])
    return SessionCalls(*map(_entry, names))


@functools.cache
def team_caller() -> Callable[[int, int, int, int, Any, Any], int]:
    """Return `entries.run_team`. `calls` must be called first."""
    return _entry("run_team")


@functools.cache
def worker() -> Callable[..., int]:
    """Return `entries.work`, int64(control, member, lock), which ends when it is woken without a program."""
    return _entry("work")


@functools.cache
def mode_exchanger() -> Callable[..., int]:
    """Return `entries.change_mode`, int64(mode), which sets the mode of this thread and returns the one before.

    mode: see `simd.control`; -1 for the plain one.
    """
    return _entry("change_mode")


@contextmanager
def plain_mode() -> Iterator[None]:
    """Set Python's own mode of the floating-point unit on this thread: rounding to nearest, denormals kept, no traps.

    It is for values that are computed once for many calls, whose bits must not depend on a mode that a library has set.
    A process that only builds has that mode from its start, and this does nothing.
    """
    if builds_only():
        yield
        return
    change = mode_exchanger()
    before = change(-1)
    try:
        yield
    finally:
        change(before)

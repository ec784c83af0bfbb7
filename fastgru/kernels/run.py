"""One native call that carries out a whole program, alone or as one member of a team.

    words: `PROGRAM`, with `HEAD` for each instruction, then the operands

`member` is the member that carries the instruction out, EVERYONE for one that the team shares; `after` says what comes
behind it: `MEETS` where the members wait for each other, `LOOKS` where signals may be handled, `JUMPS` where the
instruction itself has said which comes next, for the member that carried it out; the others go on at `skip`;
`COUNTS` where it adds one to its own `count`, in words that no other call carries out meanwhile. The
addresses of inputs and outputs are written into `bases` by the call; `bases[BASES.status]` points to the status words.
A run ends where its members meet after one of them has failed; the first report stands.

A run has a mode of the floating-point unit of its own (`simd.control`), and the caller's is restored after it.

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

# What a call answers where it has not run: an array is not as the ticket says; another thread is at it.
MISFIT: Final = -1
IN_USE: Final = -2

# What calls for sessions answer besides: there are more than there is room for; one is not open, or comes twice.
NO_ROOM: Final = -3
NOT_OPEN: Final = -4
TWICE: Final = -5

_ALWAYS: Final = ("change_mode", "look", "run_alone", "put", "take")


def _entry(name: str) -> Callable[..., int]:
    ensure([native(name)], soon=[native(each) for each in _ALWAYS])
    return python_function(native(name).address, name)


class Calls(NamedTuple):
    """What every caller of programs needs: `run_alone`, and `take` and `put` of a state (`kernels.entries`)."""

    alone: Callable[[int, Any, Any], int]
    take: Callable[[int, int, Any], int]
    put: Callable[[int, int, Any, int], int]


@functools.cache
def calls() -> Calls:
    """The functions. Any objects can be given for arrays and tuples of them: what does not fit is not touched.

    Raises `UnsupportedModelError` where this NumPy is not laid out as expected.
    """
    check_layout()
    ensure([native(name) for name in _ALWAYS])
    process[LOOK] = native("look").address
    return Calls(_entry("run_alone"), _entry("take"), _entry("put"))


class SessionCalls(NamedTuple):
    """What a pool of sessions needs (`kernels.sessions`), which takes addresses, and arrays that must be as it says."""

    open: Callable[[int, Any], int]
    close: Callable[[int, int], int]
    copy: Callable[[int, int, Any, int], int]
    push: Callable[[int, int, Any, Any, Any], int]
    settle: Callable[[int, int], int]


@functools.cache
def session_calls() -> SessionCalls:
    """The functions. Raises as `calls`."""
    calls()
    names = [f"{name}_session{'s' if name in ('push', 'settle') else ''}" for name in SessionCalls._fields]
    ensure([native(name) for name in names])
    return SessionCalls(*map(_entry, names))


@functools.cache
def team_caller() -> Callable[[int, int, int, int, Any, Any], int]:
    """`entries.run_team`; call `calls` first."""
    return _entry("run_team")


@functools.cache
def worker() -> Callable[..., int]:
    """int64(control, member, lock): returns when it is woken and there is no program."""
    return _entry("work")


@functools.cache
def mode_exchanger() -> Callable[..., int]:
    """int64(mode, -1 for the plain one): the mode of this thread's floating-point unit before (`simd.control`)."""
    return _entry("change_mode")


@contextmanager
def plain_mode() -> Iterator[None]:
    """Python's own mode of the floating-point unit, on this thread: rounding to nearest, denormals kept, no traps.

    For what is computed once for many calls, whose bits must not depend on what a library has set. A process that only
    builds has that mode from its start.
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

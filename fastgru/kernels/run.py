"""One native call that carries out a whole program, alone or as one member of a team.

    words: [count, then (handler address, first operand, lane, meet) for each instruction, then the operands]

`lane` is the member that carries the instruction out, EVERYONE for one that the team shares; `meet` says that the
members wait for each other after it. The caller's addresses of inputs and outputs are written into `bases` before the
call; `bases[STATUS]` points to the status words. A run alone ends at the first instruction that fails, a team's goes
on so that nobody waits for ever; the first report stands either way.

Denormals are flushed inside a run, and the caller's mode of the floating-point unit is restored after it.

The functions are those of `kernels.entries`; the first use of each compiles it or reads it from the cache.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Final

from fastgru.kernels.table import find
from fastgru.simd.native import python_function
from fastgru.simd.ndarray import layout_holds
from fastgru.simd.sizes import CPU_WORDS

__all__ = [
    "ALLOWED",
    "CONTROL_WORDS",
    "EVERYONE",
    "HEAD_WORDS",
    "MASK",
    "apart",
    "pusher",
    "putter",
    "runner",
    "team_runner",
    "worker",
]

EVERYONE: Final = -1
HEAD_WORDS: Final = 4  # of an instruction

# What a team shares: the program and its addresses, then the cores that its threads may use and room for a mask.
ALLOWED: Final = 2
MASK: Final = ALLOWED + CPU_WORDS
CONTROL_WORDS: Final = MASK + CPU_WORDS


def _entry(name: str) -> Callable[..., int]:
    return python_function(find(name).address, name)


@functools.cache
def runner() -> Callable[..., int]:
    """int64(words address, bases address): the status code."""
    return _entry("run_alone")


@functools.cache
def team_runner() -> Callable[..., int]:
    """int64(words, bases, control, teams, members, wake): the status code."""
    return _entry("run_team")


@functools.cache
def worker() -> Callable[..., int]:
    """int64(control, team, descriptor): returns when the descriptor is closed on the other side."""
    return _entry("work")


@functools.cache
def pusher() -> Callable[..., int] | None:
    """int64(ticket address, frames, out): one frame of a stream, straight from and into the caller's arrays.

    frames: a tuple of the inputs. out: a tuple of the outputs, or the only one. Any objects can be given: what does not
    fit is not touched. None where this NumPy is not laid out as expected.
    """
    return _entry("push") if layout_holds() else None


@functools.cache
def putter() -> Callable[..., int] | None:
    """int64(bases address, index, address of an expectation, object): 1 where it was an array as expected, and put.

    None where this NumPy is not laid out as expected.
    """
    return _entry("put") if layout_holds() else None


@functools.cache
def apart() -> Callable[..., int]:
    """int64(bases address, slots address, inputs, outputs): 1 where no output lies over another or over an input."""
    return _entry("apart")

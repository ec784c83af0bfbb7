"""The time that each instruction of a program takes: each is repeated, on the memory that a run has left."""

from __future__ import annotations

import time
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fastgru.engine.program import CallFrame, Program
from fastgru.kernels.run import COUNTS, HEAD, JUMPS, PROGRAM
from fastgru.kernels.table import PAUSED, find
from fastgru.records import dataclass

__all__ = ["Timing", "profile"]

Array = NDArray[Any]

_SAMPLE_S: Final = 2e-4
_SAMPLES: Final = 5
_MOST: Final = 4096  # the most repeats in one native call


@dataclass(frozen=True)
class Timing:
    """The time of one instruction.

    label: its node. handler: its native function. seconds: the time of one execution with everything in cache. count:
    how often one run executes it, which is more than once in a loop, and never in a branch that is not taken.
    """

    label: str
    handler: str
    seconds: float
    count: int = 1


def profile(program: Program, inputs: tuple[Array, ...], outputs: tuple[Array, ...]) -> list[Timing]:
    """Run a program on arrays that fit it, on the caller's thread, and return the timings in order.

    Instructions that only decide which one comes next are left out.
    """
    frame = CallFrame(program)
    counts, jumps = _counted(frame, inputs, outputs)
    return [
        Timing(label, name, _seconds(frame, i, inputs, outputs) if counts[i] else 0.0, int(counts[i]))
        for i, (label, name) in enumerate(zip(program.labels, program.names, strict=True))
        if not jumps[i] and name != find("land", "int64").name
    ]


def _counted(frame: CallFrame, inputs: tuple[Array, ...], outputs: tuple[Array, ...]) -> tuple[Array, Array]:
    """Return, for each instruction, how often a run executes it, and whether it decides what comes next."""
    words = frame.program.words.copy()
    heads = words[PROGRAM.heads :][: HEAD.words * words[PROGRAM.count]].reshape(-1, HEAD.words)
    heads[:, HEAD.after] |= COUNTS
    with frame.instead(words):
        for _ in (0, 1):  # once in each parity: after that, all addresses are set
            heads[:, HEAD.count] = 0
            while (code := frame.call(frame.ticket, inputs, outputs)) == PAUSED:
                pass
            if code:
                frame.raise_for(code)
    return heads[:, HEAD.count], (heads[:, HEAD.after] & JUMPS) != 0


def _seconds(frame: CallFrame, number: int, inputs: tuple[Array, ...], outputs: tuple[Array, ...]) -> float:
    repeats = 8
    best = np.inf

    def taken() -> float:
        start = time.perf_counter()
        frame.call(frame.ticket, inputs, outputs)
        return time.perf_counter() - start

    while True:
        words = _repeated(frame.program.words, number, repeats)
        with frame.instead(words):
            if taken() >= _SAMPLE_S or repeats >= _MOST:
                for _ in range(_SAMPLES):
                    best = min(best, taken() / repeats)
                return best
        repeats = min(_MOST, repeats * 4)


def _repeated(words: NDArray[np.int64], number: int, repeats: int) -> NDArray[np.int64]:
    """Return the words of a program that repeats one instruction `repeats` times."""
    behind = PROGRAM.heads + HEAD.words * words[PROGRAM.count]
    head = words[PROGRAM.heads : behind].reshape(-1, HEAD.words)[number].copy()
    head[HEAD.operands] += HEAD.words * (repeats - words[PROGRAM.count])
    return np.concatenate([np.array([repeats], np.int64), np.tile(head, repeats), words[behind:]])

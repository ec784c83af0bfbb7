"""How long each instruction of a program takes: each again and again, on what the ones before it left."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fastgru.engine.program import Frame, Program
from fastgru.kernels.run import HEAD_WORDS, runner

__all__ = ["Timing", "profile"]

_SAMPLE_S: Final = 2e-4
_SAMPLES: Final = 5
_MOST: Final = 4096  # repeats in one native call


@dataclass(frozen=True)
class Timing:
    """One instruction: the node it is for, its native function, seconds of one execution with everything in cache."""

    label: str
    handler: str
    seconds: float


def profile(frame: Frame) -> list[Timing]:
    """The timings of `frame`'s program, in order. Inputs and outputs must be bound; it runs on the caller's thread."""
    frame.run()
    program = frame.program
    return [
        Timing(label, name, _seconds(frame, program, i))
        for i, (label, name) in enumerate(zip(program.labels, program.names, strict=True))
    ]


def _seconds(frame: Frame, program: Program, number: int) -> float:
    repeats, run = 8, runner()
    best = np.inf
    while True:
        words = _repeated(program.words, number, repeats)
        start = time.perf_counter()
        run(words.ctypes.data, frame.bases_at)
        taken = time.perf_counter() - start
        if taken >= _SAMPLE_S or repeats >= _MOST:
            break
        repeats = min(_MOST, repeats * 4)
    for _ in range(_SAMPLES):
        start = time.perf_counter()
        run(words.ctypes.data, frame.bases_at)
        best = min(best, (time.perf_counter() - start) / repeats)
    return best


def _repeated(words: NDArray[np.int64], number: int, repeats: int) -> NDArray[np.int64]:
    """A program of one instruction, `repeats` times over."""
    count = int(words[0])
    head = words[1 + HEAD_WORDS * number : 1 + HEAD_WORDS * (number + 1)].copy()
    operands = words[1 + HEAD_WORDS * count :]
    head[1] += HEAD_WORDS * (repeats - count)
    return np.concatenate([np.array([repeats], np.int64), np.tile(head, repeats), operands])

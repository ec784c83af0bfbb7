"""One native call that carries out a whole program.

    words: [count, then (handler address, first operand) for each instruction, then the operands]

The caller's addresses of inputs and outputs are written into `bases` before the call; `bases[STATUS]` points to the
status words. The first instruction that fails ends the run and its number is left in the last status word.
"""

from __future__ import annotations

import functools
from typing import Any

from numba import njit

from fastgru.kernels.registry import STATUS, STATUS_WORDS
from fastgru.simd.cache import CompiledCache
from fastgru.simd.memory import call_handler, offset, pointer

__all__ = ["runner"]


def _execute(words, bases):  # type: ignore[no-untyped-def]
    instructions, table = pointer(words, "int64"), pointer(bases, "int64")
    status = pointer(table[STATUS], "int64")
    status[0] = 0
    team = offset(status, STATUS_WORDS)
    for i in range(instructions[0]):
        call_handler(instructions[1 + 2 * i], offset(instructions, instructions[2 + 2 * i]), table, team)
        if status[0] != 0:
            status[STATUS_WORDS - 1] = i
            break
    return status[0]


@functools.cache
def runner() -> Any:
    """The compiled loop, int64(words address, bases address); compiled or read from the cache at the first use."""
    dispatcher = njit(nogil=True, error_model="numpy", boundscheck=False)(_execute)
    dispatcher._cache = CompiledCache(_execute)
    dispatcher.compile("int64(int64, int64)")
    return dispatcher

"""Words of a run: what its threads share, what each has, what the caller reports and learns."""

from __future__ import annotations

from typing import Final

from fastgru.simd.sizes import CPU_WORDS

__all__ = [
    "ALLOWED", "CODE", "CONTROL_WORDS", "CORE", "FIRST", "INSTRUCTION", "LOOK_BY", "LOOK_WORK", "MASK", "MEMBERS",
    "MEMBER_WORDS", "MODE", "NUMBER", "PROCESS", "SECOND", "SHARED", "SINCE", "STATE", "STATUS_WORDS", "TEAM",
    "TEAM_WORDS", "THREAD", "WALK", "step_work",
]  # fmt: skip

# Of a team, as one member sees it: its own number, how many there are, the address of what they share, the way round in
# which weights are walked first (0 or 1, so that successive calls can take turns), and the address of
# `kernels.entries.look` for the member that looks out for signals, else 0. Every team is followed by a team of one, for
# those who have an instruction to themselves.
NUMBER, MEMBERS, SHARED, WALK, LOOK_BY = range(5)
TEAM_WORDS: Final = 5

# Of a member: its team, a team of one, then the system's number of its thread and the core it was last on.
MEMBER_WORDS: Final = 2 * TEAM_WORDS + 2
THREAD, CORE = 2 * TEAM_WORDS, 2 * TEAM_WORDS + 1

# Of a run: why it ends early (0: it does not; a code of `kernels.table.FAILURES`) with two numbers for the message and
# the instruction; then, for `look`, the state of the caller's thread, when the look-out began in milliseconds, the
# caller's mode of the floating-point unit, and the addresses of `process.process` and of the caller's team.
CODE, FIRST, SECOND, INSTRUCTION, STATE, SINCE, MODE, PROCESS, TEAM = range(9)
STATUS_WORDS: Final = 9

# Of all members: the program and its addresses, then the cores that the threads may use and room for a mask of them.
ALLOWED: Final = 2
MASK: Final = ALLOWED + CPU_WORDS
CONTROL_WORDS: Final = MASK + CPU_WORDS

# A look at signals comes after work of so many multiplications and additions: about a millisecond of a slow core.
LOOK_WORK: Final = 1 << 24
_STEP_WORK: Final = 2048  # what one step of a network costs beyond its products


def step_work(N: int, work: int) -> int:
    """What a step counts as that takes `work` multiplications for each of N rows."""
    return _STEP_WORK + N * (work + 512)

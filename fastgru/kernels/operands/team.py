"""The words of a run: those that its threads share, those of each thread, and those that report to the caller."""

from typing import Final

from fastgru.kernels.operands.declare import places
from fastgru.simd.sizes import CPU_WORDS

__all__ = ["ASLEEP", "AWAKE", "CALLED", "CONTROL", "LOOK_WORK", "MEMBER", "STATUS", "TEAM", "step_work"]

# A team, as one member sees it. number: the member's own. members: how many there are. shared: the address of the words
# that all share. parity: that of the call, which decides from which end panels are read first. look: the address of
# `kernels.entries.look` for the member that handles signals, 0 for others.
TEAM: Final = places("number members shared parity look")

# A member. team: its team. alone: a team of one, for instructions that it carries out alone. thread: the system's
# number of its thread. core: the core that it was last on. Of a worker only: wake is `AWAKE`, `CALLED` or `ASLEEP`;
# program and bases are the addresses for which it is called; spin is the nanoseconds for which it spins for another
# call afterwards. These words take 128 bytes, so members share no cache line.
MEMBER: Final = places("team alone thread core wake program bases spin", team=TEAM.words, alone=TEAM.words)
AWAKE: Final = 0  # running, or spinning for a call
CALLED: Final = 1  # called, but it has not seen the call yet
ASLEEP: Final = 2  # asleep on its lock, or about to be

# A run. code: why it ends early, one of `kernels.table.FAILURES`, or 0. first, second, instruction: two numbers for the
# message, and the instruction. For `look`: the state of the caller's thread, the time of the last look for signals in
# nanoseconds, the caller's mode of the floating-point unit, and the addresses of `process.process` and of the caller's
# team. For loops and branches: the next instruction, the one that the run starts with, the iterations so far, and the
# rows that the last loop has stacked. own: the words of the only member of a run without a team.
STATUS: Final = places(
    "code first second instruction state since mode process team next start iterations rows own", own=MEMBER.words
)

# Words of all members: the core of the caller, a mask of the cores that the threads may use, and room for another mask.
CONTROL: Final = places("core allowed mask", allowed=CPU_WORDS, mask=CPU_WORDS)

# A run looks for signals after this many multiply-adds, about a millisecond of a slow core.
LOOK_WORK: Final = 1 << 24
_STEP_WORK: Final = 2048  # the work of a step beyond its GEMMs


def step_work(N: int, work: int) -> int:
    """Return the work of a step that takes `work` multiplications for each of N rows."""
    return _STEP_WORK + N * (work + 512)

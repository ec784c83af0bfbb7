"""Words of a run: what its threads share, what each has, what the caller reports and learns."""

from typing import Final

from fastgru.kernels.operands.declare import places
from fastgru.simd.sizes import CPU_WORDS

__all__ = ["ASLEEP", "AWAKE", "CALLED", "CONTROL", "LOOK_WORK", "MEMBER", "STATUS", "TEAM", "step_work"]

# Of a team, as one member sees it: its own number, how many there are, the address of what they share, the parity of
# the call, which says from which end panels of weights are read first, and the address of `kernels.entries.look` for
# the member that looks out for signals, else 0.
TEAM: Final = places("number members shared parity look")

# Of a member: its team, a team of one for instructions that it has to itself, then the system's number of its thread
# and the core it was last on; of a worker, whether it is `AWAKE`, `CALLED` or `ASLEEP`, the addresses of the program
# that it is called for and of its bases, and for how many nanoseconds it looks out for another call afterwards. These
# words are 128 bytes, so that who is told something shares no cache line with the others.
MEMBER: Final = places("team alone thread core wake program bases spin", team=TEAM.words, alone=TEAM.words)
AWAKE: Final = 0  # at work, or looking out for a call
CALLED: Final = 1  # and has not seen it yet
ASLEEP: Final = 2  # on its lock, or about to be

# Of a run: why it ends early (0: it does not; a code of `kernels.table.FAILURES`) with two numbers for the message and
# the instruction; then, for `look`, the state of the caller's thread, when the look-out began in nanoseconds, the
# caller's mode of the floating-point unit, and the addresses of `process.process` and of the caller's team; then, of
# loops and branches, the instruction that comes next, the one that the run starts with, the iterations so far, and the
# rows that the last one of them has stacked; then the words of the only member, for a run without a team.
STATUS: Final = places(
    "code first second instruction state since mode process team next start iterations rows own", own=MEMBER.words
)

# Of all members: the core that the caller is on, then the cores that the threads may use and room for a mask of them.
CONTROL: Final = places("core allowed mask", allowed=CPU_WORDS, mask=CPU_WORDS)

# A look at signals comes after work of so many multiplications and additions: about a millisecond of a slow core.
LOOK_WORK: Final = 1 << 24
_STEP_WORK: Final = 2048  # what one step of a network costs beyond its products


def step_work(N: int, work: int) -> int:
    """What a step counts as that takes `work` multiplications for each of N rows."""
    return _STEP_WORK + N * (work + 512)

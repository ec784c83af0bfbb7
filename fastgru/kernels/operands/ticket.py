"""The words of a ticket, with which `kernels.entries.run_alone` runs a program; those of a state and of a team."""

from typing import Final

from fastgru.kernels.operands.declare import places

__all__ = ["ARRAY", "BANKS", "REPORT", "ROSTER", "STATE", "TICKET"]

# A state. parity: the present one of its two banks, 0 or 1. busy: the number of the process that runs with it, 0 for
# none. version: how often it has changed. arrays: `BANKS` for each array, then a 0. `BANKS`: the addresses of an array
# in both banks, and its bytes.
STATE: Final = places("parity busy version arrays", arrays=0)
BANKS: Final = places("even odd nbytes")

# A ticket: the addresses of the state, of the bases of parity 0 and 1, and of the program's words; id(tuple); the
# numbers of inputs and outputs; the `REPORT` of the last run, in which all but `rows` is set only by a failure; then
# `ARRAY` for each array, inputs first: its index in the bases, the address of what it must match
# (`simd.ndarray.expectation`), and its bytes.
REPORT: Final = places("code first second instruction rows")
TICKET: Final = places("state bases program tuple inputs outputs report arrays", bases=2, report=REPORT.words, arrays=0)
ARRAY: Final = places("base expected nbytes")

# A team, for its callers. busy: the number of the process that runs on it. size: its members. control, members: the
# addresses of the words that all share, and of those of each. missed: the time, in nanoseconds, at which the last call
# that would have used it awake has ended without it. late: the time at which such a call had to wait for a member
# without a core, 0 for not lately. locks: for every member the address of the lock that it sleeps on.
ROSTER: Final = places("busy size control members missed late locks", locks=0)

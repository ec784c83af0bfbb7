"""Words of a ticket: what `kernels.entries.run_alone` needs to know of a program's caller; of a state; of a team."""

from typing import Final

from fastgru.kernels.operands.declare import places

__all__ = ["ARRAY", "BANKS", "REPORT", "ROSTER", "STATE", "TICKET"]

# Of a state: which of its two banks is the present one (0 or 1), who runs (the number of the process, 0: nobody), how
# often it has changed; then `BANKS` for each array, and a 0: its addresses in both banks and its bytes.
STATE: Final = places("parity busy version arrays", arrays=0)
BANKS: Final = places("even odd nbytes")

# Of a ticket: the address of the state, those of the bases of parity 0 and 1, the program's words, id(tuple), the
# numbers of inputs and outputs; the `REPORT` of a run, of which all but `rows` is of one that failed; then `ARRAY` for
# each array, inputs first: its index in the bases, the address of what it must be (`simd.ndarray.expectation`), and its
# bytes.
REPORT: Final = places("code first second instruction rows")
TICKET: Final = places("state bases program tuple inputs outputs report arrays", bases=2, report=REPORT.words, arrays=0)
ARRAY: Final = places("base expected nbytes")

# Of a team, for who calls it: who runs, its size, the addresses of what all members share and of the words of each;
# of calls that want it awake, in nanoseconds, when the last one has ended without it, and when the last one had to wait
# for a member that had no core (0: not lately); then for every member the address of the lock that it sleeps on.
ROSTER: Final = places("busy size control members missed late locks", locks=0)

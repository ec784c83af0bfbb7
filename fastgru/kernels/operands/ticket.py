"""Words of a ticket: what `kernels.entries.run_alone` needs to know of a program's caller; of a team; of a state."""

from __future__ import annotations

from typing import Final

__all__ = [
    "ARRAY_WORDS", "BANKS", "BASES", "BASES_INDEX", "BUSY", "EXPECTED", "INPUTS", "NBYTES", "OUTPUTS", "PROGRAM",
    "REPORT", "STATE_OF", "STATE_WORDS", "TEAM_BUSY", "TEAM_CONTROL", "TEAM_HEAD", "TEAM_MEMBERS", "TEAM_SIZE",
    "TICKET_HEAD", "TUPLE", "TURN", "VERSION",
]  # fmt: skip

# Of a state: which of its two banks is the present one, who runs (the number of the process, 0: nobody), how often it
# has changed; then for each array its addresses in both banks and its bytes.
TURN, BUSY, VERSION, BANKS = range(4)
STATE_WORDS: Final = 3  # of an array

# Of a ticket: the address of the state, those of the bases of turn 0 and 1, the program's words, id(tuple), the numbers
# of inputs and outputs; the code of a run that failed, two numbers and the instruction; then for each array, inputs
# first, its index in the bases, the address of what it must be (`simd.ndarray.expectation`), and its bytes.
STATE_OF, BASES, PROGRAM, TUPLE, INPUTS, OUTPUTS, REPORT = 0, 1, 3, 4, 5, 6, 7
TICKET_HEAD: Final = 11
BASES_INDEX, EXPECTED, NBYTES = range(3)
ARRAY_WORDS: Final = 3

# Of a team: who runs, its size, the addresses of what all members share and of the words of each; then for every member
# the address of the lock that it sleeps on.
TEAM_BUSY, TEAM_SIZE, TEAM_CONTROL, TEAM_MEMBERS = range(4)
TEAM_HEAD: Final = 4

"""The layout of the words that threads share, for the code that uses them and the code that allocates them."""

from typing import Final

__all__ = ["COUNT", "CPU_WORDS", "GENERATION", "LATE", "SHARED_WORDS", "VERDICT"]

SHARED_WORDS: Final = 32
COUNT: Final = 0  # the number of members that have arrived
GENERATION: Final = 16  # 128 bytes after the count: two cache lines, the unit of the adjacent-line prefetcher
VERDICT: Final = GENERATION + 1  # the value that the members got at their last meeting
LATE: Final = GENERATION + 2  # not 0 if a member had to wait for its core: nobody came, or other threads had it

CPU_WORDS: Final = 16  # of a mask of 1024 cores, the size of the C library's

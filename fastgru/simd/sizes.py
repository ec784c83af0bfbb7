"""Words of what threads share, for those who compile it and those who allocate it."""

from typing import Final

__all__ = ["COUNT", "CPU_WORDS", "GENERATION", "LATE", "SHARED_WORDS", "VERDICT"]

SHARED_WORDS: Final = 32
COUNT: Final = 0  # how many members have come
GENERATION: Final = 16  # 128 bytes after the count: two cache lines, as the adjacent-line prefetcher sees them
VERDICT: Final = GENERATION + 1  # what the members were told when they met last
LATE: Final = GENERATION + 2  # not 0 where a member had to wait for its core: nobody came, or others had it

CPU_WORDS: Final = 16  # of a mask of cores: 1024, as the C library has it

"""Words of a team of threads and of its members."""

from __future__ import annotations

from typing import Final

__all__ = ["CORE", "MEMBER_WORDS", "TEAM_WORDS", "THREAD"]

# Own number, members, address of the shared words, walk (0 or 1: the way round that the weights are walked first, so
# that successive calls can take turns). Every team is followed by a team of one, for those who
# have an instruction to themselves.
TEAM_WORDS: Final = 4

# Of a member: its team, a team of one, then the system's number of its thread and the core it was last on.
MEMBER_WORDS: Final = 2 * TEAM_WORDS + 2
THREAD, CORE = 2 * TEAM_WORDS, 2 * TEAM_WORDS + 1

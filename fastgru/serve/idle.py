"""Idle sessions: when to check each session, and which ones have ended, so that later requests can be told."""

import heapq
from collections import OrderedDict
from collections.abc import Iterator
from itertools import count
from typing import Final

from fastgru.serve.ids import Id
from fastgru.serve.session import Session

__all__ = ["Idle"]

_MOST_ENDED: Final = 64  # entries of ended sessions that may stay in the heap, in addition to one per live session
_REMEMBERED_NS: Final = 3_600_000_000_000  # how long it is remembered that an idle session was ended

Owner = tuple[Id, str | None]


class Idle:
    """The idle times of one model's sessions.

    lives_ns: how long an unused session lives. ended: how many sessions have ended for being idle.
    """

    def __init__(self, lives_ns: int) -> None:
        self.lives_ns, self.ended, self._order = lives_ns, 0, count()
        self._looks: list[tuple[int, int, Session]] = []  # a heap by the time of the next check
        self._gone: OrderedDict[Owner, int] = OrderedDict()  # when each idle session was ended

    def enter(self, session: Session, live: int) -> None:
        """Watch a new session. live: how many sessions live now."""
        if len(self._looks) > 2 * live + _MOST_ENDED:
            self._looks = [entry for entry in self._looks if not entry[2].ended]
            heapq.heapify(self._looks)
        heapq.heappush(self._looks, (session.last_used_ns + self.lives_ns, next(self._order), session))

    def due(self, now: int) -> Iterator[Session]:
        """Yield sessions that were unused for too long. The caller ends each one before it asks for the next."""
        looks = self._looks
        while looks and looks[0][0] <= now:
            _, order, session = heapq.heappop(looks)
            if session.ended:
                continue
            due = (now if session.busy else session.last_used_ns) + self.lives_ns
            if due > now:
                heapq.heappush(looks, (due, order, session))
            else:
                yield session

    def next_s(self, now: int) -> float | None:
        """Return in how many seconds the next check is due, or None if there are no sessions."""
        return (self._looks[0][0] - now) / 1e9 if self._looks else None

    def end(self, owner: Owner, now: int) -> None:
        """Remember that a session has ended for being idle."""
        self.ended += 1
        self._gone[owner] = now

    def forget(self, owner: Owner) -> None:
        """Forget that a session of this owner has ended, because there is a new one."""
        self._gone.pop(owner, None)

    def forget_old(self, now: int, most: int) -> None:
        """Forget sessions that ended too long ago, and the oldest ones beyond `most`."""
        gone = self._gone
        while gone and (len(gone) > most or now - next(iter(gone.values())) > _REMEMBERED_NS):
            gone.popitem(last=False)

    def has_ended(self, owner: Owner, now: int) -> bool:
        """Return whether this owner's session is known to have ended for being idle."""
        gone = self._gone.get(owner)
        return gone is not None and now - gone < _REMEMBERED_NS

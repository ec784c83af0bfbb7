"""Sessions that nobody uses: when to look at each, and which have ended for that, so that whoever asks is told."""

import heapq
from collections import OrderedDict
from collections.abc import Iterator
from itertools import count
from typing import Final

from fastgru.serve.ids import Id
from fastgru.serve.session import Session

__all__ = ["Idle"]

_MOST_ENDED: Final = 64  # entries of sessions that have ended, above as many as live, that may wait to be looked at
_REMEMBERED_NS: Final = 3_600_000_000_000  # for how long a session that was idle is known to have ended

Owner = tuple[Id, str | None]


class Idle:
    """Of the sessions of one name. lives_ns: for how long one lives that nobody uses. ended: how many have ended so."""

    def __init__(self, lives_ns: int) -> None:
        self.lives_ns, self.ended, self._order = lives_ns, 0, count()
        self._looks: list[tuple[int, int, Session]] = []  # a heap: when to look at each again
        self._gone: OrderedDict[Owner, int] = OrderedDict()  # ended for being idle, and when

    def enter(self, session: Session, live: int) -> None:
        """It lives from now on, as one of so many."""
        if len(self._looks) > 2 * live + _MOST_ENDED:
            self._looks = [entry for entry in self._looks if not entry[2].ended]
            heapq.heapify(self._looks)
        heapq.heappush(self._looks, (session.last_used_ns + self.lives_ns, next(self._order), session))

    def due(self, now: int) -> Iterator[Session]:
        """Those that nobody has used for too long; each is to end before the next is asked for."""
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
        """In how many seconds to look at the next; None where there is none."""
        return (self._looks[0][0] - now) / 1e9 if self._looks else None

    def end(self, owner: Owner, now: int) -> None:
        """One has ended for being idle."""
        self.ended += 1
        self._gone[owner] = now

    def forget(self, owner: Owner) -> None:
        """There is one of this id again."""
        self._gone.pop(owner, None)

    def forget_old(self, now: int, most: int) -> None:
        """Remember the newest of those that have ended, so many at most."""
        gone = self._gone
        while gone and (len(gone) > most or now - next(iter(gone.values())) > _REMEMBERED_NS):
            gone.popitem(last=False)

    def has_ended(self, owner: Owner, now: int) -> bool:
        """Whether it is remembered that this one has."""
        gone = self._gone.get(owner)
        return gone is not None and now - gone < _REMEMBERED_NS

"""Connections that are not read for a while, because the server had no time for their last requests.

Refusing a request takes the event loop about as long as answering one. If clients ask for twice what the server can do,
and retry at once, reading every request would leave no time to answer any. So a connection whose last request was
refused for lack of time rests: its next request is not read for a while. Resting connections are read again one after
the other, so slowly that their requests take only a small share of the time even if all are refused again, and that the
load of each is seen before many more are read. As soon as the loop is idle, they are read again quickly.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

from fastgru.serve.errors import ServeError
from fastgru.serve.load import Load

__all__ = ["Line", "Resting"]

_SHARE: Final = 0.05  # the share of the time for requests of resting connections
_REQUESTS: Final = 2  # of a connection that is read again: the one that has waited, and the next, which may be refused
_REASONS: Final = ("overload", "deadline")


class Line(Protocol):
    """A connection. unread_ns: since when a request that is read now may have lain unread; 0 if it has just come."""

    transport: Any
    unread_ns: int

    def rest(self) -> None:
        """Stop reading."""

    def wake(self) -> None:
        """Read again."""


class Resting:
    """The resting connections of one loop. load: has the cost of a request. clock: returns nanoseconds."""

    __slots__ = ("_burst", "_clock", "_lines", "_load", "_looked", "_since_ns", "_woken")

    def __init__(self, load: Load, clock: Callable[[], int]) -> None:
        self._load, self._clock = load, clock
        self._lines: deque[Line] = deque()
        # Connections that were woken at the end of the last iteration, and of the one before, and their `unread_ns`.
        # uvloop looks for requests after it has run what was scheduled, asyncio before: after two, both have looked.
        self._woken: list[tuple[Line, int]] = []
        self._looked: list[tuple[Line, int]] = []
        self._since_ns = 0  # from when on the time counts of which a share is due
        self._burst = 0  # how many connections were woken together because the loop was idle

    def __len__(self) -> int:
        return len(self._lines) + len(self._woken) + len(self._looked)

    def waited_ns(self, line: Line) -> int:
        """Return how long the request that was just read from a connection may have lain unread while it rested."""
        since, line.unread_ns = line.unread_ns, 0
        return self._clock() - since if since else 0

    def refused(self, line: Line, error: ServeError) -> None:
        """Rest a connection if its request was refused because the loop had no time.

        This is not for a request that waited while the connection rested: the next one gets its chance.
        """
        if not self._load.is_behind or error.reason not in _REASONS or line.transport.is_closing():
            return
        now = self._clock()
        if not self._lines:
            self._since_ns = now
        line.rest()
        line.unread_ns = now
        self._lines.append(line)

    def end_iteration(self, now: int) -> bool:
        """Read some connections again, because the loop is about to look for requests.

        Returns whether the loop has yet to look at some of them.
        """
        for line, since in self._looked:
            if line.unread_ns == since:
                line.unread_ns = 0
        self._looked, self._woken = self._woken, []
        cost = _REQUESTS * self._load.besides_ns / _SHARE
        count = int((now - self._since_ns) / cost)
        self._since_ns += int(count * cost)
        # Nobody may have to wait for a share of the time while there is plenty of it.
        self._burst = (2 * self._burst or 1) if self._load.is_idle(now) else 0
        self._wake(max(count, self._burst))
        return bool(self._woken or self._looked)

    def end(self) -> None:
        """Read all connections again."""
        self._wake(len(self._lines))

    def _wake(self, most: int) -> None:
        for _ in range(min(most, len(self._lines))):
            line = self._lines.popleft()
            if not line.transport.is_closing():
                line.wake()
                self._woken.append((line, line.unread_ns))

"""Connections that are not read for a while, because the server had no time for the request that came last.

A request that is refused takes the event loop about as long as one that is answered. If it read every request of
clients that ask for twice what it can do, and come back at once, it would have no time left to answer any. So the next
request of a connection whose last one came too late is not read before the turn of that connection comes. One after the
other gets its turn, so slowly that their requests take a small share of the time if all of them are refused again, and
that what each brings with it is seen before many more are there.
"""

from collections import deque
from typing import Any, Final, Protocol

from fastgru.serve.errors import ServeError
from fastgru.serve.load import Load

__all__ = ["Line", "Resting"]

_SHARE: Final = 0.05  # of the time, for the requests of those that rest
_REASONS: Final = ("overload", "deadline")


class Line(Protocol):
    """A connection. unread_ns: since when it has not been read; 0 where what it sends is read as it comes."""

    transport: Any
    unread_ns: int


class Resting:
    """Those of one loop. load: tells what a request costs."""

    __slots__ = ("_lines", "_load", "_since_ns", "_woken")

    def __init__(self, load: Load) -> None:
        self._load = load
        self._lines: deque[Line] = deque()
        self._woken: list[Line] = []
        self._since_ns = 0  # when connections were last woken

    def __len__(self) -> int:
        return len(self._lines) + len(self._woken)

    def refused(self, line: Line, error: ServeError, now: int) -> None:
        """A request was. Where the loop had no time for it, the connection is not read for a while.

        A request that had waited all the while does not count: the one after it gets its chance.
        """
        short = self._load.is_behind and error.reason in _REASONS
        if not short or line.unread_ns or line.transport.is_closing():
            return
        if not self._lines:
            self._since_ns = now
        line.transport.pause_reading()
        line.unread_ns = now
        self._lines.append(line)

    def turns(self, now: int) -> bool:
        """The loop is about to look what has come. Whether connections are read again."""
        for line in self._woken:
            line.unread_ns = 0
        self._woken.clear()
        count = int(_SHARE * (now - self._since_ns) / self._load.besides_ns)
        if count:
            self._since_ns = now
            self._wake(count)
        return count > 0

    def end(self) -> None:
        """Read all of them again."""
        self._wake(len(self._lines))

    def _wake(self, most: int) -> None:
        for _ in range(min(most, len(self._lines))):
            line = self._lines.popleft()
            if not line.transport.is_closing():
                line.transport.resume_reading()
                self._woken.append(line)

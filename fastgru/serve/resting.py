"""Connections that are not read for a while, because the server had no time for their last requests.

Refusing a request takes the event loop about as long as answering one. If clients ask for twice what the server can do,
and retry at once, reading every request would leave no time to answer any. So a connection whose last request was
refused for lack of time rests: its next request is not read for a while. Resting connections are read again one after
the other, so slowly that their requests take only a small share of the time even if all are refused again, and that the
load of each is seen before many more are read.
"""

from collections import deque
from typing import Any, Final, Protocol

from fastgru.serve.errors import ServeError
from fastgru.serve.load import Load

__all__ = ["Line", "Resting"]

_SHARE: Final = 0.05  # the share of the time for requests of resting connections
_REASONS: Final = ("overload", "deadline")


class Line(Protocol):
    """A connection. unread_ns: since when it has not been read; 0 if it is being read."""

    transport: Any
    unread_ns: int


class Resting:
    """The resting connections of one loop. load: has the cost of a request."""

    __slots__ = ("_lines", "_load", "_since_ns", "_woken")

    def __init__(self, load: Load) -> None:
        self._load = load
        self._lines: deque[Line] = deque()
        self._woken: list[Line] = []
        self._since_ns = 0  # when connections were last woken

    def __len__(self) -> int:
        return len(self._lines) + len(self._woken)

    def refused(self, line: Line, error: ServeError, now: int) -> None:
        """Rest a connection if its request was refused because the loop had no time.

        A request that waited while the connection rested does not count: the next one gets its chance.
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
        """Read some connections again, because the loop is about to look for requests; return whether there are any."""
        for line in self._woken:
            line.unread_ns = 0
        self._woken.clear()
        count = int(_SHARE * (now - self._since_ns) / self._load.besides_ns)
        if count:
            self._since_ns = now
            self._wake(count)
        return count > 0

    def end(self) -> None:
        """Read all connections again."""
        self._wake(len(self._lines))

    def _wake(self, most: int) -> None:
        for _ in range(min(most, len(self._lines))):
            line = self._lines.popleft()
            if not line.transport.is_closing():
                line.transport.resume_reading()
                self._woken.append(line)

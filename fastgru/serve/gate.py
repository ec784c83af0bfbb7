"""What the connections of a server share: the limits, the counts against them, and the timer for slow clients.

One timer checks all connections about once a second, so that a request needs no timer of its own.
"""

import asyncio
from collections import Counter
from email.utils import formatdate
from typing import Any, Final, Protocol

from fastgru.serve.log import Refusals
from fastgru.serve.settings import Settings

__all__ = ["Connection", "Gate"]

_SWEEP_SECONDS: Final = 1.0


class Connection(Protocol):
    """A connection with a time limit.

    since: when its current activity began, by `Gate.now`. limit: how many seconds the activity may take.
    """

    since: float
    limit: float

    def expire(self) -> None:
        """Handle an activity that has taken too long."""


class Gate:
    """The gate of one server, used by the thread of the event loop.

    now: the loop's clock when the gate last looked. date: the header Date, ready to be sent. in_flight: bytes of
    unanswered bodies. unread: bytes of answers that gRPC clients have not taken. refused: counts by reason. accepted:
    how many connections there have been. connections: those of HTTP and gRPC. lines: the headers of the last answer
    that repeats, the date at that time, and both as they are sent.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.now, self.date, self.in_flight, self.unread, self.accepted = 0.0, _date(), 0, 0, 0
        self.lines: tuple[Any, bytes, bytes] = (None, b"", b"")
        self.refused: Counter[str] = Counter()
        self._last: dict[str, str] = {}
        self._refusals = Refusals(self.refused, self._last)
        self.connections: set[Connection] = set()
        self._addresses: Counter[str] = Counter()
        self._upgraded: dict[asyncio.BaseTransport, str] = {}
        self._interval = min(_SWEEP_SECONDS, settings.deadline_seconds / 4, settings.keep_alive_seconds / 4)
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to check the connections; called on the thread of the event loop."""
        self._sweep()

    def stop(self) -> None:
        """Stop checking the connections."""
        if self._timer is not None:
            self._timer.cancel()

    def refuse(self, reason: str, what: str = "") -> None:
        """Count a refused request or connection. what: what was asked for, and by whom."""
        self.refused[reason] += 1
        if what:
            self._last[reason] = what

    def enters(self, address: str) -> bool:
        """Count a connection of this address, and return whether it may be served; "" stands for a Unix socket."""
        if address and self._addresses[address] >= self.settings.max_connections_per_address:
            self._forget_closed()
            if self._addresses[address] >= self.settings.max_connections_per_address:
                return False
        self.accepted += 1
        self._addresses[address] += 1
        return True

    def leaves(self, address: str) -> None:
        """Stop counting a connection that has entered and is over."""
        self._addresses[address] -= 1
        if not self._addresses[address]:
            del self._addresses[address]

    def upgraded(self, transport: asyncio.BaseTransport, address: str) -> None:
        """Count a connection that has become a WebSocket until its transport closes."""
        self._upgraded[transport] = address

    @property
    def open(self) -> int:
        """The number of all connections, upgraded ones included."""
        return self._addresses.total()

    @property
    def websockets(self) -> int:
        """The number of upgraded connections."""
        return len(self._upgraded)

    def _forget_closed(self) -> None:
        for transport in [transport for transport in self._upgraded if transport.is_closing()]:
            self.leaves(self._upgraded.pop(transport))

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        self.now = now = loop.time()
        self.date = _date()
        # `since` may be up to an interval too old: with this allowance, no connection is ended early.
        late = [each for each in self.connections if now - each.since > each.limit + self._interval]
        for connection in late:
            connection.expire()
        self._refusals.look(now)
        self._forget_closed()
        self._timer = loop.call_later(self._interval, self._sweep)


def _date() -> bytes:
    return b"date: %s\r\n" % formatdate(usegmt=True).encode()

"""What the connections of a server have in common: the limits, what counts against them, and the clock of slow clients.

One timer looks after all connections about once a second, so that a request costs no timer of its own.
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
    """since: when what it is doing began, by `Gate.now`. limit: for how many seconds it may go on."""

    since: float
    limit: float

    def expire(self) -> None:
        """It has taken too long."""


class Gate:
    """Of one server. Used by the thread of the event loop.

    now: the loop's clock when the gate last looked. date: the header, ready to be sent. in_flight: bytes of bodies that
    are not answered; unread: of answers that clients of gRPC do not take. refused: how many, by reason. accepted:
    connections so far. connections: those that speak HTTP. lines: the headers of the last answer that repeats, the date
    then, and both as they are sent.
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
        """Look after the connections from now on; called on the thread of the event loop."""
        self._sweep()

    def stop(self) -> None:
        """Look after them no longer."""
        if self._timer is not None:
            self._timer.cancel()

    def refuse(self, reason: str, what: str = "") -> None:
        """A request or a connection is refused. what: it asked for, and who did."""
        self.refused[reason] += 1
        if what:
            self._last[reason] = what

    def enters(self, address: str) -> bool:
        """Whether another connection of this address may be served; "" is the other end of a Unix socket."""
        if address and self._addresses[address] >= self.settings.max_connections_per_address:
            self._forget_closed()
            if self._addresses[address] >= self.settings.max_connections_per_address:
                return False
        self.accepted += 1
        self._addresses[address] += 1
        return True

    def leaves(self, address: str) -> None:
        """A connection that has entered is over."""
        self._addresses[address] -= 1
        if not self._addresses[address]:
            del self._addresses[address]

    def upgraded(self, transport: asyncio.BaseTransport, address: str) -> None:
        """It goes on under another protocol, and counts until its transport closes."""
        self._upgraded[transport] = address

    @property
    def open(self) -> int:
        """Connections, of HTTP and upgraded ones."""
        return self._addresses.total()

    @property
    def websockets(self) -> int:
        """Those that are upgraded."""
        return len(self._upgraded)

    def _forget_closed(self) -> None:
        for transport in [transport for transport in self._upgraded if transport.is_closing()]:
            self.leaves(self._upgraded.pop(transport))

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        self.now = now = loop.time()
        self.date = _date()
        # A time of the last look is up to an interval old: nobody is cut off early.
        late = [each for each in self.connections if now - each.since > each.limit + self._interval]
        for connection in late:
            connection.expire()
        self._refusals.look(now)
        self._forget_closed()
        self._timer = loop.call_later(self._interval, self._sweep)


def _date() -> bytes:
    return b"date: %s\r\n" % formatdate(usegmt=True).encode()

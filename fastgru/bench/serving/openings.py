"""Opens connections, opens them again when they are lost, and counts the frames that are lost with them."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from array import array
from collections import deque
from collections.abc import Sequence
from heapq import heappop, heappush

from fastgru.bench.serving.connection import Connection
from fastgru.bench.serving.link import RefusedError, kind_of
from fastgru.bench.serving.outcome import Outcome
from fastgru.bench.serving.poll import READ, WRITE, poll_over

__all__ = ["Openings"]

_RETRY_NS = 100_000_000  # between two attempts to open a connection that served nothing
_OPENING_NS = 10_000_000_000  # how long an opening may take
_AT_ONCE = 128  # connections that open at the same time, fewer than the backlog of servers


class Openings(ABC):
    """The part of a load that opens connections. shared: the connections have one queue of frames.

    out: the counts of a run. `_go_on` is called with a connection that became ready, once for each frame that it may
        send.
    """

    out: Outcome
    _refusals: array[int]

    def __init__(self, connections: Sequence[Connection], *, shared: bool) -> None:
        self.connections, self.shared = connections, shared
        self._poll = poll_over(len(connections))
        self._down: list[tuple[int, int]] = []  # when to open a connection, and its number
        self._opening: dict[int, int] = {}  # number of a connection, and when its opening began
        self._tried: set[int] = set()  # connections that were open, or could not be opened
        pending: deque[int] = deque()
        for number, connection in enumerate(connections):
            connection.number = number
            if shared:
                connection.queue = pending
            heappush(self._down, (0, number))

    def close(self) -> None:
        for connection in self.connections:
            self._forget(connection)
        self._poll.close()

    @abstractmethod
    def _go_on(self, connection: Connection) -> None:
        """Continue on an open connection that has room for a frame."""

    def _open(self, now: int) -> None:
        """Open the connections that are due, and give up on openings that take too long."""
        for number, began in list(self._opening.items()) if self._opening else ():
            if now - began > _OPENING_NS:
                self._refused(self.connections[number], TimeoutError("no connection within 10 s"))
        while self._down and self._down[0][0] <= now and len(self._opening) < _AT_ONCE:
            connection = self.connections[heappop(self._down)[1]]
            self._opening[connection.number] = now
            try:
                connection.open()
                self._poll.watch(connection, READ | WRITE)
            except OSError as error:
                self._refused(connection, error)

    def _advance(self, connection: Connection) -> None:
        try:
            connection.advance()
        except OSError as error:
            self._refused(connection, error)
            return
        if not connection.ready:
            # A socket that can always be written would wake the loop for nothing.
            self._poll.watch(connection, connection.wants)
            return
        self._opening.pop(connection.number, None)
        self._poll.watch(connection, READ)
        self.out.opened += 1
        self._tried.add(connection.number)
        connection.since = connection.answers
        for _ in range(max(1, min(connection.wire.window, len(connection.queue)))):
            self._go_on(connection)

    def _refused(self, connection: Connection, error: OSError) -> None:
        """Handle a connection that could not be opened, and count the frames that wait for it."""
        self._reopen(connection, _RETRY_NS)
        if isinstance(error, BlockingIOError):
            return  # too many connections at once
        self._tried.add(connection.number)
        kind = f"no upgrade: {error.status}" if isinstance(error, RefusedError) else kind_of(error)
        self.out.broken[kind] += 1
        self.out.examples.setdefault(kind, str(error))
        if not connection.queue or (self.shared and any(c.ready for c in self.connections)):
            return
        frames, now = len(connection.queue), time.perf_counter_ns()
        if isinstance(error, RefusedError):
            for due in connection.queue:
                self.out.refuse(error.status, error.body)
                self._refusals.append(now - due)
        else:
            self.out.lose(kind, frames, str(error))
        connection.queue.clear()

    def _gone(self, connection: Connection, kind: str, example: str) -> None:
        """Count a lost connection and its frames under way. Without such frames, the server may close as it likes."""
        if connection.waiting:
            self.out.broken[kind] += 1
            self.out.lose(kind, len(connection.waiting), example)
        self._reopen(connection, 0 if connection.answers > connection.since else _RETRY_NS)

    def _reopen(self, connection: Connection, wait_ns: int = 0) -> None:
        self._forget(connection)
        connection.forget()
        heappush(self._down, (time.perf_counter_ns() + wait_ns, connection.number))

    def _forget(self, connection: Connection) -> None:
        self._opening.pop(connection.number, None)
        self._poll.forget(connection)
        connection.close()

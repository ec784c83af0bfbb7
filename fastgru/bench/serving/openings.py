"""Connections that are opened, and opened anew when they are lost: what goes with them is counted."""

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

_RETRY_NS = 100_000_000  # between two attempts to open a connection that serves nothing
_OPENING_NS = 10_000_000_000  # how long an opening may take
_AT_ONCE = 128  # connections that are opened at once, fewer than what servers let wait


class Openings(ABC):
    """What a load does about its connections. shared: they have one queue of frames.

    out: what a run counts. `_go_on` is called with a connection that has become ready, once for each frame it may take.
    """

    out: Outcome
    _refusals: array[int]

    def __init__(self, connections: Sequence[Connection], *, shared: bool) -> None:
        self.connections, self.shared = connections, shared
        self._poll = poll_over(len(connections))
        self._down: list[tuple[int, int]] = []  # when to open, and which
        self._opening: dict[int, int] = {}  # which, and when that began
        self._tried: set[int] = set()  # which have been open, or could not be opened
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
        """A connection is open: what comes next on it."""

    def _open(self, now: int) -> None:
        """Open what it is time for, and give up what takes too long."""
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
            # What can be written always is would wake the loop for nothing.
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
        """A connection could not be opened: the frames that wait for it have come to nothing."""
        self._reopen(connection, _RETRY_NS)
        if isinstance(error, BlockingIOError):
            return  # too many at once
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
        """A connection is lost, with what was under way; where that is nothing, the server may close as it likes."""
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

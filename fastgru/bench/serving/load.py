"""The load on connections.

An open loop sends each frame when it is due, and a closed loop when the answer to the frame before has come. The
latency of a frame counts from the moment when it was due, not from when it could be sent, so that a server that stalls
is charged for every frame that had to wait. There is one thread with one selector. Data to send is encoded beforehand,
and the lateness of the loop itself is part of the result. A lost connection loses its frames, which are counted, and is
opened again.
"""

from __future__ import annotations

import json
import time
from array import array
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np

from fastgru.bench.serving.connection import Connection
from fastgru.bench.serving.link import kind_of
from fastgru.bench.serving.openings import Openings
from fastgru.bench.serving.outcome import Outcome
from fastgru.bench.serving.poll import READ, WRITE
from fastgru.bench.serving.schedule import Array
from fastgru.bench.serving.wire import PING, UNASKED, Answer

__all__ = ["Load"]

_SLICE_NS = 50_000_000  # the longest sleep of the loop


class Load(Openings):
    """Runs schedules over connections. A refused frame (not 200) has no latency.

    shared: frames belong to no connection; a frame that is due goes to any free one. stop: called in every iteration;
    True ends the run. Connections are opened here, as far as possible.
    """

    def __init__(
        self, connections: Sequence[Connection], *, shared: bool = False, stop: Callable[[], bool] = lambda: False
    ) -> None:
        super().__init__(connections, shared=shared)
        self._stop = stop
        self._idle: deque[Connection] = deque()
        self._begin(Outcome())
        while not self._stop() and len(self._tried) < len(connections):
            self._turn(1_000_000)

    def open_loop(self, due: Array, who: Array, *, drop: bool = False, grace_s: float = 5.0) -> Outcome:
        """Send frames as they are due. drop: skip a frame whose connection is still busy, as real-time clients do.

        No frame then waits at the client for another one, and latencies count from when a frame was sent.
        """
        out, clock, cpu = self.out, time.perf_counter_ns, time.thread_time()
        count, at = len(due), 0
        base = clock() + 5_000_000
        times, owners = (due + base).tolist(), [self.connections[i] for i in who.tolist()]
        behind = self._behind
        while at < count and not self._stop():
            now = clock()
            while at < count and times[at] <= now:
                moment = times[at]
                behind.append(now - moment)
                self._take_up(owners[at], now if drop else moment, drop)
                at += 1
                if not at & 15:
                    now = clock()
            if at < count:
                self._turn(times[at] - clock())
        out.due = at
        self._drain(grace_s)
        return self._finish(base, times[at - 1] if at else base, cpu)

    def closed_loop(self, seconds: float) -> Outcome:
        """Send the next frame of every connection when the answer to the one before has come."""
        clock, cpu, base = time.perf_counter_ns, time.thread_time(), time.perf_counter_ns()
        self._until = base + int(1e9 * seconds)
        self._idle.clear()
        for connection in self.connections:
            if connection.ready:
                self._send(connection, clock())
        while clock() < self._until and not self._stop():
            self._turn(self._until - clock())
        end, self._until = min(clock(), self._until), 0
        self._drain(5.0)
        self.out.due = self.out.sent
        return self._finish(base, end, cpu)

    def end_sessions(self, wait_s: float = 2.0) -> None:
        """End the sessions properly, so that the server keeps nothing of them."""
        self._drop()
        for connection in self.connections:
            words = connection.wire.farewell(connection.session, connection.frames[0])
            if connection.ready and words and (connection.begun or connection.hello):
                connection.waiting.append(0)
                self._write(connection, connection.wire.framed(words))
        self._drain(wait_s)
        self._begin(Outcome())

    def _begin(self, out: Outcome) -> None:
        self.out, self._until, self._last = out, 0, 0
        self._latencies, self._refusals, self._behind, self._busy = (array("q") for _ in range(4))

    def _finish(self, base: int, end: int, cpu: float) -> Outcome:
        out = self.out
        out.stopped = self._stop()
        out.client_cpu_s = time.thread_time() - cpu
        out.seconds = (max(end, self._last) - base) / 1e9
        out.connections = len(self.connections)
        out.lost += sum(len(c.waiting) for c in self.connections) + self._drop()
        for connection in self.connections:
            if connection.waiting:  # a late answer must not count in the next run
                self._reopen(connection)
        samples = self._latencies, self._refusals, self._behind, self._busy
        out.latencies, out.refusals, out.behind, out.busy = (np.frombuffer(s, np.int64).copy() for s in samples)
        self._begin(Outcome())
        return out

    def _drain(self, seconds: float) -> None:
        """Wait for the answers to the frames under way; only for a moment if the run was stopped."""
        if self._stop():
            seconds = min(1.0, seconds)
            self.out.lost += self._drop()
        end = time.perf_counter_ns() + int(1e9 * seconds)
        while any(c.waiting or c.queue for c in self.connections) and time.perf_counter_ns() < end:
            self._turn(10_000_000)

    def _drop(self) -> int:
        """Drop the frames that could not be sent, and return their number."""
        count = 0
        for connection in self.connections:
            count += len(connection.queue)  # a shared queue is empty after the first connection
            connection.queue.clear()
        return count

    def _take_up(self, connection: Connection, due: int, drop: bool) -> None:
        """Send a frame that is due, or keep it until its connection is free, or until any is if frames are shared."""
        if self.shared:
            while self._idle:
                free = self._idle.popleft()
                if free.ready and not free.waiting:
                    self._send(free, due)
                    return
        elif connection.ready and len(connection.waiting) < connection.wire.window:
            self._send(connection, due)
            return
        if drop:
            self.out.skipped += 1
        else:
            connection.queue.append(due)

    def _send(self, connection: Connection, due: int) -> None:
        connection.send_frame(due)
        self.out.sent += 1
        if connection.unsent:
            self._poll.watch(connection, READ | WRITE)

    def _write(self, connection: Connection, message: bytes) -> None:
        connection.send(message)
        if connection.unsent:
            self._poll.watch(connection, READ | WRITE)

    def _go_on(self, connection: Connection) -> None:
        """Use a connection with room: send a frame that waits for it, or the next one of a closed loop."""
        if not connection.ready:
            return
        if connection.queue:
            self._send(connection, connection.queue.popleft())
        elif self._until and (now := time.perf_counter_ns()) < self._until:
            self._send(connection, now)
        elif self.shared:
            self._idle.append(connection)

    def _turn(self, wait_ns: int) -> None:
        """Wait for answers until something is due, and handle them."""
        events = self._poll.wait(min(wait_ns, _SLICE_NS))
        began = time.perf_counter_ns()
        for connection, mask in events:
            if not connection.ready:
                self._advance(connection)
                continue
            if mask & WRITE:
                connection.flush()
                if not connection.unsent:
                    self._poll.watch(connection, READ)
            if mask & READ:
                self._read(connection)
        if events:
            self._busy.append(time.perf_counter_ns() - began)
        self._open(began)

    def _read(self, connection: Connection) -> None:
        try:
            data = connection.receive()
        except OSError as error:
            self._gone(connection, kind_of(error), str(error))
            return
        if data is None:
            return
        if not data:
            self._gone(connection, "closed before the answer", "the server has closed the connection")
            return
        now = self._last = time.perf_counter_ns()
        data = connection.rest + data if connection.rest else data
        cut = connection.wire.cut
        try:
            while data and (answer := cut(data)):
                data = data[answer[2] :]
                self._take(connection, answer, now)
                if answer[3]:
                    self._gone(connection, "closed before the answer", answer[1][2:].decode(errors="replace"))
                    return
        except (ConnectionError, ValueError) as error:
            self._gone(connection, "no answer of the protocol", str(error))
            return
        if connection.ready:
            connection.rest = data

    def _take(self, connection: Connection, answer: Answer, now: int) -> None:
        status, body, _, closes = answer
        if closes:
            connection.ready = False
        if status == PING:
            self._write(connection, connection.wire.pong(body))
            return
        if status == UNASKED or not connection.waiting:
            self._told(body)
            return
        due = connection.waiting.popleft()
        if status == 200:
            self.out.statuses[200] += 1
            self._latencies.append(now - due)
        else:
            self.out.refuse(status, body)
            self._refusals.append(now - due)
        connection.take(status, body)
        if status == 410 and connection.hello:  # a stream that has ended accepts no more frames
            self._gone(connection, "the session has ended", body.decode(errors="replace"))
        else:
            self._go_on(connection)

    def _told(self, body: bytes) -> None:
        try:
            said = json.loads(body)
        except ValueError:
            return
        if isinstance(said, dict) and said.get("type") == "event":
            self.out.events[str(said.get("event"))] += 1

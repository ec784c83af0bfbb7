"""The load: connections that send frames when they are due, whatever the answers do (an open loop), or as soon as the
answer to the frame before has come (a closed one).

The latency of a frame counts from the moment at which it was due, not from when it could be sent, so that a server that
stalls is charged for every frame that had to wait. One thread, one epoll; what is sent was encoded before, and the CPU
time of the client is part of what comes out.
"""

from __future__ import annotations

import ctypes
import re
import select
import socket
import time
import zlib
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bench.serve.wire import UNASKED, Wire

__all__ = ["Connection", "Load", "Outcome", "periodic", "poisson"]

Array = np.ndarray[Any, Any]

LATE_NS = 10_000_000
_REASON = re.compile(rb'"reason": *"(\w+)"')
_PR_SET_TIMERSLACK = 29


@dataclass
class Outcome:
    """What came of a run. latencies: of answered frames, in ns from when they were due; refusals: of those refused.

    behind: how long after it was due a frame was sent, the client's own part. skipped: frames that were due while their
    connection was still busy, in a run that drops them. lost: without an answer at the end.
    """

    seconds: float = 0.0
    sent: int = 0
    lost: int = 0
    skipped: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    latencies: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    refusals: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    behind: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    client_cpu_s: float = 0.0

    def us(self, percent: float) -> float:
        """A percentile of the latencies, in microseconds."""
        return float(np.percentile(self.latencies, percent)) / 1e3 if len(self.latencies) else float("nan")

    @property
    def late(self) -> int:
        """Frames whose answer came more than 10 ms after they were due, or not at all."""
        return int((self.latencies > LATE_NS).sum()) + self.lost + self.skipped + len(self.refusals)

    def line(self) -> str:
        behind = np.percentile(self.behind, 99) / 1e3 if len(self.behind) else 0
        return (
            f"{self.sent} sent in {self.seconds:.1f} s, statuses {dict(self.statuses)} {dict(self.reasons)}, "
            f"lost {self.lost}, skipped "
            f"{self.skipped}; p50 {self.us(50):.0f} us, p99 {self.us(99):.0f}, p99.9 {self.us(99.9):.0f}, most "
            f"{self.us(100):.0f}; sent late by p99 {behind:.0f} us; "
            f"CPU of the client {100 * self.client_cpu_s / max(self.seconds, 1e-9):.0f} %"
        )


class Connection:
    """A session and its connection, which sends `frames` in turn, from the one at `at` on.

    digest: a checksum over all outputs that came back, for `replay`.
    """

    def __init__(self, wire: Wire, session: int, frames: Sequence[Array], at: int = 0) -> None:
        self.wire, self.session, self.frames = wire, session, frames
        self.messages = [wire.encode(session, frame) for frame in frames]
        self.first = [b""] * len(frames)  # messages that begin the session, as they are needed
        self.first[at % len(frames)] = wire.encode(session, frames[at % len(frames)], start=True)
        self.begun, self.begin, self.at, self.answers, self.digest = False, at, at, 0, 0
        self.refused: list[int] = []  # which answers said that a frame was not taken
        self.waiting: deque[int] = deque()  # when the frames under way were due
        self.queue: deque[int] = deque()  # when those were due that could not be sent yet
        self.rest, self.unsent = b"", b""
        self.socket = socket.create_connection(("127.0.0.1", wire.port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hello := wire.hello(session):
            self.socket.sendall(hello)
            answer = b""
            while b"\r\n\r\n" not in answer:
                got = self.socket.recv(65536)
                if not got:
                    raise ConnectionError(f"the server closed instead of an upgrade: {answer!r}")
                answer += got
            if not answer.startswith(b"HTTP/1.1 101"):
                raise ConnectionError(f"no upgrade: {answer!r}")
            self.rest = answer.partition(b"\r\n\r\n")[2]
        self.socket.setblocking(False)

    def send(self, due: int) -> None:
        place = self.at % len(self.messages)
        message = self.messages[place]
        if not self.begun:
            self.begun = True
            message = self.first[place] or self.wire.encode(self.session, self.frames[place], start=True)
        self.at += 1
        self.waiting.append(due)
        if self.unsent:
            self.unsent += message
            return
        try:
            sent = self.socket.send(message)
        except BlockingIOError:
            sent = 0
        if sent < len(message):
            self.unsent = message[sent:]

    def replay(self, stream: Any) -> int:
        """The digest of the same frames, without those refused, pushed into `stream`."""
        digest, refused = 0, set(self.refused)
        for i in range(self.answers):
            if i not in refused:
                frame = self.frames[(self.begin + i) % len(self.frames)]
                digest = zlib.crc32(np.ascontiguousarray(stream.push(frame)).tobytes(), digest)
        return digest

    def flush(self) -> None:
        if self.unsent:
            try:
                self.unsent = self.unsent[self.socket.send(self.unsent) :]
            except BlockingIOError:
                pass

    def close(self) -> None:
        self.socket.close()


def periodic(sessions: int, hz: float, seconds: float, seed: int = 0) -> tuple[Array, Array]:
    """Frames of sessions that each have one every 1 / hz seconds, at a phase of their own: due (ns), whose."""
    phase = np.sort(np.random.default_rng(seed).uniform(0, 1 / hz, sessions))
    due = (phase[None] + np.arange(int(seconds * hz))[:, None] / hz).ravel()
    return (1e9 * due).astype(np.int64), np.tile(np.arange(sessions), int(seconds * hz))


def poisson(sessions: int, rate: float, seconds: float, seed: int = 0) -> tuple[Array, Array]:
    """Frames of all sessions together at a mean `rate` a second, as independent clients have them; sessions in turn."""
    gaps = np.random.default_rng(seed).exponential(1e9 / rate, int(rate * seconds))
    return np.cumsum(gaps).astype(np.int64), np.arange(len(gaps)) % sessions


class Load:
    """Runs schedules over connections. A refused frame (not 200) is not counted among the latencies."""

    def __init__(self, connections: Sequence[Connection]) -> None:
        self.connections = connections
        self.epoll = select.epoll()
        self.by_fd = {c.socket.fileno(): c for c in connections}
        for fd in self.by_fd:
            self.epoll.register(fd, select.EPOLLIN)
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)  # short sleeps are not made longer

    def open_loop(self, due: Array, who: Array, *, drop: bool = False, grace_s: float = 5.0) -> Outcome:
        """Frames as they are due. drop: one whose connection is still busy is skipped, as real-time clients do.

        Then no frame waits at the client for another, and latencies count from when it was sent.
        """
        out, clock = Outcome(), time.perf_counter_ns
        cpu, count, at = time.thread_time(), len(due), 0
        base = clock() + 5_000_000
        times, connections = (due + base).tolist(), [self.connections[i] for i in who.tolist()]
        behind: list[int] = []
        state = _Counts(out)
        while at < count:
            now = clock()
            while at < count and times[at] <= now:
                connection, moment = connections[at], times[at]
                if len(connection.waiting) < connection.wire.window:
                    connection.send(now if drop else moment)
                    behind.append(now - moment)
                    out.sent += 1
                elif drop:
                    out.skipped += 1
                else:
                    connection.queue.append(moment)
                at += 1
                if not at & 15:
                    now = clock()
            wait = times[at] - clock() if at < count else 0
            self._turn(max(wait, 0), state)
        end = clock() + int(grace_s * 1e9)
        while clock() < end and any(c.waiting or c.queue for c in self.connections):
            self._turn(10_000_000, state)
        self._finish(state, behind, base, cpu)
        return out

    def closed_loop(self, seconds: float) -> Outcome:
        """Every connection sends its next frame when the answer to the one before has come."""
        out, clock = Outcome(), time.perf_counter_ns
        cpu, base = time.thread_time(), clock()
        state = _Counts(out, until=base + int(1e9 * seconds))
        for connection in self.connections:
            connection.send(clock())
            out.sent += 1
        while any(c.waiting for c in self.connections) and clock() < state.until + 5_000_000_000:
            for _ in range(256):
                self._turn(10_000_000, state)
                if clock() > state.until:
                    break
        self._finish(state, [], base, cpu)
        return out

    def _finish(self, state: _Counts, behind: list[int], base: int, cpu: float) -> None:
        out = state.out
        out.seconds = (time.perf_counter_ns() - base) / 1e9
        out.client_cpu_s = time.thread_time() - cpu
        out.lost += sum(len(c.waiting) + len(c.queue) for c in self.connections)
        out.latencies = np.asarray(state.latencies, np.int64)
        out.refusals = np.asarray(state.refusals, np.int64)
        out.behind = np.asarray(behind, np.int64)

    def _turn(self, wait_ns: int, state: _Counts) -> None:
        """Wait for answers until something is due, with a resolution that epoll alone does not have, and take them."""
        events = self.epoll.poll(0)
        if not events and wait_ns > 0:
            select.select((self.epoll.fileno(),), (), (), wait_ns / 1e9)
            events = self.epoll.poll(0)
        for fd, _ in events:
            connection = self.by_fd[fd]
            try:
                data = connection.socket.recv(1 << 18)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            if not data:
                self._gone(connection, state)
                continue
            now = time.perf_counter_ns()
            data = connection.rest + data if connection.rest else data
            while answer := connection.wire.cut(data):
                state.take(connection, answer, now)
                data = data[answer[2] :]
                if not data:
                    break
            connection.rest = data
            if connection.unsent:
                connection.flush()
        for connection in self.connections if not events and wait_ns > 1_000_000 else ():
            connection.flush()

    def _gone(self, connection: Connection, state: _Counts) -> None:
        """The server has closed: what was under way is lost."""
        self.epoll.unregister(connection.socket.fileno())
        state.out.lost += len(connection.waiting) + len(connection.queue)
        state.out.statuses[-1] += 1
        connection.waiting.clear()
        connection.queue.clear()

    def close(self) -> None:
        self.epoll.close()
        for connection in self.connections:
            connection.close()


class _Counts:
    """What answers add up to while a run goes on."""

    def __init__(self, out: Outcome, until: int = 0) -> None:
        self.out, self.until = out, until
        self.latencies: list[int] = []
        self.refusals: list[int] = []

    def take(self, connection: Connection, answer: tuple[int, bytes, int], now: int) -> None:
        status, body, _ = answer
        self.out.statuses[status] += 1
        if status == UNASKED or not connection.waiting:
            return
        due = connection.waiting.popleft()
        if status == 200:
            self.latencies.append(now - due)
            connection.digest = zlib.crc32(connection.wire.tensor(body), connection.digest)
        else:
            self.refusals.append(now - due)
            if found := _REASON.search(body):
                self.out.reasons[found[1].decode()] += 1
            connection.refused.append(connection.answers)
            if len(connection.refused) > connection.answers:  # the session has not begun
                connection.begun = False
        connection.answers += 1
        if connection.queue:
            connection.send(connection.queue.popleft())
            self.out.sent += 1
        elif now < self.until:
            connection.send(time.perf_counter_ns())
            self.out.sent += 1

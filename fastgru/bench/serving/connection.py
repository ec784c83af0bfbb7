"""A session on a connection: its frames, encoded before the clock starts, and the frames under way."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from fastgru.bench.serving.link import Link
from fastgru.bench.serving.wire import Frame, Wire

__all__ = ["Connection", "connections_of"]


class Connection(Link):
    """Sends `frames` in turn, beginning with the one at `at`, as frames of a session. Session 0 means no session.

    messages: the encoded frames, if other connections send the same bytes. waiting: when the frames under way were due.
    queue: when the frames were due that could not be sent yet.
    """

    def __init__(
        self, wire: Wire, session: int, frames: Sequence[Frame], at: int = 0, messages: Sequence[bytes] | None = None
    ) -> None:
        super().__init__(wire.target, wire.hello(session))
        wire = wire.fork()
        self.wire, self.session, self.frames, self.at = wire, session, frames, at
        self.messages = [wire.encode(session, frame) for frame in frames] if messages is None else messages
        self.alone = wire.alike or not session  # a frame's message is then the same at the start of a session
        place = at % len(frames)
        self._first = {place: self._beginning(place)}
        self.begun, self.answers, self.taken = False, 0, 0
        self.number, self.since = 0, 0  # its number in the load, and the answers before it was opened
        self.waiting: deque[int] = deque()
        self.queue: deque[int] = deque()

    def _beginning(self, place: int) -> bytes:
        return self.messages[place] if self.alone else self.wire.encode(self.session, self.frames[place], start=True)

    def greeting(self) -> bytes:
        return self.hello or self.wire.greeting()

    def send_frame(self, due: int) -> None:
        place = self.at % len(self.messages)
        message = self.messages[place]
        if not self.begun:
            self.begun = True
            message = self._first.get(place) or self._beginning(place)
        self.at += 1
        self.waiting.append(due)
        self.send(self.wire.framed(message))

    def take(self, status: int, body: bytes) -> None:
        """Note an answer to a frame. A session that has not started, or has ended, starts with the next frame."""
        self.answers += 1
        if status == 200:
            self.taken += 1
        elif not self.taken or status == 410 or b"unknown_sequence" in body:
            self.begun = False

    def forget(self) -> int:
        """Return how many frames were under way. It is unknown whether they were run, so the session starts over."""
        count = len(self.waiting)
        if count:
            self.begun, self.taken = False, 0
            self.waiting.clear()
        return count


def connections_of(wire: Wire, sessions: Sequence[int], frames: Sequence[Frame]) -> list[Connection]:
    """Return a connection for each session, each with another first frame. Equal messages are encoded only once."""
    shared = [wire.encode(0, frame) for frame in frames] if wire.alike or not any(sessions) else None
    return [Connection(wire, session, frames, 7 * i, shared) for i, session in enumerate(sessions)]

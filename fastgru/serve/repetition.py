"""Requests that repeat the head of an earlier request on the connection, with another body.

A client that streams repeats its head byte for byte, except the length of the body. The head was read, checked and
allowed when it came first, so later bodies bypass the parser and need no coroutine. A single one is answered within the
iteration of the event loop in which it came.
"""

import re
from typing import Any, Final, Protocol

from fastgru.serve import resting
from fastgru.serve.app import Answer
from fastgru.serve.exchange import JOINED_BYTES, STATUS_LINES, Line

__all__ = ["Asker", "Repeated", "Repetition", "find_repetition"]

_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,9})[ \t]*\r\n", re.IGNORECASE)
_DIGITS: Final = 9


class Cancellable(Protocol):
    """Work in progress."""

    def cancel(self) -> None: ...


class Asker(Protocol):
    """The sender of a request. line: its connection."""

    @property
    def line(self) -> resting.Line: ...

    def reply(self, answer: Answer) -> None:
        """Send the answer."""


class Repeated(Protocol):
    """An object that answers bodies that come with the same head."""

    def takes(self, size: int) -> bool:
        """Return whether it answers a body of this size, at this time."""

    def refusal(self, data: bytes, at: int, size: int) -> Answer | None:
        """Return the refusal of a body whose first bytes are data[at:], if it is known already, else None."""

    def begin(self, data: bytes, at: int, asker: Asker) -> Cancellable | None:
        """Answer the body data[at:] with one call of `asker.reply`, now or later. Returns the work if it is later."""


class Connection(Line, resting.Line, Protocol):
    """The interface of a connection for a repetition."""

    def part_has_come(self, repetition: "Repetition") -> None:
        """Handle the beginning of a request, or more of it."""

    def waits_for(self, repetition: "Repetition") -> None:
        """Handle a complete request, whose answer follows."""


class Repetition:
    """Requests with one head, one after the other. Until a request is answered, this is the connection's exchange.

    The attributes and methods that `Exchange` has, too, mean the same.
    """

    __slots__ = (
        "_after", "_at", "_before", "_date", "_headers", "_job", "_left", "_lines", "_parts", "_repeated", "complete",
        "finished", "keep_alive", "line", "size", "started",
    )  # fmt: skip

    def __init__(self, line: Connection, before: bytes, after: bytes, repeated: Repeated) -> None:
        """before, after: the parts of the head before and after the digits of the body's length."""
        self.line, self._before, self._after, self._repeated = line, before, after, repeated
        self.complete = self.started = self.finished = self.keep_alive = True
        self.size = self._at = self._left = 0
        self._parts: list[bytes] = []
        self._job: Cancellable | None = None
        self._headers: Any = None
        self._date = self._lines = b""

    @property
    def is_answered(self) -> bool:
        """Whether the answer to the current request has been written."""
        return self.finished

    def take(self, data: bytes) -> bool:
        """Answer a request with this head, or take its beginning. Returns False if the data are for the parser."""
        if type(data) is not bytes:  # some event loops pass another type
            data = bytes(data)
        begin = len(self._before)
        end = data.find(b"\r", begin, begin + _DIGITS + 1)
        if not (data.startswith(self._before) and data.startswith(self._after, end)):
            return False
        digits = data[begin:end]
        if not digits.isdigit():
            return False
        at, size = end + len(self._after), int(digits)
        left = at + size - len(data)
        if left < 0 or size > self.line.gate.settings.max_body_bytes or not self._repeated.takes(size):
            return False
        self.finished = False
        if left:
            self._at, self._left, self._parts, self.complete = at, left, [data], False
            self._count(len(data) - at)
            self.line.part_has_come(self)
            answer = None if self.finished else self._repeated.refusal(data, at, size)
            if answer is not None:
                self.reply(answer)
        else:
            self._begin(data, at)
        return True

    def feed(self, data: bytes) -> bytes:
        """Take more of a body, and return the bytes after its end."""
        rest = data[self._left :] if len(data) > self._left else b""
        if not self.finished:
            self._parts.append(data[: self._left] if rest else data)
            self._count(min(len(data), self._left))
        self._left -= len(data) - len(rest)
        self.line.part_has_come(self)
        return rest

    def arrived(self) -> None:
        """Answer the request, whose body is complete."""
        self.complete = True
        if not self.finished:
            whole, self._parts = b"".join(self._parts), []
            self._begin(whole, self._at)

    @property
    def left(self) -> int:
        """The number of bytes of the body that have not come."""
        return self._left

    def _count(self, size: int) -> None:
        self.size += size
        self.line.gate.in_flight += size

    def _begin(self, data: bytes, at: int) -> None:
        job = self._repeated.begin(data, at, self)
        if not self.finished:
            self._job = job
            if not self.size:
                self._count(len(data))
            self.line.waits_for(self)

    def abandon(self) -> None:
        """Cancel the current request: the client has gone, or gets another answer."""
        if not self.finished:
            job = self._job
            self._finish()
            if job is not None:
                job.cancel()

    def leave(self) -> None:
        """Drop the reference to `repeated`, which refers back to this object, when the connection is over."""
        del self._repeated

    def reply(self, answer: Answer) -> None:
        """See `Asker`."""
        if self.finished:
            return
        line = self.line
        if answer.headers is not self._headers or line.gate.date is not self._date or not self.keep_alive:
            self._write_lines(answer)
        if len(answer.body) < JOINED_BYTES:
            line.transport.write(b"%b%b%b" % (STATUS_LINES[answer.status], self._lines, answer.body))
        else:
            line.transport.write(STATUS_LINES[answer.status] + self._lines)
            line.transport.write(answer.body)
        self._finish()

    def _write_lines(self, answer: Answer) -> None:
        """Make the head of the answer, without its first line; answers that differ only in their bodies share it."""
        gate = self.line.gate
        self._headers, self._date = answer.headers, gate.date
        if self.keep_alive and gate.lines[0] is answer.headers and gate.lines[1] is gate.date:
            self._lines = gate.lines[2]
            return
        lines = [self._date, *[b"%b: %b\r\n" % pair for pair in answer.headers]]
        if (b"connection", b"close") in answer.headers:
            self.keep_alive = False
        elif not self.keep_alive:
            lines.append(b"connection: close\r\n")
        self._lines = b"".join((*lines, b"\r\n"))
        if self.keep_alive:
            gate.lines = self._headers, self._date, self._lines

    def _finish(self) -> None:
        self.finished, self._job, self._parts = True, None, []
        self.line.gate.in_flight -= self.size
        self.size = 0
        self.line.answered(self)


def find_repetition(line: Connection, head: bytes, repeated: Repeated) -> Repetition | None:
    """Return a repetition for this head, or None if the head does not give the length of its body."""
    found = _LENGTH.search(head)
    if found is None:
        return None
    begin, end = found.span(1)
    return Repetition(line, head[:begin], head[end:], repeated)

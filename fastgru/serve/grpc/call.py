"""One call of a client: messages in, messages out, and a status at the end."""

import asyncio
import logging
import struct
import time
from typing import Any, Final, NamedTuple, Protocol

from fastgru.serve.app import Identity, internal
from fastgru.serve.errors import ServeError
from fastgru.serve.gate import Gate
from fastgru.serve.grpc.codes import DONE, refusal

__all__ = ["Call", "Line", "Method", "Opened"]

_PREFIX: Final = struct.Struct(">BI")  # the prefix of a message: whether it is compressed, and its size
_MOST_AT_ONCE: Final = 64  # messages of a call in one iteration of the loop
_log = logging.getLogger("fastgru.serve")


class Line(Protocol):
    """The connection of a call."""

    gate: Gate

    @property
    def is_blocked(self) -> bool:
        """Whether answers wait for windows."""

    def write(self, call: "Call", message: bytes | None, trailers: bytes | None) -> None:
        """Send a message, the end of the call, or both."""

    def replenish(self, call: "Call") -> None:
        """Let the client send as many more bytes as the call has received."""


class Method(Protocol):
    """Answers calls. is_stream: whether a call has many messages, followed by `end`, or a single one.

    is_health: whether the method tells the health of the server, for which no API key is needed.
    """

    is_stream: bool
    is_health: bool

    def message(self, call: "Call", data: bytes) -> None:
        """Take a message of the client."""

    def sent(self, call: "Call") -> None:
        """Continue after all answers that waited for the client's window have been sent."""

    def end(self, call: "Call") -> None:
        """Handle the end of the client's messages."""

    def cancel(self, call: "Call") -> None:
        """Cancel the work of a call whose client no longer waits."""

    def drain(self, call: "Call") -> None:
        """End a stream, because the server shuts down. A single request is still answered."""


class Opened(NamedTuple):
    """The head of a call. status: the HTTP status; other than 200 for a request that is not a call of gRPC.

    timeout_ns: from the client, None without one. error: the refusal of the call, or None.
    """

    status: int
    method: Method
    identity: Identity
    headers: dict[bytes, bytes]
    timeout_ns: int | None
    error: ServeError | None


class Call:
    """One call. number: that of its stream. until_ns: the client's deadline by `time.monotonic_ns`, or None.

    since: when the arriving message began, by `Gate.now`. received: bytes for which the client got no new window.
    window: how many bytes the client takes. pending: answers beyond that. trailers: the end, which follows them.

    has_ended: whether the client has sent everything. is_over: whether the server has, too. is_paused: whether messages
    wait here. has_head: whether the head of the answer was sent. state: belongs to the method.
    """

    __slots__ = (
        "_held", "_is_resuming", "_limit", "_line", "_message", "_rest", "has_ended", "has_head", "headers",
        "identity", "is_over", "is_paused", "method", "number", "pending", "received", "since", "state", "trailers",
        "until_ns", "window",
    )  # fmt: skip

    def __init__(self, line: Line, number: int, opened: Opened, window: int) -> None:
        self._line, self.number, self.method = line, number, opened.method
        self.identity, self.headers = opened.identity, opened.headers
        self.until_ns = None if opened.timeout_ns is None else time.monotonic_ns() + opened.timeout_ns
        self._limit, self.window, self.since = line.gate.settings.max_body_bytes, window, line.gate.now
        self._rest, self.pending = bytearray(), bytearray()
        self._message: bytes | None = None
        self.trailers: bytes | None = None
        self.received = self._held = 0
        self.has_ended = self.has_head = self.is_over = self.is_paused = self._is_resuming = False
        self.state: Any = None

    # Incoming messages.

    def feed(self, data: bytes) -> None:
        """Take bytes of messages."""
        size = len(data) - 5
        if (
            size < 0
            or self._rest
            or self.is_paused
            or data[0]
            or int.from_bytes(data[1:5], "big") != size
            or size > self._limit
        ):
            if not self._rest:
                self.since = self._line.gate.now
            self._rest += data
            self._hold(len(data))
            self._cut()
        else:
            self._take(data[5:])

    def close(self) -> None:
        """Handle the end of the client's data."""
        self.has_ended = True
        if not self.is_paused:
            self._end()

    def _cut(self) -> None:
        rest, gate, taken = self._rest, self._line.gate, 0
        while len(rest) >= 5 and not (self.is_paused or self.is_over):
            compressed, size = _PREFIX.unpack_from(rest)
            if compressed:
                self.refuse(
                    ServeError(
                        415, "the message is compressed, which is not supported: send it uncompressed", reason="coding"
                    )
                )
            elif size > self._limit:
                text = f"a message of {size} bytes, expected at most {self._limit}"
                self.refuse(ServeError(413, text, reason="body"))
            elif len(rest) < size + 5:
                break
            else:
                message = bytes(memoryview(rest)[5 : size + 5])
                del rest[: size + 5]
                self._hold(-size - 5)
                self._take(message)
                if (taken := taken + 1) == _MOST_AT_ONCE and not self.is_paused:
                    self.pause()
                    self.resume()
        if gate.in_flight > gate.settings.max_in_flight_bytes and not self.is_over:
            text = "too much is on its way here already"
            self.refuse(ServeError(503, text, reason="in_flight", retry_after_s=1.0))

    def _take(self, message: bytes) -> None:
        if self.method.is_stream:
            self._tell(message)
        elif self._message is None:
            self._message = message
            self._hold(len(message))
        else:
            self.refuse(_malformed("got two messages, expected one for this call"))

    def _end(self) -> None:
        if self.is_over:
            return
        if self._rest:
            self.refuse(_malformed("the call ends within a message"))
        elif self.method.is_stream:
            self.method.end(self)
        elif self._message is None:
            self.refuse(_malformed("the call ends without its message"))
        else:
            message, self._message = self._message, b""
            self._tell(message)

    def _tell(self, message: bytes) -> None:
        gate = self._line.gate
        if gate.unread > gate.settings.max_in_flight_bytes and self._line.is_blocked:
            text = "too many bytes of answers wait for this client, and others, to take them"
            self.refuse(ServeError(503, text, reason="in_flight", retry_after_s=1.0))
            return
        try:
            self.method.message(self, message)
        except Exception:
            _log.exception("a call has failed")
            self.refuse(internal())

    @property
    def is_whole(self) -> bool:
        """Whether everything that the client sends has been taken."""
        return self.has_ended and not self._rest and not self.is_paused

    def pause(self) -> None:
        """Keep messages here, and give the client no new window."""
        self.is_paused = True

    def resume(self) -> None:
        """Continue with the kept messages in the next iteration of the loop."""
        if self.is_paused and not self._is_resuming:
            self._is_resuming = True
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        self.is_paused = self._is_resuming = False
        if self.is_over:
            return
        self._cut()
        if self.has_ended and not self.is_paused:
            self._end()
        elif not self.is_paused and not self.is_over:
            self._line.replenish(self)

    def is_slow(self, now: float, most_s: float) -> bool:
        """Return whether a message, or a call that has a single one, has been arriving for over `most_s` seconds."""
        waits = self._rest and not self.is_paused if self.method.is_stream else not self.has_ended
        return bool(waits) and now - self.since > most_s

    def _hold(self, size: int) -> None:
        self._held += size
        self._line.gate.in_flight += size

    # Answers.

    def send(self, message: bytes) -> None:
        """Send one message of several."""
        if not self.is_over and self.trailers is None:
            self._line.write(self, message, None)

    def finish(self, message: bytes | None = None) -> None:
        """End the call successfully, after a last message if there is one."""
        if not self.is_over and self.trailers is None:
            self._line.write(self, message, DONE)

    def refuse(self, error: ServeError) -> None:
        """End the call with this error."""
        if not self.is_over and self.trailers is None:
            self.count(error)
            self._line.write(self, None, refusal(error))

    def count(self, error: ServeError) -> None:
        """Count a refused request."""
        self._line.gate.refuse(error.reason)

    def leave(self) -> None:
        """Free what a call that is over holds."""
        self.is_over = True
        self._hold(-self._held)
        self._line.gate.unread -= len(self.pending)
        self._rest.clear()
        self.pending.clear()

    def abandon(self) -> None:
        """Free what the call holds, and cancel its work, because the client has gone."""
        if not self.is_over:
            self.leave()
            self.method.cancel(self)


def _malformed(text: str) -> ServeError:
    return ServeError(400, text, reason="malformed")

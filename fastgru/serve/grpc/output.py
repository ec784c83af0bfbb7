"""The output of a gRPC connection: answers, as far as the windows of the client allow."""

import asyncio
from collections.abc import Callable
from typing import Any, Final, cast

from fastgru.serve.gate import Gate
from fastgru.serve.grpc import frames as http2
from fastgru.serve.grpc.call import Call
from fastgru.serve.grpc.codes import HEAD, literal
from fastgru.serve.grpc.frames import MESSAGE_HEAD, Fault, frame

__all__ = ["MOST_FRAME", "MOST_WINDOW", "Output"]

MOST_FRAME: Final = 1 << 14  # bytes of a frame in either direction
MOST_WINDOW: Final = (1 << 31) - 1
_FIRST_WINDOW: Final = (1 << 16) - 1  # the initial window of HTTP/2


class Output:
    """The line of the calls of one connection, see `call.Line`.

    left: called when a call is over. calls: by the numbers of their streams. stream_window: the window of a new call.
    stuck: since when the client takes nothing, by `Gate.now`, or None. is_over: whether nothing is sent any more.
    """

    def __init__(self, gate: Gate, left: Callable[[], None]) -> None:
        self.gate, self._left = gate, left
        self.transport: asyncio.Transport = cast(Any, None)
        self.calls: dict[int, Call] = {}
        self.stream_window = self._window = _FIRST_WINDOW
        self.stuck: float | None = None
        self.is_over = False
        self._blocked: dict[int, Call] = {}
        self._prefix = b"\x20"  # sets the size of HPACK's dynamic table to 0; sent once

    @property
    def is_blocked(self) -> bool:
        """Whether answers wait for windows."""
        return bool(self._blocked)

    def send(self, data: bytes) -> None:
        """Send frames."""
        if not self.is_over:
            self.transport.write(data)

    def reset(self, number: int, code: int) -> None:
        """Reset a stream with an error code."""
        self.send(frame(http2.RST_STREAM, 0, number, code.to_bytes(4, "big")))

    def go_away(self, last: int, code: int, text: bytes = b"") -> None:
        """Tell the client that no stream above `last` is taken."""
        self.send(frame(http2.GOAWAY, 0, 0, last.to_bytes(4, "big") + code.to_bytes(4, "big") + text))

    def refuse(self, number: int, status: int, *, is_whole: bool) -> None:
        """Answer a request that is not a call with an HTTP status. is_whole: whether the client has sent everything."""
        block, self._prefix = self._prefix + literal(b":status", b"%d" % status), b""
        self.send(frame(http2.HEADERS, http2.END_HEADERS | http2.END_STREAM, number, block))
        if not is_whole:
            self.reset(number, http2.NO_ERROR)

    def replenish(self, call: Call) -> None:
        """See `call.Line`."""
        if call.received:
            self.send(frame(http2.WINDOW_UPDATE, 0, call.number, call.received.to_bytes(4, "big")))
            call.received = 0

    def write(self, call: Call, message: bytes | None, trailers: bytes | None) -> None:
        """See `call.Line`."""
        number, parts = call.number, []
        if not call.has_head:
            call.has_head = True
            block, self._prefix = self._prefix + HEAD, b""
            if message is None and trailers is not None:
                trailers = block + trailers
            else:
                parts.append(frame(http2.HEADERS, http2.END_HEADERS, number, block))
        if message is not None:
            size = len(message) + 5
            if call.pending or size > self._window or size > call.window or size > MOST_FRAME:
                call.pending += b"\0" + len(message).to_bytes(4, "big") + message
                self.gate.unread += size
            else:
                self._window -= size
                call.window -= size
                parts += (MESSAGE_HEAD.pack(size << 8, 0, number, 0, size - 5), message)
        call.trailers = trailers
        if trailers is not None and not call.pending:
            parts.append(self._ended(call))
        self.send(b"".join(parts))
        if call.pending:
            self._blocked[number] = call
            self.flush_call(call, is_writing=True)
        elif trailers is not None:
            self._left()

    def _ended(self, call: Call) -> bytes:
        """Return the frames that end the call, and free what the call holds."""
        assert call.trailers is not None
        end = frame(http2.HEADERS, http2.END_HEADERS | http2.END_STREAM, call.number, call.trailers)
        if not call.has_ended:
            end += frame(http2.RST_STREAM, 0, call.number, http2.NO_ERROR.to_bytes(4, "big"))
        self.calls.pop(call.number, None)
        call.leave()
        return end

    def flush(self) -> None:
        """Send as many waiting answers as the windows allow."""
        for call in tuple(self._blocked.values()):
            if not self._window:
                break
            self.flush_call(call)

    def flush_call(self, call: Call, *, is_writing: bool = False) -> None:
        """Send waiting answers of one call. Tell its method if all are sent, unless the call is writing."""
        if call.number not in self._blocked:
            return
        pending = call.pending
        while pending and (size := min(self._window, call.window, MOST_FRAME, len(pending))) > 0:
            self._window -= size
            call.window -= size
            self.gate.unread -= size
            self.send(frame(http2.DATA, 0, call.number, bytes(memoryview(pending)[:size])))
            del pending[:size]
            self.stuck = self.gate.now
        if not pending:
            del self._blocked[call.number]
            if call.trailers is not None:
                self.send(self._ended(call))
                self._left()
            elif not is_writing:
                call.method.sent(call)
        self.stuck = (self.stuck or self.gate.now) if self._blocked else None

    def widen(self, more: int) -> None:
        """Widen the window of the connection by `more` bytes. Raises `Fault`."""
        was, self._window = self._window, self._window + more
        if not more or self._window > MOST_WINDOW:
            raise Fault(http2.FLOW_CONTROL if more else http2.PROTOCOL, "the window of the connection cannot be")
        if not was:  # otherwise answers wait for the windows of their calls
            self.flush()

    def widen_streams(self, window: int) -> None:
        """Set the first window of every stream, and change those of the current streams accordingly. Raises `Fault`."""
        more, self.stream_window = window - self.stream_window, window
        if window > MOST_WINDOW or any(call.window + more > MOST_WINDOW for call in self.calls.values()):
            raise Fault(http2.FLOW_CONTROL, "a window is too large")
        for call in self.calls.values():
            call.window += more

    def forget(self, number: int) -> None:
        """Abandon the call of a stream that was reset."""
        self._blocked.pop(number, None)
        call = self.calls.pop(number, None)
        if call is not None:
            call.abandon()
            self._left()

    def end(self) -> None:
        """Send nothing more, and abandon all calls."""
        self.is_over = True
        calls, self.calls = self.calls, {}
        self._blocked.clear()
        for call in calls.values():
            call.abandon()

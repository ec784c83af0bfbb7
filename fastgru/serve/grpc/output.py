"""What a connection of gRPC sends: answers, as far as the windows of the client let them."""

import asyncio
from collections.abc import Callable
from typing import Any, Final, cast

from fastgru.serve.gate import Gate
from fastgru.serve.grpc import frames as http2
from fastgru.serve.grpc.call import Call
from fastgru.serve.grpc.codes import HEAD, literal
from fastgru.serve.grpc.frames import MESSAGE_HEAD, Fault, frame

__all__ = ["MOST_FRAME", "MOST_WINDOW", "Output"]

MOST_FRAME: Final = 1 << 14  # bytes of a frame, of the client's and of ours
MOST_WINDOW: Final = (1 << 31) - 1
_FIRST_WINDOW: Final = (1 << 16) - 1  # as HTTP/2 has it before anything is said


class Output:
    """The line of the calls of one connection, see `call.Line`.

    calls: by the numbers of their streams. left: told when one is over. stream_window: of a call that begins. stuck:
    since when the client takes nothing, by `Gate.now`. is_over: nothing is sent any more.
    """

    def __init__(self, gate: Gate, left: Callable[[], None]) -> None:
        self.gate, self._left = gate, left
        self.transport: asyncio.Transport = cast(Any, None)
        self.calls: dict[int, Call] = {}
        self.stream_window = self._window = _FIRST_WINDOW
        self.stuck: float | None = None
        self.is_over = False
        self._blocked: dict[int, Call] = {}
        self._prefix = b"\x20"  # no header is kept in a table: said once

    @property
    def is_blocked(self) -> bool:
        """Answers wait for windows."""
        return bool(self._blocked)

    def send(self, data: bytes) -> None:
        """Frames as they are."""
        if not self.is_over:
            self.transport.write(data)

    def reset(self, number: int, code: int) -> None:
        """Say that a stream is over, and why."""
        self.send(frame(http2.RST_STREAM, 0, number, code.to_bytes(4, "big")))

    def go_away(self, last: int, code: int, text: bytes = b"") -> None:
        """Say that no stream above `last` is taken."""
        self.send(frame(http2.GOAWAY, 0, 0, last.to_bytes(4, "big") + code.to_bytes(4, "big") + text))

    def refuse(self, number: int, status: int, *, is_whole: bool) -> None:
        """The answer to a request that is no call: a status of HTTP. is_whole: nothing more will come."""
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
        """The end of the call, which is over with it."""
        assert call.trailers is not None
        end = frame(http2.HEADERS, http2.END_HEADERS | http2.END_STREAM, call.number, call.trailers)
        if not call.has_ended:
            end += frame(http2.RST_STREAM, 0, call.number, http2.NO_ERROR.to_bytes(4, "big"))
        self.calls.pop(call.number, None)
        call.leave()
        return end

    def flush(self) -> None:
        """Send what windows have room for."""
        for call in tuple(self._blocked.values()):
            if not self._window:
                break
            self.flush_call(call)

    def flush_call(self, call: Call, *, is_writing: bool = False) -> None:
        """The same of one call, which is told if all is sent, unless it is writing."""
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
        """The client takes so much more on all streams together. Raises `Fault`."""
        was, self._window = self._window, self._window + more
        if not more or self._window > MOST_WINDOW:
            raise Fault(http2.FLOW_CONTROL if more else http2.PROTOCOL, "the window of the connection cannot be")
        if not was:  # else what waits does so for the windows of its calls
            self.flush()

    def widen_streams(self, window: int) -> None:
        """The client takes so much on each stream from its begin on. Raises `Fault`."""
        more, self.stream_window = window - self.stream_window, window
        if window > MOST_WINDOW or any(call.window + more > MOST_WINDOW for call in self.calls.values()):
            raise Fault(http2.FLOW_CONTROL, "a window is too large")
        for call in self.calls.values():
            call.window += more

    def forget(self, number: int) -> None:
        """The client wants no more of this stream."""
        self._blocked.pop(number, None)
        call = self.calls.pop(number, None)
        if call is not None:
            call.abandon()
            self._left()

    def end(self) -> None:
        """Whoever works for this client is told that there is no connection any more."""
        self.is_over = True
        calls, self.calls = self.calls, {}
        self._blocked.clear()
        for call in calls.values():
            call.abandon()

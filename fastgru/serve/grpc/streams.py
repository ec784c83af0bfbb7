"""The frames of an HTTP/2 client, one after the other: those of calls, and those of the connection."""

from collections.abc import Callable
from typing import Final

from fastgru.serve.grpc import frames as http2
from fastgru.serve.grpc.call import Call, Opened
from fastgru.serve.grpc.frames import Fault, frame, unpadded
from fastgru.serve.grpc.head import HeadError
from fastgru.serve.grpc.heads import Heads
from fastgru.serve.grpc.output import MOST_FRAME, MOST_WINDOW, Output

__all__ = ["Streams"]

_MOST_CALLS: Final = 1_024  # calls of a connection at the same time
_MOST_PARTS: Final = 16  # frames of a head
_CONNECTION_WINDOW: Final = 1 << 24
_STREAM_WINDOW: Final = 1 << 20
_FIRST_WINDOW: Final = (1 << 16) - 1
_MOST_RARE: Final = 2_000  # rare frames a second
_ENABLE_PUSH, _MAX_STREAMS, _INITIAL_WINDOW, _MAX_FRAME, _MAX_HEADERS = 2, 3, 4, 5, 6


class Streams:
    """The streams of one connection. Methods raise `Fault` for a fault of the connection.

    last: the number of the newest stream. is_settled: whether the client has sent its settings. is_draining: whether
    new calls are refused.
    """

    def __init__(self, heads: Heads, output: Output) -> None:
        self._heads, self._output, self._gate = heads, output, output.gate
        self._head: tuple[int, int, list[bytes]] | None = None  # an incomplete head: stream, flags, parts
        self.is_settled = self.is_draining = False
        self.last = self._received = self._rare = self._rare_in = 0
        self._handlers: dict[int, Callable[[int, int, bytes], None]] = {
            http2.DATA: self._data,
            http2.HEADERS: self._headers,
            http2.PRIORITY: self._priority,
            http2.RST_STREAM: self._reset,
            http2.SETTINGS: self._settings,
            http2.PING: self._ping,
            http2.GOAWAY: self._go_away,
            http2.WINDOW_UPDATE: self._update,
            http2.CONTINUATION: self._continue,
        }

    def greeting(self) -> bytes:
        """Return the first frames of the server."""
        pairs = (
            (_MAX_STREAMS, _MOST_CALLS),
            (_INITIAL_WINDOW, _STREAM_WINDOW),
            (_MAX_HEADERS, self._gate.settings.max_header_bytes),
        )
        said = b"".join([name.to_bytes(2, "big") + value.to_bytes(4, "big") for name, value in pairs])
        more = (_CONNECTION_WINDOW - _FIRST_WINDOW).to_bytes(4, "big")
        return frame(http2.SETTINGS, 0, 0, said) + frame(http2.WINDOW_UPDATE, 0, 0, more)

    def take(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        """Handle one frame."""
        if self._head is not None and kind != http2.CONTINUATION:
            raise Fault(http2.PROTOCOL, "a head is not continued")
        if not self.is_settled and kind != http2.SETTINGS:
            raise Fault(http2.PROTOCOL, "the first frame has no settings")
        handler = self._handlers.get(kind)
        if handler is not None:
            handler(flags, number, payload)
        elif kind == http2.PUSH_PROMISE:
            raise Fault(http2.PROTOCOL, "a client pushes nothing")
        else:  # a kind of frames that is not known
            self._spend()

    def _spend(self, count: int = 1) -> None:
        """Count frames that a well-behaved client seldom sends. Raises `Fault` for too many of them."""
        now = int(self._gate.now)
        if now != self._rare_in:
            self._rare_in, self._rare = now, 0
        self._rare += count
        if self._rare > _MOST_RARE:
            raise Fault(http2.ENHANCE_YOUR_CALM, "too many frames that do nothing", "calm")

    # Calls.

    def _headers(self, flags: int, number: int, payload: bytes) -> None:
        payload = unpadded(flags, payload, has_priority=True)
        if flags & http2.END_HEADERS:
            self._open(number, flags, payload)
        else:
            self._head = number, flags, [payload]

    def _continue(self, flags: int, number: int, payload: bytes) -> None:
        head = self._head
        if head is None or head[0] != number:
            raise Fault(http2.PROTOCOL, "no head is to be continued")
        head[2].append(payload)
        if sum(map(len, head[2])) > self._gate.settings.max_header_bytes or len(head[2]) > _MOST_PARTS:
            raise Fault(http2.ENHANCE_YOUR_CALM, "a head is too large", "head")
        if flags & http2.END_HEADERS:
            self._head = None
            self._open(number, head[1], b"".join(head[2]))

    def _open(self, number: int, flags: int, block: bytes) -> None:
        """Begin a call with its head, or end one with its trailers."""
        opened: Opened | None = None
        try:
            opened = self._heads.read(block)
        except HeadError:
            pass
        output, is_whole = self._output, bool(flags & http2.END_STREAM)
        call = output.calls.get(number)
        if call is not None:
            if not is_whole or call.has_ended:
                raise Fault(http2.PROTOCOL, "a head comes twice")
            call.close()
            return
        if number <= self.last or not number & 1:
            code = http2.STREAM_CLOSED if number > 0 and number & 1 else http2.PROTOCOL
            raise Fault(code, "a stream that cannot begin")
        self.last = number
        if opened is None:
            self._cancel(number, http2.PROTOCOL)
        elif self.is_draining or len(output.calls) >= _MOST_CALLS:
            self._cancel(number, http2.REFUSED_STREAM)
        elif opened.status != 200:
            self._gate.refuse("method" if opened.status == 405 else "coding")
            output.refuse(number, opened.status, is_whole=is_whole)
        else:
            call = output.calls[number] = Call(output, number, opened, output.stream_window)
            call.has_ended = is_whole
            if opened.error is not None:
                call.refuse(opened.error)
            elif is_whole:
                call.close()

    def _data(self, flags: int, number: int, payload: bytes) -> None:
        size = len(payload)
        self._received += size
        if self._received > _CONNECTION_WINDOW:
            raise Fault(http2.FLOW_CONTROL, "got more bytes than the window of the connection allows")
        if self._received > _CONNECTION_WINDOW // 2:
            self._output.send(frame(http2.WINDOW_UPDATE, 0, 0, self._received.to_bytes(4, "big")))
            self._received = 0
        if flags & http2.PADDED:
            payload = unpadded(flags, payload)
        call = self._output.calls.get(number)
        if call is None:
            if not number & 1 or number > self.last:
                raise Fault(http2.PROTOCOL, "data of no stream")
            self._spend()  # the stream is over
            return
        call.received += size
        if call.has_ended or call.received > _STREAM_WINDOW:
            self._cancel(number, http2.STREAM_CLOSED if call.has_ended else http2.FLOW_CONTROL)
            return
        if payload:
            call.feed(payload)
        elif not flags & http2.END_STREAM:
            self._spend()
        if call.is_over:
            return
        if flags & http2.END_STREAM:
            call.close()
        elif not call.is_paused and call.received > _STREAM_WINDOW // 2:
            self._output.replenish(call)

    def _priority(self, flags: int, number: int, payload: bytes) -> None:
        """Check a priority, which has no effect."""
        self._spend()
        if not number:
            raise Fault(http2.PROTOCOL, "the priority of no stream")
        if len(payload) != 5:
            if not number & 1 or number > self.last:  # a stream that has not begun cannot be reset
                raise Fault(http2.FRAME_SIZE, "a priority has five bytes")
            self._cancel(number, http2.FRAME_SIZE)

    def _reset(self, flags: int, number: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise Fault(http2.FRAME_SIZE, "a reset has four bytes")
        if not number & 1 or number > self.last:
            raise Fault(http2.PROTOCOL, "a reset of no stream")
        self._output.forget(number)
        self._spend()

    def _cancel(self, number: int, code: int) -> None:
        self._output.reset(number, code)
        self._output.forget(number)
        self._spend()

    # Frames of the connection.

    def _settings(self, flags: int, number: int, payload: bytes) -> None:
        if number or len(payload) % 6 or (flags & http2.ACK and payload):
            raise Fault(http2.FRAME_SIZE if not number else http2.PROTOCOL, "these are no settings")
        self.is_settled = True
        self._spend(1 + len(self._output.calls) // 8)  # new settings take time for each call
        if flags & http2.ACK:
            return
        for at in range(0, len(payload), 6):
            name, value = int.from_bytes(payload[at : at + 2], "big"), int.from_bytes(payload[at + 2 : at + 6], "big")
            if name == _INITIAL_WINDOW:
                self._output.widen_streams(value)
            elif name == _ENABLE_PUSH and value > 1:
                raise Fault(http2.PROTOCOL, "pushes are on or off")
            elif name == _MAX_FRAME and not MOST_FRAME <= value < 1 << 24:
                raise Fault(http2.PROTOCOL, "a size of frames that cannot be")
        self._output.send(frame(http2.SETTINGS, http2.ACK, 0))
        self._output.flush()

    def _ping(self, flags: int, number: int, payload: bytes) -> None:
        if len(payload) != 8 or number:
            raise Fault(http2.FRAME_SIZE if not number else http2.PROTOCOL, "a ping has eight bytes")
        if not flags & http2.ACK:
            self._spend()
            self._output.send(frame(http2.PING, http2.ACK, 0, payload))

    def _go_away(self, flags: int, number: int, payload: bytes) -> None:
        """Check the end of a client's pushes, of which there are none."""
        self._spend()
        if len(payload) < 8 or number:
            raise Fault(http2.FRAME_SIZE if not number else http2.PROTOCOL, "a goaway has eight bytes or more")

    def _update(self, flags: int, number: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise Fault(http2.FRAME_SIZE, "a window has four bytes")
        more = int.from_bytes(payload, "big") & MOST_WINDOW
        if not number:
            self._output.widen(more)
        elif (call := self._output.calls.get(number)) is not None:
            call.window += more
            if not more or call.window > MOST_WINDOW:
                self._cancel(number, http2.FLOW_CONTROL if more else http2.PROTOCOL)
                return
            self._output.flush_call(call)
        elif not number & 1 or number > self.last:
            raise Fault(http2.PROTOCOL, "the window of no stream")

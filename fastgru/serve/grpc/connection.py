"""Connections of HTTP/2 for gRPC: frames to calls, and no further than the limits.

What breaks the rules of HTTP/2 ends the connection, and what breaks those of one stream resets it. A client that sends
more control frames and resets a second than any does that means well is told to be calm, and disconnected. One that
does not read is not read from either.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final, cast

from fastgru.serve.errors import ServeError
from fastgru.serve.exchange import refusal as http_refusal
from fastgru.serve.gate import Gate
from fastgru.serve.grpc import frames as http2
from fastgru.serve.grpc.call import Call
from fastgru.serve.grpc.codes import HEAD, literal
from fastgru.serve.grpc.frames import FRAME_HEAD, MESSAGE_HEAD, PREFACE, Fault, frame, unpadded
from fastgru.serve.grpc.head import HeadError
from fastgru.serve.grpc.heads import Heads, Opened

__all__ = ["GrpcConnection"]

MOST_CALLS: Final = 1_024  # of a connection at once
_MOST_FRAME: Final = 1 << 14  # bytes of a frame, of the client's and of ours
_MOST_PARTS: Final = 16  # frames of a head
_CONNECTION_WINDOW: Final = 1 << 24
_STREAM_WINDOW: Final = 1 << 20
_FIRST_WINDOW: Final = (1 << 16) - 1  # as HTTP/2 has it before anything is said
_MOST_WINDOW: Final = (1 << 31) - 1
_MOST_RARE: Final = 2_000  # rare frames a second
_MOST_AT_ONCE: Final = 256  # frames in one turn of the loop
_PING_S: Final = 20.0
_LINGER_S: Final = 2.0
_HEADER_TABLE, _MAX_STREAMS, _INITIAL_WINDOW, _MAX_FRAME, _MAX_HEADERS = 1, 3, 4, 5, 6


class GrpcConnection(asyncio.Protocol):
    """One connection. heads: what reads the heads of its calls. gate: what all connections have in common.
    connections: those of the server, which it is one of.

    since, limit: see `gate.Connection`; it asks to be looked at from time to time.
    """

    def __init__(self, heads: Callable[[], Heads], gate: Gate, connections: set[Any]) -> None:
        self.gate, self._heads, self._connections = gate, heads(), connections
        self.since = self._heard = self._quiet = gate.now
        self.limit = min(gate.settings.deadline_seconds, gate.settings.keep_alive_seconds) / 4
        self.transport: asyncio.Transport = cast(Any, None)
        self._calls: dict[int, Call] = {}
        self._rest = b""
        self._head: tuple[int, int, list[bytes]] | None = None  # of a stream, its flags, what has come of it
        self._begun = self._settled = self._is_over = self._is_draining = self._has_entered = False
        self._is_behind = self._is_full = False  # frames wait here; what the client does not read does
        self._is_reading = True
        self._last = self._received = self._rare = self._rare_in = 0
        self._window, self._stream_window = _FIRST_WINDOW, _FIRST_WINDOW
        self._blocked: dict[int, Call] = {}
        self._stuck: float | None = None  # since when the client takes nothing
        self._prefix = b"\x20"  # no header is kept in a table: said once
        self._address = ""
        self._handlers: dict[int, Callable[[int, int, bytes], None]] = {
            http2.DATA: self._data,
            http2.HEADERS: self._headers,
            http2.RST_STREAM: self._reset,
            http2.SETTINGS: self._settings,
            http2.PING: self._ping,
            http2.WINDOW_UPDATE: self._update,
            http2.CONTINUATION: self._continue,
        }

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The transport is there."""
        self.transport = cast(asyncio.Transport, transport)
        client = transport.get_extra_info("peername")
        self._address = client[0] if isinstance(client, tuple) else ""
        self.since = self._heard = self._quiet = self.gate.now
        self._has_entered = self.gate.enters(self._address)
        self._connections.add(self)
        self.gate.connections.add(self)
        settings = self.gate.settings
        pairs = (
            (_MAX_STREAMS, MOST_CALLS),
            (_INITIAL_WINDOW, _STREAM_WINDOW),
            (_MAX_HEADERS, settings.max_header_bytes),
        )
        self._write(
            frame(http2.SETTINGS, 0, 0, b"".join([k.to_bytes(2, "big") + v.to_bytes(4, "big") for k, v in pairs]))
            + frame(http2.WINDOW_UPDATE, 0, 0, (_CONNECTION_WINDOW - _FIRST_WINDOW).to_bytes(4, "big"))
        )
        if not self._has_entered:
            self.gate.refuse("connections")
            self._part(http2.ENHANCE_YOUR_CALM, b"this address has too many connections already")

    def connection_lost(self, exc: Exception | None) -> None:
        """There is no transport any more: whoever works for this client is told."""
        self._is_over = True
        self._connections.discard(self)
        self.gate.connections.discard(self)
        if self._has_entered:
            self._has_entered = False
            self.gate.leaves(self._address)
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.abandon()

    def data_received(self, data: bytes) -> None:
        """Frames, or parts of some."""
        if self._is_over:
            return
        self._heard = self.gate.now
        if self._rest:
            data = self._rest + data
        at, end, left = 0, len(data), _MOST_AT_ONCE
        try:
            if not self._begun:
                at = self._begin(data)
            while end - at >= 9 and self._begun and not self._is_over:
                if not left:
                    self._is_behind = True
                    self._regulate()
                    asyncio.get_running_loop().call_soon(self._go_on)
                    break
                left -= 1
                word, flags, number = FRAME_HEAD.unpack_from(data, at)
                size, kind = word >> 8, word & 255
                if size > _MOST_FRAME:
                    raise Fault(http2.FRAME_SIZE, "a frame is too large")
                stop = at + 9 + size
                if stop > end:
                    break
                self._frame(kind, flags, number & _MOST_WINDOW, data[at + 9 : stop])
                at = stop
        except Fault as fault:
            self.gate.refuse(fault.reason)
            self._part(fault.code, fault.text.encode())
        self._rest = data[at:]

    def _go_on(self) -> None:
        """Take up frames that have waited until others had their turn."""
        self._is_behind = False
        self.data_received(b"")
        self._regulate()

    def _begin(self, data: bytes) -> int:
        """How many bytes of the preface have been taken."""
        if data.startswith(PREFACE):
            self._begun = True
            return len(PREFACE)
        if not PREFACE.startswith(data[: len(PREFACE)]):
            self.gate.refuse("malformed")
            self.transport.write(http_refusal(400, "this port speaks gRPC over HTTP/2 alone", "malformed"))
            self._is_over = True
            self.transport.close()
        return 0

    def _frame(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if self._head is not None and kind != http2.CONTINUATION:
            raise Fault(http2.PROTOCOL, "a head is not continued")
        if not self._settled and kind != http2.SETTINGS:
            raise Fault(http2.PROTOCOL, "the first frame has no settings")
        handler = self._handlers.get(kind)
        if handler is not None:
            handler(flags, number, payload)
        elif kind == http2.PUSH_PROMISE:
            raise Fault(http2.PROTOCOL, "a client pushes nothing")
        elif kind != http2.GOAWAY:  # priorities, and what there may be in times to come
            self.spend()

    def spend(self) -> None:
        """See `call.Line`."""
        now = int(self.gate.now)
        if now != self._rare_in:
            self._rare_in, self._rare = now, 0
        self._rare += 1
        if self._rare == _MOST_RARE:
            self.gate.refuse("calm")
            self._part(http2.ENHANCE_YOUR_CALM, b"too many frames that do nothing")

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
        if sum(map(len, head[2])) > self.gate.settings.max_header_bytes or len(head[2]) > _MOST_PARTS:
            raise Fault(http2.ENHANCE_YOUR_CALM, "a head is too large", "head")
        if flags & http2.END_HEADERS:
            self._head = None
            self._open(number, head[1], b"".join(head[2]))

    def _open(self, number: int, flags: int, block: bytes) -> None:
        """A call begins, or trailers end one."""
        opened: Opened | None = None
        try:
            opened = self._heads.read(block)
        except HeadError:
            pass
        call = self._calls.get(number)
        if call is not None:
            if not flags & http2.END_STREAM or call.has_ended:
                raise Fault(http2.PROTOCOL, "a head comes twice")
            call.close()
            return
        if number <= self._last or not number & 1:
            raise Fault(
                http2.STREAM_CLOSED if number > 0 and number & 1 else http2.PROTOCOL, "a stream that cannot begin"
            )
        self._last = number
        if opened is None:
            self._cancel(number, http2.PROTOCOL)
        elif self._is_draining or len(self._calls) >= MOST_CALLS:
            self._cancel(number, http2.REFUSED_STREAM)
        elif opened.status != 200:
            self.gate.refuse("method" if opened.status == 405 else "coding")
            block = literal(b":status", b"%d" % opened.status)
            self._write(frame(http2.HEADERS, http2.END_HEADERS | http2.END_STREAM, number, self._prefix + block))
            self._prefix = b""
            if not flags & http2.END_STREAM:
                self._write(frame(http2.RST_STREAM, 0, number, http2.NO_ERROR.to_bytes(4, "big")))
        else:
            call = self._calls[number] = Call(
                self,
                number,
                opened.method,
                opened.identity,
                opened.headers,
                opened.timeout_ns,
                self._stream_window,
            )
            call.has_ended = bool(flags & http2.END_STREAM)
            if opened.error is not None:
                call.refuse(opened.error)
            elif call.has_ended:
                call.close()

    def _data(self, flags: int, number: int, payload: bytes) -> None:
        size = len(payload)
        self._received += size
        if self._received > _CONNECTION_WINDOW:
            raise Fault(http2.FLOW_CONTROL, "more came than the window of the connection has")
        if self._received > _CONNECTION_WINDOW // 2:
            self._write(frame(http2.WINDOW_UPDATE, 0, 0, self._received.to_bytes(4, "big")))
            self._received = 0
        if flags & http2.PADDED:
            payload = unpadded(flags, payload)
        call = self._calls.get(number)
        if call is None:
            if not number & 1 or number > self._last:
                raise Fault(http2.PROTOCOL, "data of no stream")
            self.spend()  # of one that is over
            return
        if call.has_ended:
            self._give_up(call, http2.STREAM_CLOSED)
            return
        call.received += size
        if call.received > _STREAM_WINDOW:
            self._give_up(call, http2.FLOW_CONTROL)
            return
        if payload:
            call.feed(payload)
        elif not flags & http2.END_STREAM:
            self.spend()
        if call.is_over:
            return
        if flags & http2.END_STREAM:
            call.close()
        elif not call.is_paused and call.received > _STREAM_WINDOW // 2:
            self.replenish(call)

    def _reset(self, flags: int, number: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise Fault(http2.FRAME_SIZE, "a reset has four bytes")
        if not number & 1 or number > self._last:
            raise Fault(http2.PROTOCOL, "a reset of no stream")
        self.spend()
        call = self._calls.pop(number, None)
        self._blocked.pop(number, None)
        if call is not None:
            call.abandon()
            self._left()

    def _give_up(self, call: Call, code: int) -> None:
        self._cancel(call.number, code)
        self._calls.pop(call.number, None)
        self._blocked.pop(call.number, None)
        call.abandon()
        self._left()

    def _cancel(self, number: int, code: int) -> None:
        self._write(frame(http2.RST_STREAM, 0, number, code.to_bytes(4, "big")))
        self.spend()

    # What is said of the connection.

    def _settings(self, flags: int, number: int, payload: bytes) -> None:
        if number or len(payload) % 6 or (flags & http2.ACK and payload):
            raise Fault(http2.FRAME_SIZE if not number else http2.PROTOCOL, "these are no settings")
        self._settled = True
        self.spend()
        if flags & http2.ACK:
            return
        for at in range(0, len(payload), 6):
            name, value = int.from_bytes(payload[at : at + 2], "big"), int.from_bytes(payload[at + 2 : at + 6], "big")
            if name == _INITIAL_WINDOW:
                if value > _MOST_WINDOW:
                    raise Fault(http2.FLOW_CONTROL, "a window is too large")
                more, self._stream_window = value - self._stream_window, value
                for call in self._calls.values():
                    call.window += more
            elif name == _MAX_FRAME and not _MOST_FRAME <= value < 1 << 24:
                raise Fault(http2.PROTOCOL, "a size of frames that cannot be")
        self._write(frame(http2.SETTINGS, http2.ACK, 0))
        self._flush()

    def _ping(self, flags: int, number: int, payload: bytes) -> None:
        if len(payload) != 8 or number:
            raise Fault(http2.FRAME_SIZE if not number else http2.PROTOCOL, "a ping has eight bytes")
        if not flags & http2.ACK:
            self.spend()
            self._write(frame(http2.PING, http2.ACK, 0, payload))

    def _update(self, flags: int, number: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise Fault(http2.FRAME_SIZE, "a window has four bytes")
        more = int.from_bytes(payload, "big") & _MOST_WINDOW
        if not number:
            self._window += more
            if not more or self._window > _MOST_WINDOW:
                raise Fault(http2.FLOW_CONTROL if more else http2.PROTOCOL, "the window of the connection cannot be")
        elif (call := self._calls.get(number)) is not None:
            call.window += more
            if not more or call.window > _MOST_WINDOW:
                self._give_up(call, http2.FLOW_CONTROL if more else http2.PROTOCOL)
                return
        elif not number & 1 or number > self._last:
            raise Fault(http2.PROTOCOL, "the window of no stream")
        if self._blocked:
            self._flush()

    # What goes.

    def replenish(self, call: Call) -> None:
        """See `call.Line`."""
        if call.received:
            self._write(frame(http2.WINDOW_UPDATE, 0, call.number, call.received.to_bytes(4, "big")))
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
            if call.pending or size > self._window or size > call.window or size > _MOST_FRAME:
                call.pending += b"\0" + len(message).to_bytes(4, "big") + message
            else:
                self._window -= size
                call.window -= size
                parts += (MESSAGE_HEAD.pack(size << 8, 0, number, 0, size - 5), message)
        call.trailers = trailers
        if trailers is not None and not call.pending:
            parts.append(self._ended(call))
        self._write(b"".join(parts))
        if call.pending:
            self._blocked[number] = call
            self._flush()
        elif trailers is not None:
            self._left()

    def _ended(self, call: Call) -> bytes:
        """The end of the call, which is over with it."""
        assert call.trailers is not None
        end = frame(http2.HEADERS, http2.END_HEADERS | http2.END_STREAM, call.number, call.trailers)
        if not call.has_ended:
            end += frame(http2.RST_STREAM, 0, call.number, http2.NO_ERROR.to_bytes(4, "big"))
        self._calls.pop(call.number, None)
        call.leave()
        return end

    def _flush(self) -> None:
        """Send what windows have room for."""
        for call in tuple(self._blocked.values()):
            pending = call.pending
            while pending and (size := min(self._window, call.window, _MOST_FRAME, len(pending))) > 0:
                self._window -= size
                call.window -= size
                self._write(frame(http2.DATA, 0, call.number, bytes(memoryview(pending)[:size])))
                del pending[:size]
                self._stuck = self.gate.now
            if not pending:
                del self._blocked[call.number]
                if call.trailers is not None:
                    self._write(self._ended(call))
                    self._left()
                else:
                    call.method.sent(call)
        self._stuck = (self._stuck or self.gate.now) if self._blocked else None

    def _write(self, data: bytes) -> None:
        if not self._is_over:
            self.transport.write(data)

    def pause_writing(self) -> None:
        """The client does not read what it is sent."""
        self._stuck, self._is_full = self.gate.now, True
        self._regulate()

    def resume_writing(self) -> None:
        """It reads again."""
        self._stuck, self._is_full = self.gate.now if self._blocked else None, False
        self._regulate()

    def _regulate(self) -> None:
        """Read from the client unless there is enough to do."""
        wanted = not (self._is_behind or self._is_full)
        if wanted != self._is_reading and not self.transport.is_closing():
            self._is_reading = wanted
            if wanted:
                self.transport.resume_reading()
            else:
                self.transport.pause_reading()

    # The end.

    def _left(self) -> None:
        """A call is over."""
        if not self._calls:
            self._quiet = self.gate.now
            if self._is_draining and not self._is_over:
                self.transport.close()

    def _part(self, code: int, text: bytes = b"") -> None:
        """Say why this is the end. What the client still sends is read for a while, so that it sees the answer."""
        if self._is_over:
            return
        self._write(frame(http2.GOAWAY, 0, 0, self._last.to_bytes(4, "big") + code.to_bytes(4, "big") + text))
        self._is_over = True
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.abandon()
        self.since, self.limit = self.gate.now, _LINGER_S
        if self._has_entered and self.transport.can_write_eof():
            self.transport.write_eof()
            self._is_behind = self._is_full = False
            self._regulate()
        else:
            self.transport.close()

    def expire(self) -> None:
        """See `gate.Connection`: look after what takes too long."""
        settings, now = self.gate.settings, self.gate.now
        if self._is_over:
            self.transport.abort()
            return
        self.since = now
        if self._stuck is not None and now - self._stuck > settings.deadline_seconds:
            self.gate.refuse("slow")
            self.transport.abort()
        elif not self._settled and now - self._quiet > settings.deadline_seconds:
            self.gate.refuse("slow")
            self._part(http2.PROTOCOL, b"slow")
        elif not self._calls:
            if now - self._quiet > settings.keep_alive_seconds:
                self._part(http2.NO_ERROR)
        elif now - self._heard > 2 * _PING_S:
            self.transport.abort()
        elif now - self._heard > _PING_S:
            self._write(frame(http2.PING, 0, 0, bytes(8)))
        for call in [call for call in self._calls.values() if call.is_slow(now, settings.deadline_seconds)]:
            call.refuse(ServeError(408, f"a message comes within {settings.deadline_seconds:g} s", reason="slow"))

    def shutdown(self) -> None:
        """The server goes down: what has been asked is answered, and nothing more. The second time, streams end."""
        if self._is_over:
            return
        if not self._is_draining:
            self._is_draining = True
            self._write(frame(http2.GOAWAY, 0, 0, self._last.to_bytes(4, "big") + http2.NO_ERROR.to_bytes(4, "big")))
            self._left()
            return
        for call in tuple(self._calls.values()):
            call.method.drain(call)

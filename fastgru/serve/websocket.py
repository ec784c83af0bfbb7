"""WebSocket connections (RFC 6455), from the bytes of a socket to whole messages and back, without a task that wakes.

The handshake is an ASGI request like any other, so that keys, hosts and origins are checked in one place. After it,
the application hands its `Receiver` to the extension `EXTENSION` of the scope (`Handshake.take`), and from then on
messages go straight from `WebSocket.data_received` to the receiver, and answers straight into the transport. That
takes 4 us of CPU a message where a task that waits for messages takes 18.

No extension is negotiated, so there is no compression: what a client sends is never larger in memory than on the wire.
"""

import asyncio
import logging
from collections.abc import Callable
from struct import Struct
from typing import Any, Final, cast

from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import apply_mask

from fastgru.serve.channel import EXTENSION, Receiver

__all__ = ["Handshake", "WebSocket"]

_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_FINAL: Final = 0x80
_MASKED: Final = 0x80
_CONTROL_BYTES: Final = 125
_EARLY_BYTES: Final = 1 << 16
_CLOSE_SECONDS: Final = 5.0
_NO_CODE: Final = 1005
_LOST: Final = 1006
_U16, _U64 = Struct(">H"), Struct(">Q")
_SHORT, _LONG = Struct(">BBH"), Struct(">BBQ")
_log = logging.getLogger("fastgru.serve")


def close_payload(code: int, reason: str) -> bytes:
    """The payload of a close frame: two bytes of code, and as much of the reason as 125 bytes hold."""
    text = reason.encode()[: _CONTROL_BYTES - 2].decode(errors="ignore")
    return _U16.pack(code) + text.encode()


def is_close_code(code: int) -> bool:
    """Whether a peer may send it in a close frame."""
    return (1000 <= code <= 1014 and code not in (1004, _NO_CODE, _LOST)) or 3000 <= code <= 4999


class WebSocket(asyncio.Protocol):
    """The server's side of one connection after its handshake; a `Channel` for its receiver.

    max_size: bytes of a message; a longer one ends the connection with 1009. ping_s: a connection from which nothing
    has come for so long is asked for a sign of life, and lost after as long again (code 1011); None: it is not asked.
    gone: called when the connection is over. Faults of the client's protocol end it with 1002, text that is no UTF-8
    with 1007.
    """

    __slots__ = (
        "_alive",
        "_buffer",
        "_closing",
        "_code",
        "_failed",
        "_fragments",
        "_gone",
        "_loop",
        "_max_size",
        "_needed",
        "_opcode",
        "_ping_s",
        "_reading",
        "_receiver",
        "_timer",
        "transport",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        receiver: Receiver,
        *,
        max_size: int = 1 << 20,
        ping_s: float | None = 20.0,
        gone: Callable[["WebSocket"], None] | None = None,
    ) -> None:
        self.transport, self._receiver, self._gone = transport, receiver, gone
        self._max_size, self._ping_s = max_size, ping_s
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()  # of a message that is not complete, or not yet wanted
        self._needed = 0
        self._opcode = _CONTINUATION  # of the message whose fragments come; _CONTINUATION where there is none
        self._fragments = bytearray()
        self._reading = self._alive = True
        self._closing = self._failed = False
        self._code = _LOST
        self._timer: asyncio.TimerHandle | None = None
        if ping_s is not None:
            self._timer = self._loop.call_later(ping_s, self._look_for_life)

    def data_received(self, data: bytes) -> None:
        """Deliver the messages that are complete now."""
        try:
            self._read(data)
        except Exception:
            _log.exception("a message of a WebSocket could not be taken")
            self.close(1011, "the server has failed")

    def _read(self, data: bytes) -> None:
        self._alive = True
        if self._buffer or not self._reading:
            self._buffer += data
            if len(self._buffer) < self._needed or not self._reading:
                return
            data = bytes(self._buffer)
            self._buffer = bytearray()
        at, end = 0, len(data)
        while end - at >= 2 and self._reading and not self._failed:
            first, size = data[at], data[at + 1]
            payload = at + 6
            if size == _MASKED | 126:
                payload = at + 8
            elif size == _MASKED | 127:
                payload = at + 14
            if end < payload and size & _MASKED:
                self._needed = payload - at
                break
            size = self._size_of(data, at) if size < _MASKED or size >= _MASKED | 126 else size & 127
            if first != _FINAL | _BINARY or self._opcode or size > self._max_size:
                self._check(first, size)
            if self._failed:
                return
            if end - payload < size:
                self._needed = payload + size - at
                break
            at = payload + size
            message = apply_mask(data[payload:at], data[payload - 4 : payload])
            if first == _FINAL | _BINARY and not self._closing:
                self._receiver.on_binary(message)
            else:
                self._frame(first, message)
        else:
            self._needed = 0
        if at < end and not self._failed:
            self._buffer += data[at:]

    def _size_of(self, data: bytes, at: int) -> int:
        """The size of the payload of a frame that is not short, or not valid."""
        second = data[at + 1]
        if second < _MASKED:
            self._fail(1002, "a client's frames are masked")
            return 0
        size: int
        (size,) = _U16.unpack_from(data, at + 2) if second & 127 == 126 else _U64.unpack_from(data, at + 2)
        if size < (126 if second & 127 == 126 else 1 << 16):
            self._fail(1002, "a size is written in as few bytes as hold it")
        return size

    def _check(self, first: int, size: int) -> None:
        """End the connection where the head of a frame, which is no plain binary message, breaks the rules."""
        opcode = first & 15
        if first & 0x70:
            self._fail(1002, "no extension was agreed on, and a reserved bit is set")
        elif opcode >= _CLOSE:
            if opcode > _PONG:
                self._fail(1002, f"opcode {opcode} is reserved")
            elif size > _CONTROL_BYTES or not first & _FINAL:
                self._fail(1002, "a control frame has at most 125 bytes and is not fragmented")
        elif opcode > _BINARY:
            self._fail(1002, f"opcode {opcode} is reserved")
        elif (opcode == _CONTINUATION) != (self._opcode != _CONTINUATION):
            self._fail(1002, "a message begins before the last one is complete, or goes on where there is none")
        elif len(self._fragments) + size > self._max_size:
            self._fail(1009, f"a message has at most {self._max_size} bytes")

    def _frame(self, first: int, payload: bytes) -> None:
        """Any frame but a binary message in one."""
        opcode = first & 15
        if opcode == _CLOSE:
            self._on_close(payload)
        elif self._closing:
            return
        elif opcode == _PING:
            self._send(_PONG, payload)
        elif opcode != _PONG:
            if not first & _FINAL or self._opcode:
                self._opcode = self._opcode or opcode
                self._fragments += payload
                if not first & _FINAL:
                    return
                opcode, payload = self._opcode, bytes(self._fragments)
                self._opcode, self._fragments = _CONTINUATION, bytearray()
            if opcode == _BINARY:
                self._receiver.on_binary(payload)
                return
            try:
                payload.decode()
            except UnicodeDecodeError:
                self._fail(1007, "a text message is no UTF-8")
            else:
                self._receiver.on_text(payload)

    def _on_close(self, payload: bytes) -> None:
        code = _U16.unpack_from(payload)[0] if len(payload) >= 2 else _NO_CODE
        try:
            payload[2:].decode()
        except UnicodeDecodeError:
            self._fail(1007, "the reason of a close frame is no UTF-8")
            return
        if len(payload) == 1 or (payload and not is_close_code(code)):
            self._fail(1002, "a close frame carries a code that a peer may send, or nothing")
            return
        if not self._closing:
            self._code = code
            self._send(_CLOSE, payload[:2])
            self._closing = True
        self.transport.close()
        self._limit()

    def _fail(self, code: int, reason: str) -> None:
        """The client broke the protocol: say so, read no more of what it sends."""
        if not self._failed:
            self._failed = True
            self._buffer.clear()
            self.close(code, reason)
            if self.transport.can_write_eof():
                self.transport.write_eof()

    def _send(self, opcode: int, payload: bytes) -> None:
        size = len(payload)
        if size < 126:
            head = bytes((_FINAL | opcode, size))
        elif size < 1 << 16:
            head = _SHORT.pack(_FINAL | opcode, 126, size)
        else:
            head = _LONG.pack(_FINAL | opcode, 127, size)
        self.transport.write(head + payload)

    def send_binary(self, data: bytes) -> None:
        """One message; nothing once the connection is about to close."""
        if not self._closing:
            self._send(_BINARY, data)

    def send_text(self, data: bytes) -> None:
        """One message of text in UTF-8."""
        if not self._closing:
            self._send(_TEXT, data)

    def close(self, code: int, reason: str) -> None:
        """Write a close frame; the connection is lost when the client answers it, or after a few seconds."""
        if not self._closing:
            self._send(_CLOSE, close_payload(code, reason))
            self._closing, self._code = True, code
            self.set_reading(True)
            self._limit()

    def _limit(self) -> None:
        """However slow the client is, nothing is kept of its connection after some seconds."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(_CLOSE_SECONDS, self.transport.abort)

    def set_reading(self, reading: bool) -> None:
        """Whether messages are delivered; those that came meanwhile follow in a turn of the loop of their own."""
        if reading != self._reading and not self.transport.is_closing():
            self._reading = reading
            if reading:
                self.transport.resume_reading()
                self._loop.call_soon(self.data_received, b"")
            else:
                self.transport.pause_reading()
                self._needed = 0

    def _look_for_life(self) -> None:
        if not self._alive and self._reading:
            self.close(1011, "no sign of life")
            return
        self._alive = False
        self._send(_PING, b"")
        self._timer = self._loop.call_later(cast(float, self._ping_s), self._look_for_life)

    def pause_writing(self) -> None:
        """The transport: its buffer is full."""
        self._receiver.on_blocked(True)

    def resume_writing(self) -> None:
        """The transport: its buffer is nearly empty."""
        self._receiver.on_blocked(False)

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport: there is no more connection."""
        self._closing = self._failed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._gone is not None:
            self._gone(self)
        self._receiver.on_lost(self._code)

    def shutdown(self) -> None:
        """The server goes away, and has told so before; whoever is still here is told by the code."""
        self.close(1001, "the server is going away")


class Handshake(WebSocketsSansIOProtocol):  # type: ignore[misc]
    """uvicorn's protocol up to the answer of the handshake; then `take` puts a `WebSocket` in its place.

    Made for `uvicorn.Config(ws=Handshake)`, and for an application that takes every connection which it accepts.
    """

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any], **options: Any) -> None:
        super().__init__(config, server_state, app_state, **options)
        self.conn.available_extensions = []
        self._early = b""

    def data_received(self, data: bytes) -> None:
        """A request; what a client sends before it has the answer is kept."""
        if not self.handshake_initiated:
            super().data_received(data)
            return
        self._early += data
        if len(self._early) > _EARLY_BYTES:
            self.transport.abort()

    async def run_asgi(self) -> None:
        """Call the application, which finds this object under `EXTENSION`."""
        cast(dict[str, Any], self.scope["extensions"])[EXTENSION] = self
        await super().run_asgi()

    async def send(self, message: Any) -> None:
        """As uvicorn's, which takes an HTTP answer in place of the handshake for none, and would log that.

        A client that has gone meanwhile is no fault: it is told nothing, and the receiver that it is lost.
        """
        if self.disconnected or self.transport.is_closing():
            self.handshake_complete = True
            return
        await super().send(message)
        if message["type"] == "websocket.http.response.body":
            self.handshake_complete = True

    def take(self, receiver: Receiver, max_size: int) -> WebSocket:
        """To be called without an await after the one that accepted the connection."""
        self.stop_keepalive()
        self.connections.discard(self)
        socket = WebSocket(
            self.transport,
            receiver,
            max_size=max_size,
            ping_s=self.config.ws_ping_interval,
            gone=self.connections.discard,
        )
        self.connections.add(cast(Any, socket))
        self.transport.set_protocol(socket)
        if self.disconnected:
            self.loop.call_soon(socket.connection_lost, None)
        if self._early:
            self.loop.call_soon(socket.data_received, self._early)
        return socket

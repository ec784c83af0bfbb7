"""HTTP/2 connections for gRPC: from bytes to frames, within the limits of the server.

A fault of the connection ends it, and a fault of one stream resets that stream. A client that sends far more control
frames and resets per second than a well-behaved one is told to be calm, and disconnected. From a client that does not
read, the server does not read either.
"""

import asyncio
from collections.abc import Callable, Collection
from typing import Any, Final, cast

from fastgru.serve.errors import ServeError
from fastgru.serve.exchange import refusal as http_refusal
from fastgru.serve.gate import Gate
from fastgru.serve.grpc import frames as http2
from fastgru.serve.grpc.frames import FRAME_HEAD, PREFACE, Fault, frame
from fastgru.serve.grpc.heads import Heads
from fastgru.serve.grpc.output import MOST_FRAME, MOST_WINDOW, Output
from fastgru.serve.grpc.streams import Streams

__all__ = ["GrpcConnection"]

_MOST_AT_ONCE: Final = 256  # frames in one iteration of the loop
_PING_S: Final = 20.0
_LINGER_S: Final = 2.0


class GrpcConnection(asyncio.Protocol):
    """One connection.

    heads: returns a reader of the heads of its calls. gate: shared by all connections. connections: all connections of
    the server, including this one. since, limit: see `gate.Connection`; they have `expire` called from time to time.
    """

    def __init__(self, heads: Callable[[], Heads], gate: Gate, connections: set[Any]) -> None:
        self.gate, self._connections = gate, connections
        self.since = self._heard = self._quiet = gate.now
        self.limit = min(gate.settings.deadline_seconds, gate.settings.keep_alive_seconds) / 4
        self.transport: asyncio.Transport = cast(Any, None)
        self._output = Output(gate, self._left)
        self._streams = Streams(heads(), self._output)
        self._rest = b""
        self._begun = self._has_entered = False
        self._is_behind = self._is_full = False  # received frames wait here; answers wait for the client
        self._is_reading = True
        self._address = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the connection, or refuse it if its address has too many."""
        self.transport = self._output.transport = cast(asyncio.Transport, transport)
        client = transport.get_extra_info("peername")
        self._address = client[0] if isinstance(client, tuple) else ""
        self.since = self._heard = self._quiet = self.gate.now
        self._has_entered = self.gate.enters(self._address)
        self._connections.add(self)
        self.gate.connections.add(self)
        self._output.send(self._streams.greeting())
        if not self._has_entered:
            self.gate.refuse("connections")
            self._part(http2.ENHANCE_YOUR_CALM, b"this address has too many connections already")

    def connection_lost(self, exc: Exception | None) -> None:
        """End the connection, and abandon its calls."""
        self._connections.discard(self)
        self.gate.connections.discard(self)
        if self._has_entered:
            self._has_entered = False
            self.gate.leaves(self._address)
        self._output.end()

    def data_received(self, data: bytes) -> None:
        """Take bytes of frames."""
        output = self._output
        if output.is_over:
            return
        self._heard = self.gate.now
        if self._rest:
            data = self._rest + data
        at, end, left = 0, len(data), _MOST_AT_ONCE
        try:
            if not self._begun:
                at = self._begin(data)
            while end - at >= 9 and self._begun and not output.is_over:
                if not left:
                    self._is_behind = True
                    self._regulate()
                    asyncio.get_running_loop().call_soon(self._go_on)
                    break
                left -= 1
                word, flags, number = FRAME_HEAD.unpack_from(data, at)
                size = word >> 8
                if size > MOST_FRAME:
                    raise Fault(http2.FRAME_SIZE, "a frame is too large")
                stop = at + 9 + size
                if stop > end:
                    break
                self._streams.take(word & 255, flags, number & MOST_WINDOW, data[at + 9 : stop])
                at = stop
        except Fault as fault:
            self.gate.refuse(fault.reason)
            self._part(fault.code, fault.text.encode())
        self._rest = data[at:]

    def _go_on(self) -> None:
        """Take the frames that have waited for the next iteration of the loop."""
        self._is_behind = False
        self.data_received(b"")
        self._regulate()

    def _begin(self, data: bytes) -> int:
        """Check the preface, and return how many bytes of it were taken."""
        if data.startswith(PREFACE):
            self._begun = True
            return len(PREFACE)
        if not PREFACE.startswith(data[: len(PREFACE)]):
            self.gate.refuse("malformed")
            self._output.send(http_refusal(400, "this port speaks gRPC over HTTP/2 alone", "malformed"))
            self._output.end()
            self.transport.close()
        return 0

    def pause_writing(self) -> None:
        """Stop reading, because the client does not read."""
        self._output.stuck, self._is_full = self.gate.now, True
        self._regulate()

    def resume_writing(self) -> None:
        """Read again, because the client does."""
        self._output.stuck, self._is_full = self.gate.now if self._output.is_blocked else None, False
        self._regulate()

    def _regulate(self) -> None:
        """Read from the client unless its frames or its answers wait."""
        wanted = not (self._is_behind or self._is_full)
        if wanted != self._is_reading and not self.transport.is_closing():
            self._is_reading = wanted
            if wanted:
                self.transport.resume_reading()
            else:
                self.transport.pause_reading()

    def _left(self) -> None:
        """Handle the end of a call, and close a draining connection after its last call."""
        if not self._output.calls:
            self._quiet = self.gate.now
            if self._streams.is_draining and not self._output.is_over:
                self.transport.close()

    def _part(self, code: int, text: bytes = b"") -> None:
        """End the connection with a GOAWAY. The client's bytes are still read for a while, so that it receives that."""
        if self._output.is_over:
            return
        self._output.go_away(self._streams.last, code, text)
        self._output.end()
        self.since, self.limit = self.gate.now, _LINGER_S
        if self._has_entered and self.transport.can_write_eof():
            self.transport.write_eof()
            self._is_behind = self._is_full = False
            self._regulate()
        else:
            self.transport.close()

    def expire(self) -> None:
        """See `gate.Connection`: end what takes too long, and send pings."""
        settings, now, output = self.gate.settings, self.gate.now, self._output
        if output.is_over:
            self.transport.abort()
            return
        self.since = now
        if output.stuck is not None and now - output.stuck > settings.deadline_seconds:
            self.gate.refuse("slow")
            self.transport.abort()
        elif not self._streams.is_settled and now - self._quiet > settings.deadline_seconds:
            self.gate.refuse("slow")
            self._part(http2.PROTOCOL, b"slow")
        elif not output.calls:
            if now - self._quiet > settings.keep_alive_seconds:
                self._part(http2.NO_ERROR)
        elif now - self._heard > 2 * _PING_S:
            self.transport.abort()
        elif now - self._heard > _PING_S:
            output.send(frame(http2.PING, 0, 0, bytes(8)))
        for call in [call for call in output.calls.values() if call.is_slow(now, settings.deadline_seconds)]:
            call.refuse(
                ServeError(408, f"no whole message has come within {settings.deadline_seconds:g} s", reason="slow")
            )

    def expel(self, keys: Collection[str]) -> None:
        """End the calls of keys that may not use the server any more. New calls need a new connection."""
        if not self._streams.is_draining:
            self.shutdown()
        for call in [call for call in self._output.calls.values() if call.identity.key in keys]:
            call.refuse(ServeError(401, "the API key has been withdrawn or changed", reason="key"))
            call.method.cancel(call)

    def shutdown(self) -> None:
        """Take no new calls and answer the current ones, because the server shuts down. A second call ends streams."""
        if self._output.is_over:
            return
        if not self._streams.is_draining:
            self._streams.is_draining = True
            self._output.go_away(self._streams.last, http2.NO_ERROR)
            self._left()
            return
        for call in tuple(self._output.calls.values()):
            call.method.drain(call)

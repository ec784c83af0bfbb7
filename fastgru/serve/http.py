"""HTTP/1.1 connections, from bytes to exchanges, within the limits of the server.

httptools splits the bytes, and refuses most requests that two programs could read differently (bare line feeds, folded
headers, two lengths, a length with chunked coding). This protocol, which replaces uvicorn's, refuses the rest, counts
what a connection takes, and closes slow connections. A refused request gets an answer, with which the connection ends,
because the beginning of the next request is unknown after a fault.
"""

import asyncio
from math import inf
from typing import Any, Final, cast

import httptools

from fastgru.serve.exchange import Exchange, refusal
from fastgru.serve.head import Fault, large_head, malformed
from fastgru.serve.parsing import RETRY_S, Parsing, full
from fastgru.serve.repetition import Repetition

__all__ = ["HttpProtocol"]

_LINGER_SECONDS: Final = 2.0
_LOOK_SECONDS: Final = 0.05  # in which a request that lies unread is read
_PLAIN: Final = str.maketrans({'"': "'", "\\": "/"})


class HttpProtocol(Parsing):
    """One connection. Its arguments are those of uvicorn's own protocols, and the gate."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the connection, or refuse it if its address has too many."""
        self.transport = cast(asyncio.Transport, transport)
        client, server = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        is_ip = isinstance(client, tuple)
        self._address = client[0] if is_ip else ""
        self._fixed = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "scheme": "https" if transport.get_extra_info("sslcontext") else "http",
            "client": client[:2] if is_ip else None,
            "server": server[:2] if isinstance(server, tuple) else (str(server), None),
            "root_path": "",
            "state": self._app_state,
        }
        self._has_entered = self.gate.enters(self._address)
        self._server_state.connections.add(cast(Any, self))
        self.gate.connections.add(self)
        self.since, self.limit = self.gate.now, self.gate.settings.deadline_seconds
        if self._has_entered:
            self._parser = httptools.HttpRequestParser(self)
        else:
            most = self.gate.settings.max_connections_per_address
            self._refuse(Fault(503, f"this address has {most} connections already", "connections", RETRY_S))

    def connection_lost(self, exc: Exception | None) -> None:
        """End the connection, and abandon its exchanges."""
        self._parser = None
        self._leave()
        self.resume_writing()
        exchange, self._exchange = self._exchange, None
        for each in (exchange, *self._waiting):
            if each is not None:
                each.abandon()
        self._waiting.clear()

    def _leave(self) -> None:
        if self._repetition is not None:
            self._repetition.leave()
            self._repetition = None
        self._server_state.connections.discard(cast(Any, self))
        self.gate.connections.discard(self)
        if self._has_entered:
            self._has_entered = False
            self.gate.leaves(self._address)

    def data_received(self, data: bytes) -> None:
        """Take bytes, which may be several requests or a part of one."""
        if self._parser is None:
            return
        repetition = self._repetition
        if repetition is not None and self._repeats(repetition, data):
            return
        if self._is_between:
            self._begin(data)
        elif self._in_head:
            self._head_bytes += len(data)
        try:
            if self._fault is None:
                self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgrade(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError as error:
            if self._fault is None:
                text = str(error).translate(_PLAIN).encode("ascii", "replace").decode()
                self._fault = malformed(f"the request is not valid HTTP: {text:.100}")
        if self._in_head and self._head_bytes > self.gate.settings.max_header_bytes and self._fault is None:
            self._fault = large_head(self.gate.settings)
        if self._fault is not None:
            self._refuse(self._fault)
        self._start()

    def _start(self) -> None:
        exchange = self._exchange
        if isinstance(exchange, Exchange) and not exchange.started:
            exchange.start()

    def _refuse(self, fault: Fault) -> None:
        """Refuse a request, and read no more. The answer follows those to the requests before."""
        self.gate.refuse(fault.reason, f"a connection from {self._address or 'a Unix socket'}")
        self._parser = None
        arriving, self._arriving = self._arriving, None
        if arriving is not None:  # this is the refused request
            if arriving is self._exchange:
                self._exchange = None
            else:
                self._waiting.remove(cast(Exchange, arriving))
            is_late = arriving.is_answered
            arriving.abandon()
            if is_late:
                self.transport.close()
                return
        self._farewell = refusal(fault.status, fault.message, fault.reason, self.gate.date, fault.retry_after_s)
        if self._exchange is None:
            self._part()

    def _part(self) -> None:
        """Send the last answer. The client's bytes are still read for a while, so that it receives the answer."""
        self.transport.write(self._farewell)
        self.since, self.limit = self.gate.now, _LINGER_SECONDS
        if self._has_entered and self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    # Repeated requests.

    def _repeats(self, repetition: Repetition, data: bytes) -> bool:
        """Offer the data to the repetition, as a request or a part of one, and return whether it takes them."""
        if self._arriving is repetition:
            rest = repetition.feed(data)
            if rest:
                self.data_received(rest)
            return True
        if self._exchange is not None or not self._is_between or self.writable is not None:
            return False
        if not repetition.take(data):
            return False
        if self._exchange is None:
            self.since = self.gate.now
            if self._is_draining or not repetition.keep_alive:
                self.transport.close()
        return True

    def part_has_come(self, repetition: Repetition) -> None:
        """See `repetition.Connection`."""
        gate = self.gate
        if self._exchange is None:
            self._exchange = self._arriving = repetition
            self._is_between = False
            self.since, self.limit = gate.now, gate.settings.deadline_seconds
        if gate.in_flight > gate.settings.max_in_flight_bytes:
            self._refuse(full())
        elif not repetition.left:
            self._arriving, self._is_between, self.limit = None, True, inf
            repetition.arrived()
            if repetition.finished and self._exchange is repetition:
                self._next()

    def waits_for(self, repetition: Repetition) -> None:
        """See `repetition.Connection`."""
        self._exchange, self.limit = repetition, inf

    # After an answer.

    def answered(self, exchange: Exchange | Repetition) -> None:
        """See `exchange.Line`."""
        if exchange is not self._exchange:
            return
        if not exchange.keep_alive:
            self.transport.close()
        elif exchange.complete:
            self._next()

    def _next(self) -> None:
        if self._waiting:
            self._exchange = self._waiting.popleft()
            self.loop.call_soon(self._start)
            self._read_on()
            self._limit()
            return
        self._exchange = None
        if self._farewell:
            self._part()
        elif self._is_draining:
            self.transport.close()
        else:
            self.since = self.gate.now
            self.limit = self.gate.settings.keep_alive_seconds
            if not self._is_between or self.writable is not None:
                self._limit()

    def _limit(self) -> None:
        """Begin a new time limit for what the connection is doing now."""
        settings, exchange = self.gate.settings, self._exchange
        self.since, self.limit = self.gate.now, settings.deadline_seconds
        if self.writable is None and exchange is not None and exchange.complete:
            self.limit = inf
        elif self.writable is None and exchange is None and self._is_between:
            self.limit = settings.keep_alive_seconds

    def expire(self) -> None:
        """See `gate.Connection`."""
        if self.writable is not None or self._parser is None:
            self.transport.abort()
        elif self._exchange is None and self._is_between:
            self.transport.close()
        else:
            self._refuse(
                Fault(408, f"no whole request has come within {self.gate.settings.deadline_seconds:g} s", "slow")
            )

    def shutdown(self) -> None:
        """Answer the requests that have come, and then close, because the server shuts down."""
        self._is_draining = True
        if self._exchange is not None:
            (self._waiting or (self._exchange,))[-1].keep_alive = False
        elif self._rests:  # a request may lie unread
            self.wake()
            self._looks = True
            self.loop.call_later(_LOOK_SECONDS, self._end_look)
        elif not self._looks:
            self.transport.close()

    def _end_look(self) -> None:
        self._looks = False
        if self._exchange is None:
            self.transport.close()

    def rest(self) -> None:
        """See `resting.Line`."""
        self._rests, self.limit = True, inf
        self.transport.pause_reading()

    def wake(self) -> None:
        """See `resting.Line`."""
        if self._rests:
            self._rests = False
            self._read_on()
            self._limit()

    def pause_writing(self) -> None:
        """Make exchanges wait, because the client does not read."""
        self.writable = self.loop.create_future()
        self._limit()

    def resume_writing(self) -> None:
        """Let exchanges continue, because the client reads again."""
        writable, self.writable = self.writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)
        self._limit()

    def _upgrade(self, rest: bytes) -> None:
        """Hand the connection to the WebSocket protocol; if there is none, only answer the requests so far."""
        if self._exchange is not None or self._config.ws_protocol_class is None:
            self._parser = None
            self._start()
            return
        transport = self.transport
        self._parser, self._has_entered = None, False
        self._leave()
        self.gate.upgraded(transport, self._address)
        protocol = cast(Any, self._config.ws_protocol_class)(
            config=self._config, server_state=self._server_state, app_state=self._app_state
        )
        protocol.connection_made(transport)
        head = [b"GET %b HTTP/1.1" % self._url, *(b"%b: %b" % pair for pair in self._headers), b"", b""]
        protocol.data_received(b"\r\n".join(head))
        transport.set_protocol(protocol)
        if rest:
            protocol.data_received(rest)

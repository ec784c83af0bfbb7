"""HTTP/1.1 connections: bytes to exchanges, and no further than the limits.

httptools splits the bytes, and refuses most of what two programs could read in two ways (bare line feeds, folded
headers, two lengths, a length beside chunks). This protocol, which takes the place of uvicorn's, refuses the rest,
counts what a connection takes, and closes those that are slow. What is refused gets an answer, and the connection ends
with it: after a fault nobody knows where the next request begins.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from math import inf
from typing import Any, Final, NoReturn, cast
from urllib.parse import unquote

import httptools
from uvicorn.config import Config
from uvicorn.server import ServerState

from fastgru.serve.app import AGAIN
from fastgru.serve.exchange import Exchange, refusal
from fastgru.serve.gate import Gate
from fastgru.serve.head import (
    METHODS,
    Fault,
    asks_for_websocket,
    fault_of,
    fault_of_upgrade,
    large_body,
    large_head,
    malformed,
    size_of,
)
from fastgru.serve.repetition import Repeated, Repetition, find_repetition

__all__ = ["HttpProtocol"]

_LINGER_SECONDS: Final = 2.0
_MOST_WAITING: Final = 64  # requests of a connection that came before the answer to another
_RETRY: Final = b"retry-after: 1\r\n"
_PLAIN: Final = str.maketrans({'"': "'", "\\": "/"})


class _RefusedError(Exception):
    """Ends the parsing; what is wrong has been noted."""


def _full() -> Fault:
    return Fault(503, "too much is on its way here already", "in_flight", _RETRY)


class HttpProtocol(asyncio.Protocol):
    """One connection, made by uvicorn's server with the arguments that it gives to its own protocols.

    since, limit: see `gate.Connection`. app: the ASGI application. writable: while the client does not read, what an
    exchange waits for before it writes more.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        gate: Gate,
    ) -> None:
        self.gate, self.loop = gate, _loop or asyncio.get_event_loop()
        self.app = cast(Callable[..., Awaitable[None]], config.loaded_app)
        self.since, self.limit = gate.now, inf
        self.writable: asyncio.Future[None] | None = None
        self.transport: asyncio.Transport = cast(Any, None)
        self._config, self._server_state, self._app_state = config, server_state, app_state
        self._parser: Any = None  # None: nothing that comes is read any more
        self._exchange: Exchange | Repetition | None = None  # the one that is being answered
        self._waiting: deque[Exchange] = deque()  # requests that came before that answer
        self._arriving: Exchange | Repetition | None = None  # whose body is coming
        self._farewell = b""  # what is refused, after the answers to what came before
        self._fault: Fault | None = None
        self._is_between = True  # no request has begun
        self._in_head = self._has_entered = self._is_draining = False
        self._head_bytes = 0  # of a head that comes in several parts
        self._head = b""  # as it came, where it came in one
        self._repetition: Repetition | None = None  # what takes requests with the head of one before
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._fixed: dict[str, Any] = {}
        self._address = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The transport is there."""
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
            self._refuse(Fault(503, f"this address has {most} connections already", "connections", _RETRY))

    def connection_lost(self, exc: Exception | None) -> None:
        """There is no transport any more: whoever works for this client is told."""
        self._parser = None
        self._leave()
        self.resume_writing()
        exchange, self._exchange = self._exchange, None
        for each in (exchange, *self._waiting):
            if each is not None:
                each.abandon()
        self._waiting.clear()

    def _leave(self) -> None:
        self._server_state.connections.discard(cast(Any, self))
        self.gate.connections.discard(self)
        if self._has_entered:
            self._has_entered = False
            self.gate.leaves(self._address)

    def data_received(self, data: bytes) -> None:
        """Bytes of a request, of several, or of a part of one."""
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
                self._fault = malformed(f"this is not HTTP: {text:.100}")
        if self._in_head and self._head_bytes > self.gate.settings.max_header_bytes and self._fault is None:
            self._fault = large_head(self.gate.settings)
        if self._fault is not None:
            self._refuse(self._fault)
        self._start()

    def _begin(self, data: bytes) -> None:
        """The first bytes of a request."""
        settings = self.gate.settings
        self._in_head, self._is_between = True, False
        # 0: the head is within the limit, as far as its end, and needs no count.
        end = data.find(b"\r\n\r\n", 0, settings.max_header_bytes)
        self._head_bytes = len(data) if end < 0 else 0
        self._head = data[: end + 4] if end > 0 else b""
        if self._head_bytes > settings.max_header_bytes:
            self._fault = large_head(settings)
        if not 65 <= data[0] <= 90:
            self._fault = malformed("a request begins with its method, in capital letters")
        if self._exchange is None:
            self.since, self.limit = self.gate.now, settings.deadline_seconds

    def _start(self) -> None:
        exchange = self._exchange
        if isinstance(exchange, Exchange) and not exchange.started:
            exchange.start()

    # What the parser calls. An error ends the parsing, and `data_received` sees to what has been noted.

    def on_message_begin(self) -> None:
        """A request begins."""
        if not self._in_head:  # behind another one, in the same bytes
            self._in_head, self._is_between, self._head_bytes, self._head = True, False, 1, b""
        self._url, self._headers = b"", []

    def on_url(self, url: bytes) -> None:
        """A part of the target."""
        self._url = self._url + url if self._url else url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, whole."""
        if not self._in_head:
            self._end_parsing(malformed("headers behind the body are not taken"))
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head is here: refuse it, or let an exchange begin."""
        parser, headers = self._parser, self._headers
        self._in_head = False
        method, version, url, names = parser.get_method(), parser.get_http_version(), self._url, dict(headers)
        fault = fault_of(method, version, url, headers, names, self.gate.settings)
        if fault is None and self._head_bytes and size_of(url, headers) > self.gate.settings.max_header_bytes:
            fault = large_head(self.gate.settings)
        if fault is None and len(self._waiting) >= _MOST_WAITING:
            fault = Fault(503, f"{_MOST_WAITING} requests wait for their answers here", "pipeline", _RETRY)
        if fault is not None:
            self._end_parsing(fault)
        keep_alive = parser.should_keep_alive()
        if parser.should_upgrade():
            if self._is_upgraded(method, version, names):
                return
            keep_alive = False
        path, _, query = url.partition(b"?")
        text = path.decode("ascii")
        scope = self._fixed | {
            "method": METHODS[method],
            "http_version": version,
            "path": unquote(text) if "%" in text else text,
            "raw_path": path,
            "query_string": query,
            "headers": headers,
        }
        self._arriving = exchange = Exchange(self, scope, keep_alive)
        exchange.expects = b"expect" in names
        if self._head and keep_alive and version == "1.1" and not exchange.expects:
            scope["extensions"] = {AGAIN: partial(self._offered, self._head)}
        if self._exchange is None:
            self._exchange = exchange
        else:
            self._waiting.append(exchange)
            self.transport.pause_reading()

    def on_body(self, data: bytes) -> None:
        """A part of the body."""
        exchange, gate = self._arriving, self.gate
        if exchange is None or exchange.finished:  # answered before it was here: nobody reads it
            return
        exchange.feed(data)
        if exchange.size > gate.settings.max_body_bytes:
            self._end_parsing(large_body(gate.settings))
        if gate.in_flight > gate.settings.max_in_flight_bytes:
            self._end_parsing(_full())

    def on_message_complete(self) -> None:
        """A request is whole."""
        exchange, self._arriving, self._is_between = self._arriving, None, True
        if exchange is not None:
            exchange.arrived()
            if exchange is self._exchange:
                self.limit = inf
                if exchange.finished:
                    self._next()

    def _is_upgraded(self, method: bytes, version: str, names: Mapping[bytes, bytes]) -> bool:
        """Whether the connection becomes a WebSocket; any other upgrade is not done, and the request answered."""
        has_sockets = self._config.ws_protocol_class is not None
        to_websocket = has_sockets and asks_for_websocket(method, version, names)
        fault = fault_of_upgrade(self._url, self._headers, names, to_websocket=to_websocket)
        if fault is None and self._exchange is not None:
            fault = malformed("an upgrade comes alone")
        if fault is not None:
            self._end_parsing(fault)
        return to_websocket

    def _end_parsing(self, fault: Fault) -> NoReturn:
        self._fault = fault
        raise _RefusedError

    def _refuse(self, fault: Fault) -> None:
        """Read no more. The answer follows those to the requests that came before."""
        self.gate.refuse(fault.reason)
        self._parser = None
        arriving, self._arriving = self._arriving, None
        if arriving is not None:  # it is this request that is refused
            if arriving is self._exchange:
                self._exchange = None
            else:
                self._waiting.remove(cast(Exchange, arriving))
            is_late = arriving.is_answered
            arriving.abandon()
            if is_late:
                self.transport.close()
                return
        self._farewell = refusal(fault.status, fault.message, fault.reason, self.gate.date + fault.more)
        if self._exchange is None:
            self._part()

    def _part(self) -> None:
        """Say why this is the end. What the client still sends is read for a while, so that it sees the answer."""
        self.transport.write(self._farewell)
        self.since, self.limit = self.gate.now, _LINGER_SECONDS
        if self._has_entered and self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    # Requests that come again.

    def _offered(self, head: bytes, repeated: Repeated) -> None:
        """The application has what answers requests with this head."""
        self._repetition = find_repetition(self, head, repeated)

    def _repeats(self, repetition: Repetition, data: bytes) -> bool:
        """Whether the data are a request, or the begin or more of one, that the repetition takes."""
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
            if not repetition.keep_alive:
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
            self._refuse(_full())
        elif not repetition.left:
            self._arriving, self._is_between, self.limit = None, True, inf
            repetition.arrived()
            if repetition.finished and self._exchange is repetition:
                self._next()

    def waits_for(self, repetition: Repetition) -> None:
        """See `repetition.Connection`."""
        self._exchange, self.limit = repetition, inf

    # What comes after an answer.

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
            if not self._waiting:
                self.transport.resume_reading()
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
        """From now on, for how long what it is doing may take."""
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
            self._refuse(Fault(408, f"a request comes within {self.gate.settings.deadline_seconds:g} s", "slow"))

    def shutdown(self) -> None:
        """The server goes down: what has been asked is answered, and nothing more."""
        self._is_draining = True
        if self._exchange is None:
            self.transport.close()
        else:
            (self._waiting or (self._exchange,))[-1].keep_alive = False

    def pause_writing(self) -> None:
        """The client does not read what it is sent."""
        self.writable = self.loop.create_future()
        self._limit()

    def resume_writing(self) -> None:
        """It reads again."""
        writable, self.writable = self.writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)
        self._limit()

    def _upgrade(self, rest: bytes) -> None:
        """Hand the connection to the protocol of WebSockets; without one, answer this request and no other."""
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

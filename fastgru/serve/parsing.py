"""From the bytes of a connection to requests: the callbacks of the HTTP parser, and its refusals."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from math import inf
from typing import Any, Final, NoReturn, cast
from urllib.parse import unquote

from uvicorn.config import Config
from uvicorn.server import ServerState

from fastgru.serve.app import AGAIN
from fastgru.serve.exchange import Exchange
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

__all__ = ["RETRY_S", "Parsing", "full"]

_MOST_WAITING: Final = 64  # requests of a connection that may wait for the answers to earlier ones
RETRY_S: Final = 1


def full() -> Fault:
    """Return the fault of a request with which the unanswered bodies of all connections exceed the limit."""
    return Fault(503, "the server has too many bytes of unanswered requests", "in_flight", RETRY_S)


class _RefusedError(Exception):
    """Ends the parsing; `Parsing._fault` has the reason."""


class Parsing(asyncio.Protocol):
    """The reading part of a connection.

    since, limit: see `gate.Connection`. app: the ASGI application. writable: while the client does not read, the future
    that an exchange awaits before it writes more.
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
        self.unread_ns = 0  # see `resting.Line`
        self._rests = False  # it is not read, because the server has no time
        self._looks = False  # it is read once more before it is closed
        self.writable: asyncio.Future[None] | None = None
        self.transport: asyncio.Transport = cast(Any, None)
        self._config, self._server_state, self._app_state = config, server_state, app_state
        self._parser: Any = None  # None: incoming bytes are ignored
        self._exchange: Exchange | Repetition | None = None  # the one that is being answered
        self._waiting: deque[Exchange] = deque()  # requests that came before that answer
        self._arriving: Exchange | Repetition | None = None  # the one whose body is arriving
        self._farewell = b""  # the refusal that ends the connection, after the answers to earlier requests
        self._fault: Fault | None = None
        self._is_between = True  # no request has begun
        self._in_head = self._has_entered = self._is_draining = False
        self._head_bytes = 0  # the size so far of a head that arrives in several parts
        self._head = b""  # the bytes of a head that arrived in one part
        self._repetition: Repetition | None = None  # takes requests that repeat an earlier head
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._fixed: dict[str, Any] = {}
        self._address = ""

    def _begin(self, data: bytes) -> None:
        """Begin a request with its first bytes."""
        settings = self.gate.settings
        self._in_head, self._is_between = True, False
        # A head that ends within the limit needs no count.
        end = data.find(b"\r\n\r\n", 0, settings.max_header_bytes)
        self._head_bytes = len(data) if end < 0 else 0
        self._head = data[: end + 4] if end > 0 else b""
        if self._head_bytes > settings.max_header_bytes:
            self._fault = large_head(settings)
        if not 65 <= data[0] <= 90:
            self._fault = malformed("a request must begin with its method, in capital letters")
        if self._exchange is None:
            self.since, self.limit = self.gate.now, settings.deadline_seconds

    # Callbacks of the parser. An error ends the parsing; `data_received` then handles `_fault`.

    def on_message_begin(self) -> None:
        """Begin a request."""
        if not self._in_head:  # after another request in the same bytes
            self._in_head, self._is_between, self._head_bytes, self._head = True, False, 1, b""
        self._url, self._headers = b"", []

    def on_url(self, url: bytes) -> None:
        """Take a part of the target."""
        self._url = self._url + url if self._url else url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a whole header."""
        if not self._in_head:
            self._end_parsing(malformed("headers behind the body are not supported"))
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Refuse the request, or begin its exchange, once the head is complete."""
        parser, headers = self._parser, self._headers
        self._in_head = False
        method, version, url, names = parser.get_method(), parser.get_http_version(), self._url, dict(headers)
        fault = fault_of(method, version, url, headers, names, self.gate.settings)
        if fault is None and self._head_bytes and size_of(url, headers) > self.gate.settings.max_header_bytes:
            fault = large_head(self.gate.settings)
        if fault is None and len(self._waiting) >= _MOST_WAITING:
            fault = Fault(
                503, f"{_MOST_WAITING} requests of this connection already wait for their answers", "pipeline", RETRY_S
            )
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
        self._arriving = exchange = Exchange(cast(Any, self), scope, keep_alive)
        exchange.expects = b"expect" in names
        if self._head and keep_alive and version == "1.1" and not exchange.expects:
            scope["extensions"] = {AGAIN: partial(self._offered, self._head)}
        if self._exchange is None:
            self._exchange = exchange
        else:
            self._waiting.append(exchange)
            self.transport.pause_reading()

    def on_body(self, data: bytes) -> None:
        """Take a part of the body."""
        exchange, gate = self._arriving, self.gate
        if exchange is None or exchange.finished:  # answered before the body arrived: nobody reads it
            return
        exchange.feed(data)
        if exchange.size > gate.settings.max_body_bytes:
            self._end_parsing(large_body(gate.settings))
        if gate.in_flight > gate.settings.max_in_flight_bytes:
            self._end_parsing(full())

    def on_message_complete(self) -> None:
        """End the request, which is complete."""
        exchange, self._arriving, self._is_between = self._arriving, None, True
        if exchange is not None:
            exchange.arrived()
            if exchange is self._exchange:
                self.limit = inf
                if exchange.finished:
                    self._next()

    def _is_upgraded(self, method: bytes, version: str, names: Mapping[bytes, bytes]) -> bool:
        """Return whether the connection becomes a WebSocket; other upgrades are ignored and their requests answered."""
        has_sockets = self._config.ws_protocol_class is not None
        to_websocket = has_sockets and asks_for_websocket(method, version, names)
        fault = fault_of_upgrade(self._url, self._headers, names, to_websocket=to_websocket)
        if fault is None and self._exchange is not None:
            fault = malformed("a request to upgrade cannot follow unanswered requests")
        if fault is not None:
            self._end_parsing(fault)
        return to_websocket

    def _end_parsing(self, fault: Fault) -> NoReturn:
        self._fault = fault
        raise _RefusedError

    def _offered(self, head: bytes, repeated: Repeated) -> None:
        """Let `repeated` answer later requests with this head; the application calls this."""
        self._repetition = find_repetition(cast(Any, self), head, repeated)

    def _read_on(self) -> None:
        """Read from the connection, unless something else still keeps it from being read."""
        if not self._rests and not self._waiting:
            self.transport.resume_reading()

    def _next(self) -> None:
        """Continue after an exchange that is over."""
        raise NotImplementedError

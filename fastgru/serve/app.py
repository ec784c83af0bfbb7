"""The application: one ASGI function that finds what a path asks for, and turns every error into an answer.

It knows no protocol. A route is a method and a path such as "/v2/models/{model}/infer"; its handler gets a `Request`
and gives an `Answer`, or raises `ServeError`. Whatever else a handler raises becomes a 500 that says nothing, and a
line in the log that says everything: no traceback leaves the process.
"""

import logging
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import quote, unquote

from fastgru.serve.errors import ServeError
from fastgru.serve.text import write_json

__all__ = [
    "AGAIN",
    "Answer",
    "Application",
    "Handler",
    "Headers",
    "Identity",
    "Receive",
    "Request",
    "Scope",
    "Send",
    "SocketHandler",
    "internal",
    "json_answer",
]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

AGAIN: Final = "fastgru.again"  # of a scope, where requests may come again past ASGI
_NONE: Final[Mapping[str, Any]] = {}
_MAX_PATH: Final = 2_048
_PATHS: Final = 1_024  # paths that are remembered with what they ask for
_JSON: Final = (b"content-type", b"application/json")
_log = logging.getLogger("fastgru.serve")


class Identity(NamedTuple):
    """Who asks: the name of an API key, None where there are none, and whether it may do what is for administrators.

    keys: the names of all keys, for an administrator.
    """

    key: str | None = None
    is_admin: bool = False
    keys: frozenset[str] = frozenset()


class Answer(NamedTuple):
    """What goes back. The headers have the length of the body."""

    status: int
    headers: Headers
    body: bytes


class Request:
    """What a handler gets: who asks for what, and the body when it is awaited.

    names: what stands in the path for the names in braces. `headers` has the last one of those that came twice. offer:
    where the server has it, takes what answers requests with the same head (`repetition.Repeated`). fail: the answer
    of an error to one of these, which is counted.
    """

    __slots__ = ("_limit", "fail", "headers", "identity", "names", "offer", "query", "receive")

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        names: Mapping[str, str],
        identity: Identity,
        limit: int,
        fail: Callable[[ServeError], "Answer"],
    ) -> None:
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.offer: Callable[[Any], None] | None = scope.get("extensions", _NONE).get(AGAIN)
        self.fail = fail
        self.query: bytes = scope["query_string"]
        self.receive, self.names, self.identity, self._limit = receive, names, identity, limit

    async def body(self) -> bytes:
        """All of it. Raises `ServeError`: 413 above the limit, 415 for a compressed one, 499 if the client has gone."""
        coding = self.headers.get(b"content-encoding", b"identity")
        if coding != b"identity":
            raise ServeError(
                415,
                f"the body has Content-Encoding {coding!r:.40}, which is not supported: send it without",
                reason="coding",
            )
        whole = b""
        parts: list[bytes] = []
        size, more = 0, True
        while more:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ServeError(499, "the client has closed the connection", reason="gone")
            whole, more = message.get("body", b""), message.get("more_body", False)
            size += len(whole)
            if size > self._limit:
                raise ServeError(
                    413, f"the body has more than {self._limit} bytes, the limit of this server", reason="body"
                )
            if more or parts:
                parts.append(whole)
        return b"".join(parts) if parts else whole


Handler = Callable[[Request], Awaitable[Answer]]
Found = TypeVar("Found")
SocketHandler = Callable[[Scope, Receive, Send, Mapping[str, str], Identity], Awaitable[None]]


class Application:
    """The ASGI application.

    routes: by "METHOD /path/{name}". sockets: WebSockets, by "/path/{name}". authorize: who asks, from the scope;
    raises `ServeError` for who may not. body_limit: bytes of a body. lifespan: entered when the server starts and left
    when it ends. refused: told the reason of every error,
    and what was asked for, as far as that is known.
    """

    def __init__(
        self,
        routes: Mapping[str, Handler],
        sockets: Mapping[str, SocketHandler],
        *,
        authorize: Callable[[Scope], Identity] = lambda scope: Identity(),
        body_limit: int = 16 << 20,
        lifespan: Callable[[], AbstractAsyncContextManager[Any]] = nullcontext,
        refused: Callable[[str, str], None] = lambda reason, what: None,
    ) -> None:
        self._authorize, self._limit, self._lifespan, self._refused = authorize, body_limit, lifespan, refused
        self._last: tuple[ServeError, Answer] | None = None
        paths: dict[tuple[str, ...], dict[str, Handler]] = {}
        for route, handler in routes.items():
            method, _, path = route.partition(" ")
            paths.setdefault(tuple(path.split("/")), {})[method] = handler
        for path in sockets:
            paths.setdefault(tuple(path.split("/")), {}).setdefault("GET", _refuse_plain)
        self._find = _finder(paths)
        self._find_socket = _finder({tuple(path.split("/")): handler for path, handler in sockets.items()})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "http":
            try:
                identity = self._authorize(scope)
                methods, names = self._find(_path(scope))
                handler = methods.get(scope["method"]) or _rare(scope["method"], methods)
                status, headers, body = await handler(Request(scope, receive, names, identity, self._limit, self._fail))
            except ServeError as error:
                status, headers, body = self._fail(error, _told(scope))
            except Exception:
                _log.exception("%s %.200r failed", scope["method"], scope["path"])
                status, headers, body = self._fail(internal(), _told(scope))
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})
        elif kind == "websocket":
            await self._socket(scope, receive, send)
        elif kind == "lifespan":
            await self._live(receive, send)

    def _fail(self, error: ServeError, what: str = "") -> Answer:
        self._refused(error.reason, what)
        if self._last is None or self._last[0] is not error:  # one is for many where there is too much to do
            self._last = error, _error_answer(error)
        return self._last[1]

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            identity = self._authorize(scope)
            handler, names = self._find_socket(_path(scope))
            await handler(scope, receive, send, names, identity)
        except ServeError as error:  # before the connection was accepted
            self._refused(error.reason, _told(scope))
            await _refuse_socket(scope, send, error)
        except Exception:
            _log.exception("WebSocket %.200r failed", scope["path"])
            self._refused("internal", _told(scope))
            await send({"type": "websocket.close", "code": 1011})

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            async with self._lifespan():
                await send({"type": "lifespan.startup.complete"})
                await receive()
        except Exception as error:
            _log.exception("the application does not start, or does not end")
            await send({"type": "lifespan.startup.failed", "message": f"{type(error).__name__}: {error}"})
            raise
        await send({"type": "lifespan.shutdown.complete"})


def _told(scope: Scope) -> str:
    """What is asked for, and from where, for the log."""
    client = scope.get("client")
    return f"{scope.get('method', 'WebSocket')} {scope['path']:.200}" + (f" from {client[0]}" if client else "")


def json_answer(value: Any, status: int = 200, *more: tuple[bytes, bytes]) -> Answer:
    """The value as a body of JSON."""
    body = write_json(value)
    return Answer(status, [_JSON, (b"content-length", b"%d" % len(body)), *more], body)


class _MethodError(ServeError):
    """allowed: the methods that there are for the path."""

    def __init__(self, method: str, allowed: Iterable[str]) -> None:
        self.allowed = ", ".join(allowed)
        super().__init__(405, f"this path takes {self.allowed}, and not {method:.40}", reason="method")


def _rare(method: str, methods: Mapping[str, Handler]) -> Handler:
    """What answers HEAD, as it does GET: the connection leaves the body out. Raises `ServeError`, 405, for others."""
    if method == "HEAD" and "GET" in methods:
        return methods["GET"]
    raise _MethodError(method, [*methods, "HEAD"] if "GET" in methods else methods)


async def _refuse_plain(request: Request) -> Answer:
    raise ServeError(426, "this path is a WebSocket: send a request to upgrade", reason="upgrade")


def _error_answer(error: ServeError, *more: tuple[bytes, bytes]) -> Answer:
    """Triton's member "error", and the fixed word; when to come again where that helps."""
    value: dict[str, Any] = {"error": error.message, "reason": error.reason}
    if error.retry_after_s is not None:
        value["retry_after_s"] = error.retry_after_s
        more += ((b"retry-after", b"%d" % max(1, math.ceil(error.retry_after_s))),)
    if error.status in (413, 415):  # the rest of the body is not read
        more += ((b"connection", b"close"),)
    if isinstance(error, _MethodError):
        more += ((b"allow", error.allowed.encode()),)
    if error.status == 426:
        more += ((b"upgrade", b"websocket"),)
    if error.status == 401:
        more += ((b"www-authenticate", b"Bearer"),)
    return json_answer(value, error.status, *more)


def internal() -> ServeError:
    """What a client is told of a fault of the server."""
    return ServeError(500, "the server has an internal error; its log has the cause", reason="internal")


async def _refuse_socket(scope: Scope, send: Send, error: ServeError) -> None:
    """An HTTP answer where the server takes one in place of a WebSocket, else the close that stands for 403."""
    if "websocket.http.response" not in scope.get("extensions", ()):
        await send({"type": "websocket.close", "code": 1008, "reason": error.message[:100]})
        return
    status, headers, body = _error_answer(error)
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})


def _path(scope: Scope) -> bytes:
    """As it came, so that a "/" within a name stays one; servers need not give that."""
    raw: bytes | None = scope.get("raw_path")
    return quote(scope["path"], errors="replace").encode() if raw is None else raw


def _finder(table: Mapping[tuple[str, ...], Found]) -> Callable[[bytes], tuple[Found, Mapping[str, str]]]:
    """What finds the entry of a path, and what the names in braces stand for; paths without names go before."""
    by_length: dict[int, list[tuple[tuple[str, ...], Found]]] = {}
    for pattern, found in sorted(table.items(), key=lambda item: sum(part[:1] == "{" for part in item[0])):
        by_length.setdefault(len(pattern), []).append((pattern, found))

    @lru_cache(_PATHS)
    def find(path: bytes) -> tuple[Found, Mapping[str, str]]:
        if len(path) > _MAX_PATH:
            raise ServeError(414, f"the path has {len(path)} bytes, expected at most {_MAX_PATH}", reason="path")
        parts = [unquote(part) for part in path.decode("ascii", "replace").split("/")]
        for pattern, found in by_length.get(len(parts), ()):
            both = list(zip(pattern, parts, strict=True))
            if all(part if wanted[:1] == "{" else wanted == part for wanted, part in both):
                return found, {wanted[1:-1]: part for wanted, part in both if wanted[:1] == "{"}
        raise ServeError(404, f"there is nothing at {'/'.join(parts)!r:.200}", reason="path")

    return find

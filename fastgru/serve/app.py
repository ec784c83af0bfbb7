"""The application: one ASGI function that finds the handler of a path, and turns every error into an answer.

It knows no protocol. A route is a method and a path such as "/v2/models/{model}/infer"; its handler takes a `Request`
and returns an `Answer`, or raises `ServeError`. Any other exception becomes a 500 without details, and the log gets the
details: no traceback leaves the process.
"""

import logging
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import quote, unquote

from fastgru.serve.errors import ServeError, internal
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

AGAIN: Final = "fastgru.again"  # the extension of a scope whose repeated requests may bypass ASGI
_NONE: Final[Mapping[str, Any]] = {}
_MAX_PATH: Final = 2_048
_PATHS: Final = 1_024  # paths whose handlers are cached
_JSON: Final = (b"content-type", b"application/json")
_log = logging.getLogger("fastgru.serve")


class Identity(NamedTuple):
    """Who sends a request.

    key: the name of the API key, None without one. is_admin: whether the role is admin. keys: the names of all keys,
    for an administrator.
    """

    key: str | None = None
    is_admin: bool = False
    keys: frozenset[str] = frozenset()


class Answer(NamedTuple):
    """The answer to a request. The headers include the length of the body."""

    status: int
    headers: Headers
    body: bytes


class Request:
    """The argument of a handler: the client's identity, what it asks for, and the body when it is awaited.

    headers: by name; of a header that was sent twice, the last value. names: the parts of the path that stand for the
    names in braces. offer: takes an object that answers later requests with the same head (`repetition.Repeated`); None
    if the server cannot use one. fail: counts an error and returns the answer for it.
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
        """Return the whole body.

        Raises `ServeError`: 413 above the limit, 415 for a compressed body, 499 if the client has gone.
        """
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

    routes: handlers by "METHOD /path/{name}". sockets: handlers of WebSockets by "/path/{name}". authorize: returns the
    client's identity, given the scope; raises `ServeError` for clients without permission. body_limit: the maximum size
    of a body in bytes. lifespan: entered when the server starts and left when it ends. refused: called with the reason
    of every error, and with what was asked for, as far as that is known.
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
        if self._last is None or self._last[0] is not error:  # under overload, many requests share one error
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
    """Describe the request and its sender, for the log."""
    client = scope.get("client")
    return f"{scope.get('method', 'WebSocket')} {scope['path']:.200}" + (f" from {client[0]}" if client else "")


def json_answer(value: Any, status: int = 200, *more: tuple[bytes, bytes]) -> Answer:
    """Return an answer whose body is the value as JSON."""
    body = write_json(value)
    return Answer(status, [_JSON, (b"content-length", b"%d" % len(body)), *more], body)


class _MethodError(ServeError):
    """The path does not have this method. allowed: the methods that the path has."""

    def __init__(self, method: str, allowed: Iterable[str]) -> None:
        self.allowed = ", ".join(allowed)
        super().__init__(405, f"this path takes {self.allowed}, and not {method:.40}", reason="method")


def _rare(method: str, methods: Mapping[str, Handler]) -> Handler:
    """Return the handler of GET for HEAD: the connection leaves the body out. Raises `ServeError`, 405, for others."""
    if method == "HEAD" and "GET" in methods:
        return methods["GET"]
    raise _MethodError(method, [*methods, "HEAD"] if "GET" in methods else methods)


async def _refuse_plain(request: Request) -> Answer:
    raise ServeError(426, "this path is a WebSocket: send a request to upgrade", reason="upgrade")


def _error_answer(error: ServeError, *more: tuple[bytes, bytes]) -> Answer:
    """Return an answer with Triton's member "error" and the reason; and with `Retry-After` if a retry may help."""
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


async def _refuse_socket(scope: Scope, send: Send, error: ServeError) -> None:
    """Send an HTTP answer if the ASGI server takes one in place of a handshake, else a close, which it sends as 403."""
    if "websocket.http.response" not in scope.get("extensions", ()):
        await send({"type": "websocket.close", "code": 1008, "reason": error.message[:100]})
        return
    status, headers, body = _error_answer(error)
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})


def _path(scope: Scope) -> bytes:
    """Return the path as it was sent, so that an escaped "/" does not split a name.

    ASGI servers need not provide the raw path; it is then rebuilt from the decoded one.
    """
    raw: bytes | None = scope.get("raw_path")
    return quote(scope["path"], errors="replace").encode() if raw is None else raw


def _finder(table: Mapping[tuple[str, ...], Found]) -> Callable[[bytes], tuple[Found, Mapping[str, str]]]:
    """Return a function that finds the entry of a path and the values of the names in braces.

    Paths without names take precedence.
    """
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

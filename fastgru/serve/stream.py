"""The WebSocket `/v2/models/{model}/stream`: how a stream is opened, and how all of them end with the server.

Parameters in the query of the URL (sequence_id, keep, continue, timeout, shapes) act as an `open` before the first
message. If that fails, the client gets an HTTP answer in place of the handshake; if it succeeds, there is no message.
Without parameters, the client sends an `open`, or its first frame begins a new sequence. `connection` describes the
messages, `layout` the contents of binary ones.

The application may run under any ASGI server. Under ours, messages bypass ASGI once the connection is accepted
(`handshake`).
"""

import asyncio
from collections.abc import Collection, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from fastgru.serve.app import Identity, Receive, Scope, Send, SocketHandler
from fastgru.serve.channel import EXTENSION, AsgiChannel
from fastgru.serve.connection import Connection
from fastgru.serve.errors import ServeError
from fastgru.serve.log import event
from fastgru.serve.models import Served
from fastgru.serve.repository import Repository
from fastgru.serve.scheduler import Scheduler
from fastgru.serve.settings import Settings
from fastgru.serve.text import read_json
from fastgru.serve.v2.request import sequence_of

__all__ = ["Streams"]

_SUBPROTOCOL: Final = "fastgru"
_IN_URL: Final = frozenset(("continue", "keep", "sequence_id", "shapes", "timeout"))
_TRUTHS: Final = {"true": True, "false": False}
_WITHDRAWN: Final = "the API key has been withdrawn or changed"
_WAIT_S, _POLL_S, _RETRY_S = 0.001, 0.01, 1.0


class Streams:
    """All streams of an application, used by the thread of the event loop."""

    def __init__(self, repository: Repository, scheduler: Scheduler, settings: Settings) -> None:
        self._repository, self._scheduler, self._settings = repository, scheduler, settings
        self._open: set[Connection] = set()
        self._expelled: set[Connection] = set()  # those whose keys have gone, until they are closed
        self._is_draining = False
        repository.changed.append(self._changed)

    def __len__(self) -> int:
        return len(self._open)

    def sockets(self) -> dict[str, SocketHandler]:
        """Return the handlers for `Application`."""
        paths = "/v2/models/{model}/stream", "/v2/models/{model}/versions/{version}/stream"
        return dict.fromkeys(paths, self._serve)

    async def _serve(
        self, scope: Scope, receive: Receive, send: Send, names: Mapping[str, str], identity: Identity
    ) -> None:
        """Serve one connection from its handshake to its end. Raises `ServeError` in place of the handshake."""
        served = self._repository.get(names["model"], names.get("version"))
        if self._is_draining:
            raise ServeError(503, "the server is shutting down", reason="draining", retry_after_s=_RETRY_S)
        connection = Connection(served, self._scheduler, self._settings, identity.key)
        channel = connection.channel = AsgiChannel(connection, receive, send)
        self._open.add(connection)
        try:
            if asked := _read_query(scope["query_string"], self._settings.max_json_depth):
                await _begin(connection, asked, self._settings.deadline_seconds)
            if connection in self._expelled:
                raise ServeError(401, _WITHDRAWN, reason="key")
            await receive()
            subprotocol = _SUBPROTOCOL if _SUBPROTOCOL in scope.get("subprotocols", ()) else None
            await send({"type": "websocket.accept", "subprotocol": subprotocol})
            ours = scope.get("extensions", {}).get(EXTENSION)
            if ours is not None:
                connection.channel = ours.take(connection, self._settings.max_message_bytes)
                await connection.gone.wait()
            else:
                await channel.run(self._settings.max_message_bytes)
        finally:
            self._open.discard(connection)
            self._expelled.discard(connection)
            connection.on_lost(1006)

    def expel(self, keys: Collection[str]) -> None:
        """End the streams of keys that may not use the server any more."""
        for connection in [each for each in self._open if each.lease.key in keys]:
            self._expelled.add(connection)
            connection.channel.close(1008, _WITHDRAWN)

    def _changed(self, before: Served, now: Served | None) -> None:
        """Tell the connections that use `before` that the model was loaded again or unloaded."""
        for connection in tuple(self._open):
            if connection.lease.served is before:
                connection.lease.changed(now)

    async def drain(self, grace_s: float) -> None:
        """Take no new connections, tell the open ones, and end them after `grace_s` seconds.

        Each connection is closed once the frames that it has sent are answered.
        """
        if self._open and not self._is_draining:
            count = len(self._open)
            text, them = ("1 WebSocket is", "it") if count == 1 else (f"{count:,} WebSockets are", "them")
            text += f" open; the server waits at most {grace_s:g} s for {them} to close"
            event("websockets", text, count=count, seconds=grace_s)
        self._is_draining = True
        for connection in tuple(self._open):
            connection.drain(grace_s)
        loop = asyncio.get_running_loop()
        until = loop.time() + grace_s
        while self._open and loop.time() < until:
            await asyncio.sleep(_POLL_S)
        for connection in tuple(self._open):
            connection.end("the server is shutting down")


async def _begin(connection: Connection, asked: dict[str, Any], most_s: float) -> None:
    """Open a sequence, and wait until an existing one has no jobs in progress. Raises `ServeError`."""
    answer = connection.lease.begin(asked)
    loop = asyncio.get_running_loop()
    until = loop.time() + most_s
    while answer is None:
        if loop.time() > until:
            connection.lease.give_back()
            text = "the sequence has requests that are not answered yet"
            raise ServeError(503, text, reason="busy", retry_after_s=_RETRY_S)
        await asyncio.sleep(_WAIT_S)
        answer = connection.lease.settled()


def _read_query(query: bytes, most_depth: int) -> dict[str, Any]:
    """Return the fields of an `open` from the query of a URL. Raises `ServeError`, 400."""
    try:
        pairs = parse_qsl(query.decode("ascii", "replace"), keep_blank_values=True, max_num_fields=16)
    except ValueError:
        raise ServeError(400, "the URL has more than 16 parameters", reason="request") from None
    given: dict[str, Any] = {}
    for name, text in pairs:
        if name not in _IN_URL or name in given:
            raise ServeError(
                400, f"the URL has {name!r:.80}, expected each of {', '.join(sorted(_IN_URL))} once", reason="request"
            )
        if name == "sequence_id":
            given[name] = sequence_of(text)
        elif name == "shapes":
            given[name] = read_json(text.encode(), what="shapes of the URL", most_depth=most_depth)
        else:
            given[name] = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else _TRUTHS.get(text, text)
    return given

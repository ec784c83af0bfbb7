"""Requests to an ASGI application in process, as a server would make them."""

from __future__ import annotations

import asyncio
import atexit
import json
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, NamedTuple

__all__ = ["App", "Reply", "call", "protocol", "run"]

App = Callable[[Any, Any, Any], Awaitable[None]]
_RUNNER = asyncio.Runner()
atexit.register(_RUNNER.close)


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """On one event loop for all tests, so that an application may serve several of them."""
    return _RUNNER.run(work)


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def object_and_bytes(self) -> tuple[Any, bytes]:
        """Of the binary extension."""
        length = int(self.headers["inference-header-content-length"])
        return json.loads(self.body[:length]), self.body[length:]


async def call(
    app: App,
    method: str,
    path: str,
    body: bytes | Iterable[bytes] | Any = b"",
    headers: dict[str, str] | None = None,
    *,
    gone: bool = False,
    scope: Any = None,
) -> Reply:
    """body: bytes, parts of them in a list, or what becomes JSON. gone: the client leaves before the body has ended."""
    if not isinstance(body, bytes | list) or (isinstance(body, list) and not all(isinstance(b, bytes) for b in body)):
        body = json.dumps(body).encode()
    parts = [body] if isinstance(body, bytes) else list(body)
    messages = [{"type": "http.request", "body": p, "more_body": True} for p in parts]
    messages[-1]["more_body"] = gone
    messages.append({"type": "http.disconnect"})
    sent: list[Any] = []

    async def receive() -> Any:
        if len(messages) == 1 and not gone and not sent:
            await asyncio.Event().wait()
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    bare, _, query = path.partition("?")
    given = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    made = {"type": "http", "method": method, "path": bare, "raw_path": bare.encode(), "query_string": query.encode()}
    await app({**made, "headers": given, **(scope or {})}, receive, send)
    start, end = sent
    assert (start["type"], end["type"]) == ("http.response.start", "http.response.body")
    reply = Reply(start["status"], {n.decode(): v.decode() for n, v in start["headers"]}, end["body"])
    assert reply.status == 304 or int(reply.headers["content-length"]) == len(reply.body)
    return reply


def protocol(models: dict[str, Any], *, admin: bool = True, key: str | None = None, **settings: Any) -> App:
    """The Open Inference Protocol over these models. Called where an event loop runs."""
    from fastgru.serve.app import Application, Identity
    from fastgru.serve.repository import Repository
    from fastgru.serve.scheduler import Scheduler
    from fastgru.serve.settings import Settings
    from fastgru.serve.v2.routes import Protocol

    given = Settings(**{"capacity": 64, **settings})
    endpoints = Protocol(Repository(models, given), Scheduler(), given, lambda: True)

    def authorize(scope: Any) -> Identity:
        name = dict(scope["headers"]).get(b"as")
        return Identity(key, admin) if name is None else Identity(name.decode(), name == b"root")

    return Application(endpoints.routes(), {}, authorize=authorize, body_limit=given.max_body_bytes)

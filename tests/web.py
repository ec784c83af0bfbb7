"""A server in the event loop of a test: the application of WebSockets behind uvicorn, on a port of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from websockets.asyncio.client import ClientConnection, connect

from fastgru.serve.app import Application, Identity
from fastgru.serve.durable.folder import Folder
from fastgru.serve.handshake import Handshake
from fastgru.serve.repository import Repository
from fastgru.serve.scheduler import Scheduler
from fastgru.serve.settings import Settings
from fastgru.serve.stream import Streams
from fastgru.serve.v2.routes import Protocol

__all__ = ["Web", "serving"]


class Web:
    """A server that runs. direct: by our protocol, else by plain ASGI."""

    def __init__(self, models: dict[str, Any], *, direct: bool = True, **settings: Any) -> None:
        self.settings = Settings(**{"capacity": 64, **settings})
        folder = None if self.settings.state_dir is None else Folder(self.settings)
        self.repository = Repository(models, self.settings, folder=folder)
        self.scheduler = Scheduler()
        self.streams = Streams(self.repository, self.scheduler, self.settings)
        self.protocol = Protocol(self.repository, self.scheduler, self.settings, lambda: True)
        self.app = Application(self.protocol.routes(), self.streams.sockets(), authorize=_who)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        config = uvicorn.Config(
            self.app,
            ws=Handshake if direct else "websockets-sansio",
            ws_per_message_deflate=False,
            ws_max_size=self.settings.max_message_bytes,
            log_level="warning",
            lifespan="off",
            timeout_graceful_shutdown=5,
        )
        self.server = uvicorn.Server(config)

    def connect(self, query: str = "", model: str = "m", key: str = "", **more: Any) -> connect:
        """A client of a stream."""
        url = f"ws://127.0.0.1:{self.port}/v2/models/{model}/stream{query}"
        headers = {"as": key} if key else {}
        return connect(
            url, additional_headers=headers, **{"compression": None, "proxy": None, "max_size": None, **more}
        )


def _who(scope: Any) -> Identity:
    name = dict(scope["headers"]).get(b"as")
    return Identity(None if name is None else name.decode(), name == b"root")


@contextlib.asynccontextmanager
async def serving(models: dict[str, Any], **options: Any) -> AsyncIterator[Web]:
    """While the block runs, and then it ends as a server does."""
    web = Web(models, **options)
    web.scheduler.start(web.repository)
    task = asyncio.create_task(web.server._serve([web.socket]))
    while not web.server.started:
        await asyncio.sleep(0.001)
    try:
        yield web
    finally:
        web.server.should_exit = True
        await task
        await web.scheduler.drain(1.0)


async def tell(client: ClientConnection, kind: str, **fields: Any) -> Any:
    """Send a message of JSON; its answer."""
    await client.send(json.dumps({"type": kind, **fields}))
    answer = await asyncio.wait_for(client.recv(), 20)
    assert isinstance(answer, str), answer
    return json.loads(answer)


async def frame(client: ClientConnection, data: bytes) -> Any:
    """Send a frame; its answer, bytes or the object of an error."""
    await client.send(data)
    answer = await asyncio.wait_for(client.recv(), 20)
    return json.loads(answer) if isinstance(answer, str) else answer

"""The handshake of a WebSocket: an ordinary ASGI request, so that keys, hosts and origins are checked in one place.

After the handshake, the application hands its `Receiver` to the extension `EXTENSION` of the scope (`Handshake.take`).
From then on messages bypass ASGI (`websocket`).
"""

import asyncio
from typing import Any, Final, cast

from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.server import ServerProtocol

from fastgru.serve.channel import EXTENSION, Receiver
from fastgru.serve.text import write_json
from fastgru.serve.websocket import WebSocket

__all__ = ["Handshake"]

_EARLY_BYTES: Final = 1 << 16


class Handshake(WebSocketsSansIOProtocol):  # type: ignore[misc]
    """uvicorn's protocol until the handshake is answered; then `take` puts a `WebSocket` in its place.

    This is for `uvicorn.Config(ws=Handshake)`, and for an application that calls `take` for every connection that it
    accepts.
    """

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any], **options: Any) -> None:
        super().__init__(config, server_state, app_state, **options)
        self.conn.available_extensions = []
        self.conn.reject = self._rejected
        self._early = b""
        self._application: Any = config.loaded_app
        self.app = self._call

    def data_received(self, data: bytes) -> None:
        """Take the request, and keep what the client sends before it has the answer."""
        if not self.handshake_initiated:
            super().data_received(data)
            return
        self._early += data
        if len(self._early) > _EARLY_BYTES:
            self.transport.abort()

    def _rejected(self, status: Any, text: str) -> Any:
        """Return the answer to an invalid handshake, in the form of all other errors."""
        response = ServerProtocol.reject(self.conn, status, text)
        sentence = text.strip().removeprefix("Failed to open a WebSocket connection: ").removesuffix(".")
        response.body = write_json(
            {"error": f"the request is not a handshake of a WebSocket: {sentence}", "reason": "malformed"}
        )
        for name, value in ("Content-Type", "application/json"), ("Content-Length", str(len(response.body))):
            del response.headers[name]
            response.headers[name] = value
        return response

    async def run_asgi(self) -> None:
        """Call the application, which finds this object under `EXTENSION`."""
        cast(dict[str, Any], self.scope["extensions"])[EXTENSION] = self
        await super().run_asgi()

    async def _call(self, *given: Any) -> None:
        """Call the application. A server that ends at once cancels the call, which uvicorn would log as a fault."""
        try:
            await self._application(*given)
        except asyncio.CancelledError:
            self.handshake_complete = True

    async def send(self, message: Any) -> None:
        """Send as uvicorn does, but let an HTTP answer complete the handshake, which uvicorn would log as an error.

        If the client has gone meanwhile, send nothing; the receiver then learns that the connection is lost.
        """
        if self.disconnected or self.transport.is_closing():
            self.handshake_complete = True
            return
        await super().send(message)
        if message["type"] == "websocket.http.response.body":
            self.handshake_complete = True

    def take(self, receiver: Receiver, max_size: int) -> WebSocket:
        """Put a `WebSocket` in place of this protocol and return it.

        There must be no await between the acceptance of the connection and this call.
        """
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

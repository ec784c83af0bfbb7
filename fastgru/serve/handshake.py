"""The handshake of a WebSocket: an ASGI request as any other, so that keys, hosts and origins are checked in one place.

After it, the application hands its `Receiver` to the extension `EXTENSION` of the scope (`Handshake.take`), and from
then on messages go past ASGI (`websocket`).
"""

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
    """uvicorn's protocol up to the answer of the handshake; then `take` puts a `WebSocket` in its place.

    Made for `uvicorn.Config(ws=Handshake)`, and for an application that takes every connection which it accepts.
    """

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any], **options: Any) -> None:
        super().__init__(config, server_state, app_state, **options)
        self.conn.available_extensions = []
        self.conn.reject = self._rejected
        self._early = b""

    def data_received(self, data: bytes) -> None:
        """A request; what a client sends before it has the answer is kept."""
        if not self.handshake_initiated:
            super().data_received(data)
            return
        self._early += data
        if len(self._early) > _EARLY_BYTES:
            self.transport.abort()

    def _rejected(self, status: Any, text: str) -> Any:
        """The answer to a handshake that is none, as all others are written."""
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

    async def send(self, message: Any) -> None:
        """As uvicorn's, which takes an HTTP answer in place of the handshake for none, and would log that.

        A client that has gone meanwhile is no fault: it is told nothing, and the receiver that it is lost.
        """
        if self.disconnected or self.transport.is_closing():
            self.handshake_complete = True
            return
        await super().send(message)
        if message["type"] == "websocket.http.response.body":
            self.handshake_complete = True

    def take(self, receiver: Receiver, max_size: int) -> WebSocket:
        """To be called without an await after the one that accepted the connection."""
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

"""The interfaces between a WebSocket and the receiver of its messages, and a channel over plain ASGI.

The ASGI channel is for servers other than ours.
"""

import asyncio
from typing import Any, Final, Protocol

from fastgru.serve.app import Receive, Send

__all__ = ["EXTENSION", "AsgiChannel", "Channel", "Receiver"]

EXTENSION: Final = "fastgru.websocket"  # the extension of a scope whose messages may bypass ASGI

_FULL: Final = 1 << 16  # a client counts as not reading when more bytes than this wait for it
_CLOSE_S: Final = 5.0


class Receiver(Protocol):
    """The receiver of a connection's messages. All methods are called on the thread of the event loop."""

    def on_binary(self, data: bytes) -> None: ...

    def on_text(self, data: bytes) -> None:
        """Take a text message, which is valid UTF-8."""

    def on_blocked(self, blocked: bool) -> None:
        """Handle a client that has stopped reading, so that answers pile up in memory, or that reads again."""

    def on_lost(self, code: int) -> None:
        """Handle the end of the connection; called once.

        code: from the client's close frame; 1005 if the frame had no code, 1006 if there was no frame.
        """


class Channel(Protocol):
    """The interface through which a receiver writes."""

    def send_binary(self, data: bytes) -> None: ...

    def send_text(self, data: bytes) -> None: ...

    def close(self, code: int, reason: str) -> None: ...

    def set_reading(self, reading: bool) -> None:
        """Start or stop the delivery of messages. While it is stopped, at most one read of the socket is kept."""


class AsgiChannel:
    """A `Channel` over ASGI. Messages that are sent before `run` wait for it."""

    def __init__(self, receiver: Receiver, receive: Receive, send: Send) -> None:
        self._receiver, self._receive, self._send = receiver, receive, send
        self._messages: asyncio.Queue[tuple[dict[str, Any], int]] = asyncio.Queue()
        self._bytes = 0
        self._reading = asyncio.Event()
        self._reading.set()
        self._closing = self._is_full = False
        self._reader: asyncio.Task[int] | None = None

    def send_binary(self, data: bytes) -> None:
        """See `Channel`."""
        self._put({"type": "websocket.send", "bytes": data}, len(data))

    def send_text(self, data: bytes) -> None:
        """See `Channel`."""
        self._put({"type": "websocket.send", "text": data.decode()}, len(data))

    def close(self, code: int, reason: str) -> None:
        """See `Channel`."""
        if not self._closing:
            self._put({"type": "websocket.close", "code": code, "reason": reason}, 0)
            self._closing = True
            if self._reader is not None:
                asyncio.get_running_loop().call_later(_CLOSE_S, self._reader.cancel)

    def set_reading(self, reading: bool) -> None:
        """See `Channel`."""
        if reading:
            self._reading.set()
        else:
            self._reading.clear()

    def _put(self, message: dict[str, Any], size: int) -> None:
        if not self._closing:
            self._bytes += size
            self._messages.put_nowait((message, size))
            self._look()

    def _look(self) -> None:
        """Tell the receiver when the client stops reading, and when it reads again."""
        is_full = self._bytes > (0 if self._is_full else _FULL)
        if is_full != self._is_full:
            self._is_full = is_full
            self._receiver.on_blocked(is_full)

    async def run(self, max_size: int) -> None:
        """Read and write until the connection is over. max_size: the maximum size of a message in bytes."""
        self._reader = asyncio.ensure_future(self._read(max_size))
        writer = asyncio.ensure_future(self._write())
        code = 1006
        try:
            await asyncio.wait((self._reader, writer), return_when=asyncio.FIRST_COMPLETED)
            if self._reader.done() and not self._reader.cancelled():
                code = self._reader.result()
            elif not self._reader.done():  # the close frame was sent, or writing to the client has failed
                await asyncio.wait((self._reader,), timeout=_CLOSE_S)
        finally:
            for task in (self._reader, writer):
                task.cancel()
            await asyncio.gather(self._reader, writer, return_exceptions=True)
            self._receiver.on_lost(code)

    async def _read(self, max_size: int) -> int:
        while True:
            await self._reading.wait()
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                return int(message.get("code") or 1005)
            if self._closing:
                continue
            is_binary = message.get("bytes") is not None
            data: bytes = message["bytes"] if is_binary else message["text"].encode()
            if len(data) > max_size:
                self.close(1009, f"a message has at most {max_size} bytes")
            elif is_binary:
                self._receiver.on_binary(data)
            else:
                self._receiver.on_text(data)

    async def _write(self) -> None:
        while True:
            message, size = await self._messages.get()
            await self._send(message)
            if message["type"] == "websocket.close":
                return
            self._bytes -= size
            self._look()

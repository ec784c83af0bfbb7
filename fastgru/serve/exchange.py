"""One HTTP request and its answer, as an ASGI application sees them.

The application's coroutine is driven here, not by a task: it runs as soon as the request is complete, in the same
iteration of the event loop, and continues in the callback of the future that it awaits. In return,
`asyncio.current_task()` is None in the application, so it must not use `asyncio.timeout` or task groups. When the
client disconnects, the future that the application awaits is cancelled.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from http import HTTPStatus
from typing import Any, Final, Protocol

from fastgru.serve.errors import INTERNAL
from fastgru.serve.gate import Gate

__all__ = ["JOINED_BYTES", "STATUS_LINES", "Exchange", "Line", "refusal"]

_log = logging.getLogger("fastgru.serve")

STATUS_LINES: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
} | {499: b"HTTP/1.1 499 Client Closed Request\r\n"}
_NO_BODY: Final = (204, 304)
JOINED_BYTES: Final = 1 << 16  # a body below this size is copied behind its head; a larger one is written separately


class Line(Protocol):
    """The connection of an exchange."""

    app: Callable[..., Awaitable[None]]
    gate: Gate
    loop: asyncio.AbstractEventLoop
    transport: Any
    writable: asyncio.Future[None] | None

    def answered(self, exchange: Any) -> None:
        """Handle the end of an exchange: its whole answer has been written, or there will be none."""


class Exchange:
    """One request and its answer.

    scope: the ASGI scope. complete: whether the whole body has arrived. started: whether the application was called.
    finished: whether the exchange is over. keep_alive: whether another request may follow. expects: whether the client
    waits for "100 Continue" before it sends the body. size: how many bytes of the body have arrived.
    """

    __slots__ = (
        "_arrival", "_body", "_chunked", "_coroutine", "_given", "_gone", "_head", "_left", "_sent", "_waits",
        "complete", "expects", "finished", "keep_alive", "line", "scope", "size", "started",
    )  # fmt: skip

    def __init__(self, line: Line, scope: MutableMapping[str, Any], keep_alive: bool) -> None:
        self.line, self.scope, self.keep_alive = line, scope, keep_alive
        self.complete = self.started = self.finished = self.expects = False
        self._given = self._gone = self._sent = self._chunked = False
        self.size = 0
        self._body: bytes | bytearray = b""
        self._left: int | None = None  # bytes of the answer that are still to come, if Content-Length was given
        self._head: MutableMapping[str, Any] | None = None
        self._arrival: asyncio.Future[None] | None = None
        self._waits: Any = None
        self._coroutine: Coroutine[Any, Any, None] | None = None

    @property
    def is_answered(self) -> bool:
        """Whether at least the head of the answer has been written."""
        return self._sent or self.finished

    def feed(self, data: bytes) -> None:
        """Take more of the request's body."""
        self.size += len(data)
        self.line.gate.in_flight += len(data)
        if not self._body:
            self._body = data
        else:
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += data

    def arrived(self) -> None:
        """Mark the request's body as complete."""
        self.complete = True
        self._wake()

    def start(self) -> None:
        """Call the application."""
        self.started = True
        self._coroutine = self.line.app(self.scope, self.receive, self.send)  # type: ignore[assignment]
        self._advance()

    def abandon(self) -> None:
        """End the exchange without its answer: the client has gone, or gets another answer."""
        if self.finished:
            return
        waits = self._waits
        is_told = waits is not None and waits is self._arrival  # `receive` will return a disconnect
        self._finish()
        if self.started and not is_told:
            # If the application is running, or about to continue, its next wait is cancelled.
            self._gone = waits is None or not waits.cancel()

    def _advance(self, waited: Any = None) -> None:
        """Run the application until it waits for something."""
        assert self._coroutine is not None
        self._waits = None
        try:
            awaited = self._coroutine.send(None)
        except StopIteration:
            if not self.finished:
                self._fail("the application has not answered")
        except asyncio.CancelledError:
            if not self.finished:
                self._fail("the application was cancelled")
        except Exception as error:
            self._fail("the application has failed", error)
        else:
            if awaited is None:
                self.line.loop.call_soon(self._advance)
                return
            awaited._asyncio_future_blocking = False  # as a task does with the future that it awaits
            awaited.add_done_callback(self._advance)
            self._waits = awaited
            if self._gone:
                self._gone = False
                awaited.cancel()

    def _fail(self, what: str, error: Exception | None = None) -> None:
        _log.error("%s: %s %.200r", what, self.scope["method"], self.scope["path"], exc_info=error)
        if self.finished:
            return
        self.keep_alive = False
        if not self._sent:
            self.line.transport.write(refusal(500, INTERNAL, "internal"))
        self._finish()

    def _finish(self) -> None:
        self.finished = True
        self.line.gate.in_flight -= self.size
        self._wake()
        self.line.answered(self)

    def _wake(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    async def receive(self) -> MutableMapping[str, Any]:
        """Return the whole body (ASGI). A second call waits until the client disconnects."""
        if (self._given or not self.complete) and not self.finished:
            if self.expects:
                self.expects = False
                self.line.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._arrival = self.line.loop.create_future()
            await self._arrival
        if self.finished:
            return {"type": "http.disconnect"}
        self._given = True
        body, self._body = self._body, b""
        return {"type": "http.request", "body": body if type(body) is bytes else bytes(body), "more_body": False}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Send the head of the answer, then its body (ASGI). The head is written with the first part of the body."""
        line = self.line
        if line.writable is not None:
            await line.writable
        if self.finished:
            return
        if message["type"] == "http.response.start":
            if self._head is not None:
                raise RuntimeError("the application has started its answer twice")
            self._head = message
            return
        if self._head is None:
            raise RuntimeError(f"the application has sent {message['type']} before the head of its answer")
        body, more = message.get("body", b""), message.get("more_body", False)
        head = b""
        if not self._sent:
            head = self._head_bytes(None if more else len(body))
        if self.scope["method"] == "HEAD" or self._head["status"] in _NO_BODY:
            body = b""
        elif self._chunked:
            body = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            body += b"" if more else b"0\r\n\r\n"
        elif self._left is not None:
            self._left -= len(body)
            if self._left < 0 or (self._left and not more):
                raise RuntimeError("the length of the answer differs from its content-length")
        self._sent = True
        if len(body) < JOINED_BYTES:
            line.transport.write(head + body)
        else:
            line.transport.write(head)
            line.transport.write(body)
        if not more:
            self._finish()

    def _head_bytes(self, size: int | None) -> bytes:
        """Return the status line and the headers. size: the size of the whole body, None if more of it will come."""
        head = self._head
        assert head is not None
        parts, lines = [STATUS_LINES[head["status"]], self.line.gate.date], 2
        is_sized = is_told = False
        for name, value in head.get("headers", ()):
            parts += (name, b": ", value, b"\r\n")
            lines += 1
            if name == b"content-length":
                is_sized, self._left = True, int(value)
            elif name == b"connection":
                is_told, self.keep_alive = True, False
        if head["status"] not in _NO_BODY and not is_sized:
            if size is not None:
                parts.append(b"content-length: %d\r\n" % size)
                lines += 1
            elif self.scope["http_version"] == "1.1":
                self._chunked = True
                parts.append(b"transfer-encoding: chunked\r\n")
                lines += 1
            else:
                self.keep_alive = False
        if not self.keep_alive and not is_told:
            parts.append(b"connection: close\r\n")
            lines += 1
        elif self.keep_alive and self.scope["http_version"] == "1.0":
            parts.append(b"connection: keep-alive\r\n")
            lines += 1
        parts.append(b"\r\n")
        text = b"".join(parts)
        if not text.count(b"\n") == text.count(b"\r") == lines + 1:
            raise RuntimeError("a header of the answer contains a line break")
        return text


def refusal(status: int, message: str, reason: str, more: bytes = b"", retry_after_s: int = 0) -> bytes:
    """Return a whole answer that ends the connection.

    The texts must be ASCII without quotes. more: additional lines of the head. retry_after_s: 0 if it makes no sense.
    """
    retry = f',"retry_after_s":{retry_after_s}' if retry_after_s else ""
    if retry:
        more += b"retry-after: %d\r\n" % retry_after_s
    body = f'{{"error":"{message}","reason":"{reason}"{retry}}}'.encode("ascii")
    return b"%b%bcontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b" % (
        STATUS_LINES[status],
        more,
        len(body),
        body,
    )

"""The socket of one connection, which opens, sends and receives without ever blocking."""

from __future__ import annotations

import os
import re
import selectors
import socket
import ssl

from fastgru.bench.serving.target import Target

__all__ = ["PIECE", "Link", "RefusedError", "kind_of"]

_AGAIN = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
PIECE = 1 << 16  # bytes at once; the system gets a larger buffer back each time, which costs several times more
_BOTH = selectors.EVENT_READ | selectors.EVENT_WRITE
_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class RefusedError(ConnectionError):
    """The server answered the opening of a connection without an upgrade. status, body: those of its answer."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"no upgrade: {status} {body[:200].decode(errors='replace')}")
        self.status, self.body = status, body


class Link:
    """A connection to `target`. It is `ready` once it is open and the server has answered `hello`, if there is one.

    unsent: data that the socket has not accepted yet. wants: the events that `advance` waits for, as masks of
    `selectors`.
    """

    def __init__(self, target: Target, hello: bytes = b"") -> None:
        self.target, self.hello = target, hello
        self.socket: socket.socket | None = None
        self.ready, self._connected, self._secured, self._greeted = False, False, False, False
        self.rest, self.unsent = b"", b""
        self.wants = _BOTH

    def greeting(self) -> bytes:
        """Return the first data to send."""
        return self.hello

    def fileno(self) -> int:
        return -1 if self.socket is None else self.socket.fileno()

    def open(self) -> None:
        """Start to connect. Raises `OSError` if that fails at once."""
        self.ready = self._connected = self._secured = self._greeted = False
        self.rest = self.unsent = b""
        self.wants = _BOTH
        self.socket = self.target.begin()

    def advance(self) -> None:
        """Continue opening as far as possible. Call this when the socket can be read or written.

        Raises `OSError` if opening fails, `RefusedError` if the server does not answer `hello` with an upgrade.
        """
        assert self.socket is not None
        if not self._connected:
            if status := self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(status, os.strerror(status))
            try:
                self.socket.getpeername()
            except OSError:
                return  # not yet
            self._connected = True
            self.socket = self.target.wrapped(self.socket)
        try:
            if isinstance(self.socket, ssl.SSLSocket) and not self._secured:
                self.socket.do_handshake()
                self._secured = True
            if not self._greeted:
                self._greeted = True
                self.send(self.greeting())
            self.flush()
            if self.hello:
                self._answered()
            else:
                self.ready = True
            self.wants = _BOTH if self.unsent else selectors.EVENT_READ
        except ssl.SSLWantReadError:
            self.wants = selectors.EVENT_READ
        except ssl.SSLWantWriteError:
            self.wants = selectors.EVENT_WRITE

    def _answered(self) -> None:
        if (data := self.receive()) is None:
            return
        self.rest += data
        if (end := self.rest.find(_END)) >= 0:
            status = int(self.rest[9:12])
            if status == 101:
                self.rest, self.ready = self.rest[end + 4 :], True
                return
            length = _LENGTH.search(self.rest, 0, end + 2)
            if not data or not length or len(self.rest) >= end + 4 + int(length[1]):
                raise RefusedError(status, self.rest[end + 4 :])
        if not data:
            raise ConnectionResetError("the server closed the connection instead of upgrading it")

    def send(self, message: bytes) -> None:
        """Send data, and keep what the socket does not accept for `flush`. `receive` reports a lost connection."""
        if not self.unsent and self.socket is not None:
            try:
                sent = self.socket.send(message)
            except _AGAIN:
                sent = 0
            except OSError:
                return
            if sent == len(message):
                return
            message = message[sent:]
        self.unsent += message

    def flush(self) -> None:
        if self.unsent and self.socket is not None:
            try:
                self.unsent = self.unsent[self.socket.send(self.unsent) :]
            except _AGAIN:
                pass
            except OSError:
                self.unsent = b""

    def receive(self) -> bytes | None:
        """Return what has come: None if there is nothing yet, b"" if the server has closed. Raises `OSError`."""
        assert self.socket is not None
        try:
            data = self.socket.recv(PIECE)
            while isinstance(self.socket, ssl.SSLSocket) and self.socket.pending():
                data += self.socket.recv(PIECE)
        except _AGAIN:
            return None
        return data

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close()
        self.socket, self.ready, self.rest, self.unsent = None, False, b"", b""


def kind_of(error: OSError) -> str:
    """Describe what happened to a connection in a few words."""
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, ConnectionResetError | BrokenPipeError):
        return "connection reset"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error}"
    return error.strerror or str(error) or type(error).__name__

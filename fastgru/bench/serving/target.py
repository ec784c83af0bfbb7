"""The address of the measured server, how to connect to it, and requests besides the load."""

from __future__ import annotations

import errno
import http.client
import json
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from fastgru.errors import FastGRUError
from fastgru.records import dataclass

__all__ = ["Target", "client_context"]

_UNIX: Final = ("unix", "http+unix")


@dataclass(frozen=True)
class Target:
    """An address, and what every request to it has.

    host: the text of the header Host. address: what a socket of `family` connects to. prefix: that of every path.
    headers: those of every request, each with its line end. tls: None for plain connections.
    """

    host: str
    address: Any
    family: int = socket.AF_INET
    prefix: str = ""
    headers: str = ""
    tls: ssl.SSLContext | None = None

    @staticmethod
    def local(port: int) -> Target:
        """Return a port of this machine, without encryption."""
        return Target(f"127.0.0.1:{port}", ("127.0.0.1", port))

    @staticmethod
    def parse(
        url: str, *, unix: Path | None = None, key: str | None = None, tls: ssl.SSLContext | None = None
    ) -> Target:
        """Return the target of a URL: http, https, or a Unix socket, as in unix:/run/fastgru.sock.

        unix: connect to this socket instead of the URL's host. key: an API key, sent as a bearer token. tls: a context
        that replaces Python's default one. Raises `FastGRUError` for another kind of URL, and for a host without an
        address.
        """
        scheme, _, rest = url.partition(":")
        headers = "" if key is None else f"Authorization: Bearer {key}\r\n"
        if scheme in _UNIX:
            if unix is not None or not (path := unquote(rest.removeprefix("//"))):
                raise FastGRUError(f"{url!r}: expected one path of a Unix socket, as in unix:/run/fastgru.sock")
            return Target("localhost", path, _unix_family(), "", headers)
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError as error:
            raise FastGRUError(f"{url!r} is no URL: {error}") from None
        if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment or parts.username:
            raise FastGRUError(f"{url!r}: expected a URL as http://HOST:PORT, https://HOST:PORT or unix:PATH")
        if parts.scheme == "https" and tls is None:
            tls = ssl.create_default_context()
        if parts.scheme == "http" and tls is not None:
            raise FastGRUError(f"{url!r}: certificates are for https")
        family, address = (_unix_family(), str(unix)) if unix is not None else _resolved(host, port)
        return Target(parts.netloc, address, family, parts.path.rstrip("/"), headers, tls)

    def at_port(self, port: int) -> Target:
        """Return another port of the same host, without TLS. Raises `FastGRUError` if it has no ports, or has TLS."""
        if self.tls is not None or not isinstance(self.address, tuple):
            raise FastGRUError("--protocol grpc is for http://HOST:PORT: a Unix socket and TLS are for the others")
        name = self.host.rpartition(":")[0] or self.host
        return replace(self, host=f"{name}:{port}", address=(self.address[0], port, *self.address[2:]), prefix="")

    def begin(self) -> socket.socket:
        """Return a non-blocking socket that has begun to connect. Raises `OSError` if that is refused at once."""
        made = self._socket()
        try:
            made.setblocking(False)
            status = made.connect_ex(self.address)
            going = (0, errno.EINPROGRESS, errno.EWOULDBLOCK if isinstance(self.address, tuple) else 0)
            if status not in going:  # a Unix socket that would block has begun nothing
                raise OSError(status, os.strerror(status))
        except BaseException:
            made.close()
            raise
        return made

    def wrapped(self, plain: socket.socket) -> socket.socket:
        """Wrap `plain`, a connected socket, in TLS if the target has it. The handshake remains to be done."""
        if self.tls is None:
            return plain
        name = self.host.rpartition(":")[0] or self.host
        return self.tls.wrap_socket(plain, server_hostname=name.strip("[]"), do_handshake_on_connect=False)

    @contextmanager
    def connected(self, timeout_s: float = 10.0) -> Iterator[socket.socket]:
        """Open a blocking connection with a timeout. Raises `OSError`."""
        made = self._socket()
        try:
            made.settimeout(timeout_s)
            made.connect(self.address)
            made = self.wrapped(made)
            if isinstance(made, ssl.SSLSocket):
                made.do_handshake()
            yield made
        finally:
            made.close()

    def ask(self, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Return the status and body of the answer to a GET, or to a POST of `body`, over a connection of its own."""
        headers = {"Host": self.host}
        for line in self.headers.splitlines():
            name, _, headers[name] = line.partition(": ")
        connection = http.client.HTTPConnection("localhost")
        try:
            with self.connected() as connection.sock:
                connection.request("GET" if body is None else "POST", self.prefix + path, body, headers)
                answer = connection.getresponse()
                return answer.status, answer.read()
        except http.client.HTTPException as error:
            raise ConnectionError(f"no answer of HTTP: {error!r}") from error

    def json(self, path: str, body: bytes | None = None) -> Any:
        """Return the JSON of the answer; None if the status is not 200 or the body is not JSON."""
        status, text = self.ask(path, body)
        try:
            return json.loads(text) if status == 200 else None
        except ValueError:
            return None

    def _socket(self) -> socket.socket:
        made = socket.socket(self.family, socket.SOCK_STREAM)
        if self.family in (socket.AF_INET, socket.AF_INET6):
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made


def client_context(ca: Path | None, cert: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """Return a context with trusted authorities and a certificate; None if none are given. Raises `FastGRUError`."""
    if (cert is None) != (key is None):
        raise FastGRUError("--tls-cert and --tls-key go together")
    if ca is None and cert is None:
        return None
    try:
        context = ssl.create_default_context(cafile=ca)
        if cert is not None:
            context.load_cert_chain(cert, key)
    except ssl.SSLError as error:
        raise FastGRUError(f"the certificates cannot be read: {error.reason or error}") from error
    return context


def _unix_family() -> int:
    if not hasattr(socket, "AF_UNIX"):
        raise FastGRUError("this system has no Unix sockets")
    return int(socket.AF_UNIX)


def _resolved(host: str, port: int) -> tuple[int, Any]:
    """Return the family and address of the host's first address that accepts a connection, or else of the first."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise FastGRUError(f"{host} has no address: {error.strerror}") from error
    for family, kind, protocol, _, address in found if len(found) > 1 else ():
        with socket.socket(family, kind, protocol) as tried:
            tried.settimeout(5)
            if not tried.connect_ex(address):
                return int(family), address
    return int(found[0][0]), found[0][4]

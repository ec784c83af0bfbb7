"""The hosts that a request may name, and the pages that may send one.

A page of any site can make a browser send requests to localhost, and a name in a foreign domain may stand for 127.0.0.1
(DNS rebinding). So a server on loopback only answers requests for local hosts, from pages of local origins. Any other
server only answers pages of its own origin. Both also answer pages of the origins in `allow_origin`. Programs other
than browsers send no Origin.
"""

import ipaddress
import re
from typing import Any, Final
from urllib.parse import urlsplit

from fastgru.serve.app import Application, Message, Receive, Scope, Send
from fastgru.serve.errors import ServeError
from fastgru.serve.settings import Settings

__all__ = ["Cors", "Origins", "is_local_host"]

_HOST: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]@/?#\s]+)(?::\d{1,5})?")
_REMEMBERED: Final = 256  # how many allowed hosts and origins are cached
_METHODS: Final = b"GET, POST, PUT, DELETE, HEAD"
_SECONDS: Final = b"600"


def _name_of(host: str) -> str | None:
    """Return the host without its port, or None if it is not a host."""
    match = _HOST.fullmatch(host)
    return match[1].lower().rstrip(".") if match else None


def is_local_host(name: str) -> bool:
    """Return whether the name is localhost, a name below it, or a loopback address, which no foreign domain can be."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


class Origins:
    """The hosts and origins that the settings allow."""

    def __init__(self, settings: Settings) -> None:
        self._allowed = frozenset(settings.allow_origin)
        self._hosts = {_name_of(urlsplit(origin).netloc) for origin in settings.allow_origin}
        # A browser cannot open a Unix socket; a proxy in front of the socket sends the host of its own site.
        self._is_strict = settings.is_local and settings.unix is None
        self._is_open = "*" in settings.allow_origin
        self._known: dict[tuple[bytes, bytes | None], bool] = {}

    def check(self, host: bytes, origin: bytes | None) -> None:
        """Raise `ServeError`: 400 for text that is not a host, 421 for a host that is not served here, 403 for pages
        that may not ask.
        """
        if (host, origin) in self._known:
            return
        name = _name_of(host.decode("latin-1"))
        if name is None:
            raise ServeError(400, "the header Host does not name a host", reason="host")
        if self._is_strict and not (self._is_open or is_local_host(name) or name in self._hosts):
            raise ServeError(
                421,
                f"this server answers requests for localhost, not for the host {name!r:.160}: use localhost, or start"
                " the server with --allow-origin",
                reason="host",
            )
        if origin is not None and not self.allows(origin.decode("latin-1"), host.decode("latin-1")):
            raise ServeError(
                403,
                f"pages of {origin.decode('latin-1')!r:.160} may not send requests: start the server with"
                " --allow-origin",
                reason="origin",
            )
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[host, origin] = True

    def allows(self, origin: str, host: str) -> bool:
        """Return whether pages of this origin may send requests to this host."""
        if self._is_open or origin in self._allowed:
            return True
        try:
            site = urlsplit(origin)
        except ValueError:
            return False
        name = _name_of(site.netloc)
        if site.scheme not in ("http", "https") or name is None:
            return False
        return is_local_host(name) if self._is_strict else site.netloc.lower() == host.lower()


class Cors:
    """An ASGI application around another, which adds CORS headers and answers preflights for the allowed origins.

    It is only for settings with `allow_origin`; without it, browsers do not let other pages read any answer.
    """

    def __init__(self, app: Application, settings: Settings) -> None:
        self._app, self._origins = app, frozenset(settings.allow_origin)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a preflight, or add headers to the answer of the application."""
        origin: bytes | None = None
        if scope["type"] == "http":
            headers = dict(scope["headers"])
            origin = headers.get(b"origin")
        if origin is None or not {"*", origin.decode("latin-1")} & self._origins:
            await self._app(scope, receive, send)
            return
        more = [(b"access-control-allow-origin", origin), (b"vary", b"Origin")]
        scope["extensions"] = {}  # answers that bypass this application would not have these headers
        if scope["method"] == "OPTIONS" and b"access-control-request-method" in headers:
            asked = headers.get(b"access-control-request-headers")
            more += [(b"access-control-allow-methods", _METHODS), (b"access-control-max-age", _SECONDS)]
            more += [(b"access-control-allow-headers", asked)] if asked else []
            await send({"type": "http.response.start", "status": 204, "headers": more})
            await send({"type": "http.response.body", "body": b""})
            return

        more.append((b"access-control-expose-headers", b"inference-header-content-length, retry-after, sequence-step"))

        async def send_more(message: Message) -> None:
            if message["type"] == "http.response.start":
                added: Any = {**message, "headers": [*message.get("headers", ()), *more]}
                message = added
            await send(message)

        await self._app(scope, receive, send_more)

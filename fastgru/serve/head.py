"""Faults in the head of a request that httptools does not refuse.

These are heads that two programs might read differently, heads above the limits, and requests for what this server does
not support.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from fastgru.serve.settings import Settings

__all__ = [
    "METHODS",
    "Fault",
    "asks_for_websocket",
    "fault_of",
    "fault_of_upgrade",
    "large_body",
    "large_head",
    "malformed",
    "size_of",
]

METHODS: Final = {name.encode(): name for name in ("GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH")}
_HANDSHAKE_LINE: Final = 8_000  # below the limit of the package websockets, which does not answer longer lines
_RARE: Final = (b"transfer-encoding", b"content-encoding", b"expect")
_ONCE: Final = (b"host", b"inference-header-content-length", *_RARE)  # programs differ on which of two headers counts


class Fault(NamedTuple):
    """The refusal of a request. message: ASCII, without quotes. retry_after_s: when to try again; 0 if never."""

    status: int
    message: str
    reason: str
    retry_after_s: int = 0


def malformed(message: str) -> Fault:
    """Return the fault of a request that is invalid, or that can be read in more than one way."""
    return Fault(400, message, "malformed")


def large_head(settings: Settings) -> Fault:
    """Return the fault of a head that is larger than the settings allow."""
    what = (
        f"the head is too large, expected at most {settings.max_header_bytes} bytes and {settings.max_headers} headers"
    )
    return Fault(431, what, "head")


def large_body(settings: Settings) -> Fault:
    """Return the fault of a body that is larger than the settings allow."""
    return Fault(413, f"the body is too large, expected at most {settings.max_body_bytes} bytes", "body")


def size_of(url: bytes, headers: Sequence[tuple[bytes, bytes]]) -> int:
    """Return the bytes of a head, without the method and version in its first line."""
    return len(url) + sum([len(name) + len(value) + 4 for name, value in headers])


def fault_of(
    method: bytes,
    version: str,
    url: bytes,
    headers: Sequence[tuple[bytes, bytes]],
    names: Mapping[bytes, bytes],
    settings: Settings,
) -> Fault | None:
    """Return the fault of a head, or None. names: the last header of each name; names are in lower case."""
    if len(headers) > settings.max_headers:
        return large_head(settings)
    if method not in METHODS or url[:1] != b"/" or b"#" in url or version not in ("1.1", "1.0"):
        return malformed("expected a method, a path that begins with a slash, and HTTP 1.1")
    if b"host" not in names:
        return malformed("expected the header Host")
    if len(names) < len(headers):
        every = [name for name, _ in headers]
        for name in _ONCE:
            if every.count(name) > 1:
                return malformed(f"expected the header {name.decode()} only once")
    length = names.get(b"content-length")
    if length is not None and int(length) > settings.max_body_bytes:
        return large_body(settings)
    return None if names.keys().isdisjoint(_RARE) else _fault_of_rare(names, version)


def _fault_of_rare(names: Mapping[bytes, bytes], version: str) -> Fault | None:
    def is_other(name: bytes, value: bytes) -> bool:
        return names.get(name, value).lower().rstrip() != value

    if is_other(b"content-encoding", b"identity"):
        return Fault(415, "the body is compressed, which is not supported: send it uncompressed", "coding")
    if is_other(b"transfer-encoding", b"chunked") or (version == "1.0" and b"transfer-encoding" in names):
        return malformed("the only supported transfer encoding is chunked, with HTTP 1.1")
    if is_other(b"expect", b"100-continue"):
        return Fault(417, "the header Expect may only be 100-continue", "malformed")
    return None


def asks_for_websocket(method: bytes, version: str, names: Mapping[bytes, bytes]) -> bool:
    """Return whether the head asks for an upgrade to a WebSocket."""
    return (method, version, names.get(b"upgrade", b"").lower().rstrip()) == (b"GET", "1.1", b"websocket")


def fault_of_upgrade(
    url: bytes, headers: Sequence[tuple[bytes, bytes]], names: Mapping[bytes, bytes], *, to_websocket: bool
) -> Fault | None:
    """Return the fault of an upgrade, or None. to_websocket: whether uvicorn's handshake reads the head again."""
    if b"content-length" in names or b"transfer-encoding" in names:
        return malformed("a request to upgrade cannot have a body")
    if to_websocket and not names.get(b"sec-websocket-key", b"").isascii():
        return malformed("the header Sec-WebSocket-Key must be base64")
    if to_websocket and max(len(url), *(len(name) + len(value) for name, value in headers)) > _HANDSHAKE_LINE:
        return Fault(431, f"a line of the handshake is too long, expected at most {_HANDSHAKE_LINE} bytes", "head")
    return None

"""The head of a call: its method, its timeout and its headers, checked by the rules of HTTP/2 and gRPC."""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

__all__ = ["Head", "HeadError", "read_head"]

_PSEUDO: Final = frozenset((b":method", b":scheme", b":path", b":authority"))
_FORBIDDEN: Final = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"))
_ONCE: Final = frozenset(
    (b"authorization", b"content-length", b"content-type", b"grpc-timeout", b"host", b"origin", b"x-api-key")
)
_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")
_TIMEOUT: Final = re.compile(rb"(\d{1,8})([HMSmun])")
_UNITS: Final = {b"H": 3_600 * 10**9, b"M": 60 * 10**9, b"S": 10**9, b"m": 10**6, b"u": 10**3, b"n": 1}


class HeadError(Exception):
    """The head breaks the rules of HTTP/2: the stream is reset."""


class Head(NamedTuple):
    """The head of a call. status: the HTTP status; other than 200 for a request that is not a call of gRPC.

    timeout_ns: from the client; None for no limit, -1 for an invalid text. headers: with `host`, which is `:authority`
    if that was sent.
    """

    path: bytes
    status: int
    timeout_ns: int | None
    headers: dict[bytes, bytes]


def read_head(given: Iterable[tuple[bytes, bytes]]) -> Head:
    """Read a head from decoded headers. Raises `HeadError`."""
    headers: dict[bytes, bytes] = {}
    has_regular = False
    for name, value in given:
        if name[:1] == b":":
            if name not in _PSEUDO or has_regular or name in headers:
                raise HeadError
        elif not _NAME.fullmatch(name) or name in _FORBIDDEN or (name in _ONCE and name in headers):
            raise HeadError
        else:
            has_regular = True
        if b"\0" in value or b"\n" in value or b"\r" in value:
            raise HeadError
        headers[name] = value
    authority = headers.get(b":authority", headers.get(b"host"))
    if not headers.keys() >= {b":method", b":scheme", b":path"} or authority is None:
        raise HeadError
    if headers.get(b"te", b"trailers") != b"trailers" or headers.get(b"host", authority) != authority:
        raise HeadError
    headers[b"host"] = authority
    status, kind = 200, headers.get(b"content-type", b"")
    if headers[b":method"] != b"POST":
        status = 405
    elif not kind.startswith(b"application/grpc") or kind[16:17] not in (b"", b"+", b";"):
        status = 415
    timeout_ns = None
    if (text := headers.get(b"grpc-timeout")) is not None:
        found = _TIMEOUT.fullmatch(text)
        timeout_ns = int(found[1]) * _UNITS[found[2]] if found else -1
    return Head(headers[b":path"], status, timeout_ns, headers)

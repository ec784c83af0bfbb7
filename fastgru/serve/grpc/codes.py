"""The end of a call: the status codes of gRPC for refusals, and the trailers that carry them."""

from math import ceil
from typing import Final
from urllib.parse import quote

from fastgru.serve.errors import ServeError

__all__ = ["CODES", "DONE", "HEAD", "OK_HEAD", "literal", "refusal"]

# By HTTP status. A status that is not here counts as 500.
CODES: Final = {
    400: (3, "INVALID_ARGUMENT"),
    401: (16, "UNAUTHENTICATED"),
    403: (7, "PERMISSION_DENIED"),
    404: (5, "NOT_FOUND"),
    405: (12, "UNIMPLEMENTED"),
    408: (4, "DEADLINE_EXCEEDED"),
    409: (9, "FAILED_PRECONDITION"),
    410: (9, "FAILED_PRECONDITION"),
    413: (8, "RESOURCE_EXHAUSTED"),
    415: (12, "UNIMPLEMENTED"),
    421: (7, "PERMISSION_DENIED"),
    431: (8, "RESOURCE_EXHAUSTED"),
    499: (1, "CANCELLED"),
    500: (13, "INTERNAL"),
    503: (14, "UNAVAILABLE"),
}
_PRINTABLE: Final = " !\"#$&'()*+,/:;<=>?@[\\]^`{|}~"
_MOST_TEXT: Final = 340  # characters of a message, each of which may become 12 when quoted


def literal(name: bytes, value: bytes) -> bytes:
    """Return a header for HPACK that no table keeps. The name must have less than 127 bytes."""
    size = len(value)
    if size < 127:
        return b"\0%c%b%c%b" % (len(name), name, size, value)
    size, more = size - 127, b"\x7f"
    while size > 127:
        more += bytes((size & 127 | 128,))
        size >>= 7
    return b"\0%c%b%b%c%b" % (len(name), name, more, size, value)


OK_HEAD: Final = b"\x88"  # :status 200, the eighth entry of HPACK's static table
HEAD: Final = OK_HEAD + literal(b"content-type", b"application/grpc") + literal(b"grpc-accept-encoding", b"identity")
DONE: Final = literal(b"grpc-status", b"0")


def refusal(error: ServeError) -> bytes:
    """Return the trailers of a refused call: its status and message, the reason, and when a retry may help.

    Clients with a retry policy obey `grpc-retry-pushback-ms`; a negative value asks them to give up.
    """
    code, _ = CODES.get(error.status, CODES[500])
    text = error.message.encode("utf-8", "replace").decode()
    quoted = quote(text, safe=_PRINTABLE)
    if len(quoted) > 12 * _MOST_TEXT:
        quoted = quote(text[:_MOST_TEXT], safe=_PRINTABLE)
    block = literal(b"grpc-status", b"%d" % code) + literal(b"grpc-message", quoted.encode())
    block += literal(b"fastgru-reason", error.reason.encode())
    if error.status == 503:
        wait = -1 if error.retry_after_s is None else ceil(1e3 * error.retry_after_s)
        block += literal(b"grpc-retry-pushback-ms", b"%d" % wait)
    return block

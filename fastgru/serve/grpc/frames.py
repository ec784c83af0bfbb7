"""Frames of HTTP/2 (RFC 9113): their kinds, flags and errors, and functions that make them."""

import struct
from typing import Final

__all__ = ["FRAME_HEAD", "MESSAGE_HEAD", "PREFACE", "Fault", "frame", "unpadded"]

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 1
END_HEADERS, PADDED, PRIORITISED = 4, 8, 32
NO_ERROR, PROTOCOL, INTERNAL, FLOW_CONTROL, _, STREAM_CLOSED, FRAME_SIZE, REFUSED_STREAM, CANCEL, COMPRESSION = range(
    10
)
ENHANCE_YOUR_CALM: Final = 11
FRAME_HEAD: Final = struct.Struct(">IBI")  # size << 8 | kind, flags, stream
MESSAGE_HEAD: Final = struct.Struct(">IBIBI")  # the same, and the prefix of a message of gRPC


class Fault(Exception):  # noqa: N818
    """A fault that ends the connection. code: the HTTP/2 error code. reason: the fixed word that metrics count by."""

    def __init__(self, code: int, text: str, reason: str = "malformed") -> None:
        super().__init__(text)
        self.code, self.text, self.reason = code, text, reason


def frame(kind: int, flags: int, number: int, payload: bytes = b"") -> bytes:
    """Return a frame of stream `number`; 0 stands for the connection."""
    return FRAME_HEAD.pack(len(payload) << 8 | kind, flags, number) + payload


def unpadded(flags: int, payload: bytes, *, has_priority: bool = False) -> bytes:
    """Return the payload without padding and, in a head, without a priority. Raises `Fault`."""
    begin, end = 0, len(payload)
    if flags & PADDED:
        begin, end = 1, end - (payload[0] if payload else 256)
    if has_priority and flags & PRIORITISED:
        begin += 5
    if begin > end:
        raise Fault(PROTOCOL, "padding, or a priority, takes more than the frame has")
    return payload[begin:end]

"""The rules of RFC 6455 for single frames: their bytes, and the frames that a client may send."""

from struct import Struct
from typing import Final

__all__ = [
    "BINARY", "CLOSE", "CONTINUATION", "FINAL", "LOST", "MASKED", "NO_CODE", "PING", "PONG", "TEXT", "U16",
    "breach", "close_code", "close_payload", "encode", "long_size",
]  # fmt: skip

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
FINAL: Final = 0x80  # a bit of the first byte: the last frame of a message
MASKED: Final = 0x80  # a bit of the second byte: the payload is masked
NO_CODE, LOST = 1005, 1006  # the codes for a close frame without a code, and for a connection without a close frame
_CONTROL_BYTES: Final = 125
U16, _U64 = Struct(">H"), Struct(">Q")
_SHORT, _LONG = Struct(">BBH"), Struct(">BBQ")

Breach = tuple[int, str]


def encode(opcode: int, payload: bytes) -> bytes:
    """Return the frame of a server that is a whole message."""
    size = len(payload)
    if size < 126:
        head = bytes((FINAL | opcode, size))
    elif size < 1 << 16:
        head = _SHORT.pack(FINAL | opcode, 126, size)
    else:
        head = _LONG.pack(FINAL | opcode, 127, size)
    return head + payload


def close_payload(code: int, reason: str) -> bytes:
    """Return the payload of a close frame: two bytes of code, and as much of the reason as fits in 125 bytes."""
    text = reason.encode()[: _CONTROL_BYTES - 2].decode(errors="ignore")
    return U16.pack(code) + text.encode()


def close_code(payload: bytes) -> int | Breach:
    """Return the code of a client's close frame, or the code and the reason of its breach of the rules."""
    try:
        payload[2:].decode()
    except UnicodeDecodeError:
        return 1007, "the reason of a close frame is no UTF-8"
    code: int = U16.unpack_from(payload)[0] if len(payload) >= 2 else NO_CODE
    may_be_sent = (1000 <= code <= 1014 and code not in (1004, NO_CODE, LOST)) or 3000 <= code <= 4999
    if len(payload) == 1 or (payload and not may_be_sent):
        return 1002, "a close frame carries a code that a peer may send, or nothing"
    return code


def long_size(data: bytes, at: int) -> int | Breach:
    """Return the payload size of the frame at `at`, which is above 125, or a breach such as a missing mask."""
    second = data[at + 1]
    if second < MASKED:
        return 1002, "a client's frames are masked"
    is_short = second & 127 == 126
    size: int
    (size,) = U16.unpack_from(data, at + 2) if is_short else _U64.unpack_from(data, at + 2)
    if size < (126 if is_short else 1 << 16):
        return 1002, "a size is written in as few bytes as hold it"
    return size


def breach(first: int, size: int, within: bool, room: int) -> Breach | None:
    """Return how the head of a frame breaks the rules, or None.

    within: whether a message has begun. room: how many more bytes the message may have.
    """
    opcode = first & 15
    if first & 0x70:
        return 1002, "no extension was agreed on, and a reserved bit is set"
    if BINARY < opcode < CLOSE or opcode > PONG:
        return 1002, f"opcode {opcode} is reserved"
    if opcode >= CLOSE:
        if size > _CONTROL_BYTES or not first & FINAL:
            return 1002, "a control frame has at most 125 bytes and is not fragmented"
    elif (opcode == CONTINUATION) != within:
        return 1002, "a message begins before the last message is complete, or continues without a beginning"
    elif size > room:
        return 1009, "the message is larger than this server takes"
    return None

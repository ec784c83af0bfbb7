"""A ModelInferRequest, split by its outermost fields.

All fields that define the request become one text, which is the same for every step of a sequence, so that its meaning
can be cached. The id and the raw contents, which differ, are returned separately.
"""

from typing import Final, NamedTuple

from fastgru.serve.v2.request import bad

__all__ = ["Parts", "split"]

_MODEL, _VERSION, _ID, _RAW = 0x0A, 0x12, 0x1A, 0x3A  # field number << 3 | 2, for bytes after their length
_FIELDS: Final = frozenset((_MODEL, _VERSION, _ID, 0x22, 0x2A, 0x32, _RAW))
_MOST_FIELDS: Final = 1_024


class Parts(NamedTuple):
    """The parts of a request. head: all fields except the id and the raw contents, unchanged."""

    head: bytes
    model: bytes
    version: bytes
    id: bytes
    raw: list[bytes]


def split(message: bytes) -> Parts:
    """Split a request. Raises `ServeError`, 400, for an invalid message, and for an unknown field."""
    head, raw = [], []
    model = version = name = b""
    at, end, count = 0, len(message), 0
    while at < end:
        tag, begin = message[at], at + 2
        if tag not in _FIELDS:
            raise bad(f"the message has a field with the tag {tag}, which a ModelInferRequest does not have")
        size = message[at + 1] if begin <= end else 0
        if size > 127:
            size, begin = _varint(message, at + 1)
        stop = begin + size
        count += 1
        if stop > end or begin > end:
            raise bad("the message ends within a field")
        if count > _MOST_FIELDS:
            raise bad(f"the message has more than {_MOST_FIELDS} fields")
        if tag == _RAW:
            raw.append(message[begin:stop])
        elif tag == _ID:
            name = message[begin:stop]
        else:
            head.append(message[at:stop])
            if tag == _MODEL:
                model = message[begin:stop]
            elif tag == _VERSION:
                version = message[begin:stop]
        at = stop
    return Parts(b"".join(head), model, version, name, raw)


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """Return the number and where it ends; a number with too many bytes counts as larger than any message."""
    value = shift = 0
    for i, byte in enumerate(message[at : at + 6]):
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at + i + 1
    return 1 << 62, at + 1

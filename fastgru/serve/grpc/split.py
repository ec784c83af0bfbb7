"""A ModelInferRequest, taken apart by its outermost fields alone.

All that says what a request is about comes back as one text, the same for every step of a sequence, so that what it
means is remembered; the id and the raw contents, which differ, are beside it.
"""

from typing import Final, NamedTuple

from fastgru.serve.v2.request import bad

__all__ = ["Parts", "split"]

_MODEL, _VERSION, _ID, _RAW = 0x0A, 0x12, 0x1A, 0x3A  # the number of a field << 3 | 2, for bytes with their length
_FIELDS: Final = frozenset((_MODEL, _VERSION, _ID, 0x22, 0x2A, 0x32, _RAW))
_MOST_FIELDS: Final = 1_024


class Parts(NamedTuple):
    """head: all fields but the id and the raw contents, as they came. model, version, id: as bytes."""

    head: bytes
    model: bytes
    version: bytes
    id: bytes
    raw: list[bytes]


def split(message: bytes) -> Parts:
    """Raises `ServeError`, 400, for what is no such message, and for a field that is not known."""
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
    """The number, and where it ends; a number that goes on for too long is larger than any message."""
    value = shift = 0
    for i, byte in enumerate(message[at : at + 6]):
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at + i + 1
    return 1 << 62, at + 1

"""The bytes of one slot: a head of 64 bytes, the state, the id and key of the session, and the last answer.

Offset 0 has the number of the write (0 during a write, and in a slot that was never written), offset 8 a checksum of
that number and of everything after the checksum, and offset 12 the fields of `Head`. Words have the byte order of this
machine, and each is stored at once. So a slot with a number and a valid checksum was written whole, whatever the
process was doing when it ended.
"""

import struct
from typing import Final, NamedTuple
from zlib import crc32

from fastgru.serve.ids import Id
from fastgru.simd.target import TARGET, TARGETS

__all__ = [
    "ANSWER_ASIDE", "ENDED", "FIELDS", "FIELDS_AT", "HEAD_BYTES", "OWN_TARGET", "STATE_ASIDE", "SUM_AT", "Head",
    "Identity", "read_identity", "target_name",
]  # fmt: skip

HEAD_BYTES: Final = 64
SUM_AT: Final = 8
FIELDS_AT: Final = 12
FIELDS: Final = struct.Struct("=HHHHIQQQI")

NUMBER: Final = 1  # the id is a number
KEYED: Final = 2  # the session has a key
ENDED: Final = 4  # the session is over
STATE_ASIDE: Final = 8  # the state is in a file of its own
ANSWER_ASIDE: Final = 16  # the answer is in a file of its own

_NUMBER_BYTES: Final = 8

# A record stores 16 bits of a hash of the name of the target that has made the state.
_TARGET_NAMES: Final = {crc32(target.name.encode()) & 0xFFFF: target.name for target in TARGETS}
OWN_TARGET: Final = crc32(TARGET.name.encode()) & 0xFFFF


class Head(NamedTuple):
    """The fields at the beginning of a slot.

    flags: those above. used_ns: when the session was last used, by the wall clock. target: the state's target, see
    `target_name`. identity_sum: a checksum of only the id and the key, by which the owner of a damaged record is known.
    """

    flags: int
    id_bytes: int
    key_bytes: int
    target: int
    state_bytes: int
    answer_bytes: int
    step: int
    used_ns: int
    identity_sum: int


class Identity:
    """The owner of a record, as stored in its slots. text: the bytes of the id and of the key."""

    __slots__ = ("flags", "id_bytes", "key", "key_bytes", "name", "sum", "text")

    def __init__(self, name: Id, key: str | None) -> None:
        self.name, self.key = name, key
        is_number = isinstance(name, int)
        own = name.to_bytes(_NUMBER_BYTES, "little") if isinstance(name, int) else name.encode("utf-8", "surrogatepass")
        theirs = b"" if key is None else key.encode("utf-8", "surrogatepass")
        self.flags = (NUMBER if is_number else 0) | (0 if key is None else KEYED)
        self.text, self.id_bytes, self.key_bytes = own + theirs, len(own), len(theirs)
        self.sum = crc32(self.text)


def target_name(code: int) -> str:
    """Return the name of the target that `Head.target` stands for."""
    return _TARGET_NAMES.get(code, "one that this version does not know")


def read_identity(head: Head, text: bytes) -> Identity | None:
    """Return the owner that `text` names, or None if the bytes do not match the head."""
    if crc32(text) != head.identity_sum or len(text) != head.id_bytes + head.key_bytes:
        return None
    own, theirs = text[: head.id_bytes], text[head.id_bytes :]
    try:
        name: Id = int.from_bytes(own, "little") if head.flags & NUMBER else own.decode("utf-8", "surrogatepass")
        return Identity(name, theirs.decode("utf-8", "surrogatepass") if head.flags & KEYED else None)
    except UnicodeDecodeError:
        return None

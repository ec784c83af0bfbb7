"""The bytes of one slot: a head of 64 bytes, the state, whose session it is, and the last answer.

At 0 stands the number of the write (0 while it goes on, and where nothing was ever written), at 8 a checksum of that
number and of everything behind it, at 12 the fields of `Head`. The words are those of this machine, and each is stored
at once: whatever the process was at when it ended, a slot with a number and a checksum that holds was written whole.
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
ANSWER_ASIDE: Final = 16  # the answer is

_NUMBER_BYTES: Final = 8

# What a record says of the target that has made the state: some bits of a hash of its name.
_TARGET_NAMES: Final = {crc32(target.name.encode()) & 0xFFFF: target.name for target in TARGETS}
OWN_TARGET: Final = crc32(TARGET.name.encode()) & 0xFFFF


class Head(NamedTuple):
    """flags: those above. The sizes are of bytes. used_ns: when the session was last used, by the wall clock.

    target: of the state, see `target_name`.

    identity_sum: a checksum of the id and the key alone, which tells whose a damaged record was.
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
    """Whose a record is, as its slots have it. text: the bytes of the id and of the key."""

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
    """The target that `Head.target` stands for."""
    return _TARGET_NAMES.get(code, "one that this version does not know")


def read_identity(head: Head, text: bytes) -> Identity | None:
    """The inverse, None where the bytes are not what the head says."""
    if crc32(text) != head.identity_sum or len(text) != head.id_bytes + head.key_bytes:
        return None
    own, theirs = text[: head.id_bytes], text[head.id_bytes :]
    try:
        name: Id = int.from_bytes(own, "little") if head.flags & NUMBER else own.decode("utf-8", "surrogatepass")
        return Identity(name, theirs.decode("utf-8", "surrogatepass") if head.flags & KEYED else None)
    except UnicodeDecodeError:
        return None

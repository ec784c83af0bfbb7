"""Object headers: the list of messages that a group or a dataset is (sections IV.A.1)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from fastgru.errors import UnsupportedModelError
from fastgru.importers.hdf5.block import MAX_STEPS, Block, FileForm

__all__ = [
    "ATTRIBUTE", "DATASPACE", "DATATYPE", "EXTERNAL", "FILTERS", "LAYOUT", "LINK", "LINK_INFO", "SYMBOL_TABLE",
    "Message", "read_messages",
]  # fmt: skip

DATASPACE: Final = 0x01
LINK_INFO: Final = 0x02
DATATYPE: Final = 0x03
LINK: Final = 0x06
EXTERNAL: Final = 0x07
LAYOUT: Final = 0x08
FILTERS: Final = 0x0B
ATTRIBUTE: Final = 0x0C
CONTINUATION: Final = 0x10
SYMBOL_TABLE: Final = 0x11

_FLAG_SHARED: Final = 0x02


@dataclass(frozen=True)
class Message:
    """One message of a header; `shared` where its content is kept elsewhere in the file."""

    kind: int
    shared: bool
    content: memoryview

    def block(self, form: FileForm, what: str) -> Block:
        if self.shared:
            raise UnsupportedModelError(
                f"{form.name}: {what} is shared between objects of the file (a committed datatype), which is not read:"
                " copy the file with h5repack"
            )
        return Block(form, self.content, what)


def read_messages(form: FileForm, address: int) -> list[Message]:
    """Every message of the object at `address`, continuations followed."""
    block = form.block(address, None, f"the object at {address:#x}")
    newer = block.peek(4) == b"OHDR"
    found = []
    for message in _messages(form, *(_version_2(form, block) if newer else _version_1(form, block)), newer=newer):
        form.step()
        found.append(message)
    return found


def _version_1(form: FileForm, block: Block) -> tuple[Block, int, int]:
    """(the messages, how many there are at most, bytes of each behind its flags)."""
    version, _, count, _, size = (block.number(n) for n in (1, 1, 2, 4, 4))
    if version != 1:
        raise form.damaged(f"{block.what} has a header of version {version}")
    block.take(4)
    return block.sub(size), count, 3


def _version_2(form: FileForm, block: Block) -> tuple[Block, int, int]:
    block.expect(b"OHDR")
    version, flags = block.number(1), block.number(1)
    if version != 2:
        raise form.damaged(f"{block.what} has a header of version {version}")
    block.take((16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0))
    return block.sub(block.number(1 << (flags & 3))), MAX_STEPS + 1, 2 if flags & 0x04 else 0


def _messages(form: FileForm, first: Block, left: int, behind: int, *, newer: bool) -> Iterator[Message]:
    pending, seen, kind_size = [first], set[int](), 1 if newer else 2
    while pending:
        part = pending.pop(0)
        while len(part) >= kind_size + 3 + behind and left:
            left -= 1
            kind, length, flags, _ = part.number(kind_size), part.number(2), part.number(1), part.take(behind)
            content = part.take(length)
            if kind == CONTINUATION:
                chunk = _continuation(form, content, seen)
                if newer:
                    chunk.expect(b"OCHK")
                    chunk = chunk.sub(len(chunk) - 4)  # without the checksum
                pending.append(chunk)
            yield Message(kind, bool(flags & _FLAG_SHARED), content)


def _continuation(form: FileForm, content: memoryview, seen: set[int]) -> Block:
    where = Block(form, content, "a continuation of a header")
    address, size = where.offset(), where.length()
    if address in seen:
        raise form.damaged("a header continues in itself")
    seen.add(address)
    return form.block(address, size, where.what)

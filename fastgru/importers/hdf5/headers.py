"""Object headers: the list of messages that a group or a dataset is (sections IV.A.1)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from fastgru.errors import UnsupportedModelError
from fastgru.importers.hdf5.block import Block, FileForm

__all__ = ["ATTRIBUTE", "DATASPACE", "DATATYPE", "EXTERNAL", "FILTERS", "LAYOUT", "LINK", "LINK_INFO", "SYMBOL_TABLE"]
__all__ += ["Message", "read_messages"]

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
    if block.peek(4) == b"OHDR":
        messages = _read_version_2(form, block)
    else:
        messages = _read_version_1(form, block)
    found = []
    for message in messages:
        form.step()
        found.append(message)
    return found


def _read_version_1(form: FileForm, block: Block) -> Iterator[Message]:
    version, _, count, _, size = (block.number(n) for n in (1, 1, 2, 4, 4))
    if version != 1:
        raise form.damaged(f"{block.what} has a header of version {version}")
    block.take(4)
    pending, seen, left = [block.sub(size)], set[int](), count
    while pending:
        part = pending.pop(0)
        while len(part) >= 8 and left:
            left -= 1
            kind, length, flags, _ = part.number(2), part.number(2), part.number(1), part.take(3)
            content = part.take(length)
            if kind == CONTINUATION:
                pending.append(_continuation(form, content, seen))
            yield Message(kind, bool(flags & _FLAG_SHARED), content)


def _read_version_2(form: FileForm, block: Block) -> Iterator[Message]:
    block.expect(b"OHDR")
    version, flags = block.number(1), block.number(1)
    if version != 2:
        raise form.damaged(f"{block.what} has a header of version {version}")
    block.take((16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0))
    order_bytes = 2 if flags & 0x04 else 0
    pending, seen = [block.sub(block.number(1 << (flags & 3)))], set[int]()
    while pending:
        part = pending.pop(0)
        while len(part) >= 4 + order_bytes:
            kind, length, message_flags, _ = part.number(1), part.number(2), part.number(1), part.take(order_bytes)
            content = part.take(length)
            if kind == CONTINUATION:
                chunk = _continuation(form, content, seen)
                chunk.expect(b"OCHK")
                pending.append(chunk.sub(len(chunk) - 4))  # without the checksum
            yield Message(kind, bool(message_flags & _FLAG_SHARED), content)


def _continuation(form: FileForm, content: memoryview, seen: set[int]) -> Block:
    where = Block(form, content, "a continuation of a header")
    address, size = where.offset(), where.length()
    if address in seen:
        raise form.damaged("a header continues in itself")
    seen.add(address)
    return form.block(address, size, where.what)

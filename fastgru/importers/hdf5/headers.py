"""Object headers: the messages of a group or a dataset (section IV.A.1), and the links of a group (sections III.A.1,
III.B to III.D, IV.A.2.g)."""

from collections.abc import Iterator, Sequence
from typing import Final

from fastgru.errors import UnsupportedModelError
from fastgru.importers.hdf5.block import MAX_STEPS, Block, FileForm
from fastgru.records import dataclass

__all__ = [
    "ATTRIBUTE", "DATASPACE", "DATATYPE", "EXTERNAL", "FILTERS", "LAYOUT", "Message", "is_group", "read_links",
    "read_messages", "walk_tree",
]  # fmt: skip

DATASPACE: Final = 0x01
_LINK_INFO: Final = 0x02
DATATYPE: Final = 0x03
_LINK: Final = 0x06
EXTERNAL: Final = 0x07
LAYOUT: Final = 0x08
FILTERS: Final = 0x0B
ATTRIBUTE: Final = 0x0C
_CONTINUATION: Final = 0x10
_SYMBOL_TABLE: Final = 0x11

_FLAG_SHARED: Final = 0x02
_CACHED_SOFT_LINK: Final = 2


@dataclass(frozen=True)
class Message:
    """One message of a header. shared: whether its content is elsewhere in the file."""

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
    """Return every message of the object at `address`, continuations included."""
    block = form.block(address, None, f"the object at {address:#x}")
    newer = block.peek(4) == b"OHDR"
    found = []
    for message in _messages(form, *(_version_2(form, block) if newer else _version_1(form, block)), newer=newer):
        form.step()
        found.append(message)
    return found


def _version_1(form: FileForm, block: Block) -> tuple[Block, int, int]:
    """Return (block of the messages, their greatest number, bytes after the flags of each)."""
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
            if kind == _CONTINUATION:
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


def is_group(messages: Sequence[Message]) -> bool:
    """Return whether an object header is that of a group: it has links, or a table of links."""
    return any(m.kind in (_SYMBOL_TABLE, _LINK_INFO, _LINK) for m in messages)


def read_links(form: FileForm, messages: Sequence[Message], path: str) -> Iterator[tuple[str, int]]:
    """Yield (name, address of the object) for each link; soft and external links are refused."""
    for message in messages:
        if message.kind == _SYMBOL_TABLE:
            table = message.block(form, "a symbol table")
            yield from _symbols(form, table.offset(), table.offset(), path)
        elif message.kind == _LINK:
            yield _link(form, message.block(form, f"a link of {path!r}"), path)
        elif message.kind == _LINK_INFO:
            info = message.block(form, f"the links of {path!r}")
            _, flags = info.number(1), info.number(1)
            info.take(8 if flags & 1 else 0)
            if info.offset() != form.undefined:
                raise UnsupportedModelError(
                    f"{form.name}: the group {path or '/'!r} keeps its links in a heap, as HDF5 does for many"
                    " links with libver='latest': write it with h5py's default libver, or h5repack it with --high=0"
                )


def _symbols(form: FileForm, tree: int, heap: int, path: str) -> Iterator[tuple[str, int]]:
    header = form.block(heap, None, f"the names of {path!r}")
    header.expect(b"HEAP")
    header.take(4)
    size, _, address = header.length(), header.length(), header.offset()
    names = form.block(address, size, f"the names of {path!r}")  # checks that the names are inside the file
    for _, node in walk_tree(form, tree, 0, form.length_size, f"the group {path!r}"):
        table = form.block(node, None, f"the group {path!r}")
        table.expect(b"SNOD")
        table.take(2)
        for _ in range(table.number(2)):
            at, target, cached = table.offset(), table.offset(), table.number(4)
            table.take(20)
            form.step()
            name = form.block(address + at, max(size - at, 0), names.what)
            if cached == _CACHED_SOFT_LINK:
                raise _by_name(form, f"{path}{name.text()}")
            yield name.text(), target


def _link(form: FileForm, block: Block, path: str) -> tuple[str, int]:
    version, flags = block.number(1), block.number(1)
    if version != 1:
        raise form.damaged(f"{block.what} has version {version}")
    kind = block.number(1) if flags & 0x08 else 0
    block.take((8 if flags & 0x04 else 0) + (1 if flags & 0x10 else 0))
    name = block.text(block.number(1 << (flags & 3)))
    if kind != 0:
        raise _by_name(form, f"{path}{name}")
    return name, block.offset()


def _by_name(form: FileForm, path: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"{form.name}: {path!r} is a soft or external link, a link by name, which is not followed: copy the file with"
        " h5repack or h5copy to put all of it into one file"
    )


def walk_tree(form: FileForm, root: int, kind: int, key_size: int, what: str) -> Iterator[tuple[Block, int]]:
    """Yield (preceding key, address) of every leaf entry of a version 1 B-tree, from left to right."""
    pending: list[tuple[int, int | None]] = [(root, None)]
    seen = set[int]()
    while pending:
        address, expected = pending.pop()
        if address in seen:
            raise form.damaged(f"{what}: its tree is in a cycle")
        seen.add(address)
        node = form.block(address, None, f"the tree of {what}")
        node.expect(b"TREE")
        node_kind, level, count = node.number(1), node.number(1), node.number(2)
        if node_kind != kind or (expected is not None and level != expected):
            raise form.damaged(f"{what}: a node of its tree is of kind {node_kind} and level {level}")
        node.take(2 * form.offset_size)
        children = []
        for _ in range(count):
            form.step()
            key, child = node.sub(key_size), node.offset()
            if level == 0:
                yield key, child
            else:
                children.append((child, level - 1))
        pending += reversed(children)

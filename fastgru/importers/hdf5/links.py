"""Groups: the names in a group and the objects that they stand for (sections III.A.1, III.B to III.D, IV.A.2.g)."""

from collections.abc import Iterator, Sequence
from typing import Final

from fastgru.errors import UnsupportedModelError
from fastgru.importers.hdf5.block import Block, FileForm
from fastgru.importers.hdf5.headers import LINK, LINK_INFO, SYMBOL_TABLE, Message

__all__ = ["is_group", "read_links", "walk_tree"]

_CACHED_SOFT_LINK: Final = 2


def is_group(messages: Sequence[Message]) -> bool:
    """True where an object header has links in it."""
    return any(m.kind in (SYMBOL_TABLE, LINK_INFO, LINK) for m in messages)


def read_links(form: FileForm, messages: Sequence[Message], path: str) -> Iterator[tuple[str, int]]:
    """(name, address of the object) for each link; links by name, which may leave the file, are refused."""
    for message in messages:
        if message.kind == SYMBOL_TABLE:
            table = message.block(form, "a symbol table")
            yield from _symbols(form, table.offset(), table.offset(), path)
        elif message.kind == LINK:
            yield _link(form, message.block(form, f"a link of {path!r}"), path)
        elif message.kind == LINK_INFO:
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
    names = form.block(address, size, f"the names of {path!r}")  # checks that they lie in the file
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
    """(key before it, address) of every leaf entry of a version 1 B-tree, from left to right."""
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

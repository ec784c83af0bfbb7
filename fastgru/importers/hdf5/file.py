"""The datasets and string attributes of an HDF5 file, by path."""

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from fastgru.arrays import Array
from fastgru.errors import InvalidModelError, UnsupportedModelError
from fastgru.importers.hdf5.block import Block, FileForm, aligned
from fastgru.importers.hdf5.headers import (
    ATTRIBUTE,
    DATASPACE,
    DATATYPE,
    EXTERNAL,
    FILTERS,
    LAYOUT,
    Message,
    is_group,
    read_links,
    read_messages,
)
from fastgru.importers.hdf5.storage import read_filters, read_storage
from fastgru.importers.hdf5.types import Datatype, read_dataspace, read_datatype
from fastgru.records import dataclass
from fastgru.sources import Content

__all__ = ["MAX_OBJECTS", "Hdf5"]

MAX_OBJECTS: Final = 100_000
MAX_DEPTH: Final = 64
MAX_PATHS: Final = 32 << 20  # characters in the paths of all objects

# All compressed datasets of a file may inflate to this many bytes plus 20 times the size of the file.
INFLATE_ALLOWANCE: Final = 256 << 20
INFLATE_RATIO: Final = 20

_SIGNATURE: Final = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True)
class _Dataset:
    shape: tuple[int, ...]
    messages: Sequence[Message]


class Hdf5:
    """An HDF5 file. datasets: the shapes by path. `read` works while `content` is open.

    Raises `InvalidModelError` for a damaged file (parts outside the file, sizes that do not fit it, groups in a cycle);
    `UnsupportedModelError`, with the way round, for features of HDF5 that Keras does not use.
    """

    def __init__(self, content: Content) -> None:
        self.name = content.name
        form, root = _superblock(FileForm(content))
        self._form = form
        self._plain_left = len(content)
        self._inflatable = INFLATE_ALLOWANCE + INFLATE_RATIO * content.stored
        self._groups: dict[str, list[Message]] = {}
        self._datasets: dict[str, _Dataset] = {}
        self._walk(root)
        self.datasets: Mapping[str, tuple[int, ...]] = {path: d.shape for path, d in self._datasets.items()}

    def has_group(self, path: str) -> bool:
        """Return whether `path` is a group of the file, empty or not."""
        return path in self._groups

    def read(self, path: str) -> Array:
        """Return the dataset at `path`, in native byte order; bfloat16 as `ml_dtypes.bfloat16`."""
        what, dataset = f"dataset {path!r}", self._datasets[path]
        parts = {m.kind: m for m in dataset.messages}
        if EXTERNAL in parts:
            raise UnsupportedModelError(
                f"{self.name}: {what} keeps its values in other files, which are not opened: copy it with h5repack"
            )
        if DATATYPE not in parts or LAYOUT not in parts:
            raise self._form.damaged(f"{what} has no datatype or no layout")
        datatype = read_datatype(parts[DATATYPE].block(self._form, what))
        if datatype.numbers is None:
            raise UnsupportedModelError(f"{self.name}: {what} holds texts, expected numbers")
        filters = read_filters(parts[FILTERS].block(self._form, what)) if FILTERS in parts else ()
        storage = read_storage(parts[LAYOUT].block(self._form, what), len(dataset.shape), filters)
        values = max(math.prod(dataset.shape), storage.unpacked(dataset.shape))
        self._spend(what, values * datatype.size, packed=bool(filters))
        return storage.load(dataset.shape, datatype)

    def text(self, group: str, attribute: str) -> str | None:
        """Return a string attribute of a group ("/" is the root), or None if it is absent."""
        for message in self._groups[group.strip("/")]:
            if message.kind == ATTRIBUTE:
                name, datatype, shape, value = _attribute(message.block(self._form, f"an attribute of {group!r}"))
                if name == attribute:
                    return self._text(f"attribute {attribute!r} of {group!r}", datatype, shape, value)
        return None

    def _walk(self, root: int) -> None:
        """Find every object below the root; a group that is linked twice is an error, so cycles end."""
        pending, seen, count, characters = [("", root, 0)], set[int](), 0, 0
        while pending:
            path, address, depth = pending.pop()
            if path in self._groups or path in self._datasets:
                raise self._form.damaged(f"two objects have the name {path!r}")
            messages = read_messages(self._form, address)
            if not is_group(messages):
                spaces = [m for m in messages if m.kind == DATASPACE]
                if len(spaces) == 1:
                    shape = read_dataspace(spaces[0].block(self._form, f"dataset {path!r}"))
                    self._datasets[path] = _Dataset(shape, messages)
                elif path == "":
                    raise self._form.damaged("the root is not a group")
                continue
            if address in seen or depth > MAX_DEPTH:
                raise self._form.damaged(f"the group {path!r} is linked twice, or more than {MAX_DEPTH} deep")
            seen.add(address)
            self._groups[path] = messages
            below = []
            for name, target in read_links(self._form, messages, f"{path}/" if path else ""):
                count += 1
                characters += len(path) + len(name)
                if count > MAX_OBJECTS or characters > MAX_PATHS:
                    raise self._form.damaged(
                        f"it has more than {MAX_OBJECTS} objects, or paths of more than {MAX_PATHS} characters together"
                    )
                if not name or "/" in name:
                    raise self._form.damaged(f"{path!r} has a link named {name[:40]!r}")
                # On Windows, Keras before version 3 joined names of groups with backslashes.
                name = name.replace("\\", "/")
                below.append((f"{path}/{name}" if path else name, target, depth + 1))
            if len({p for p, _, _ in below}) != len(below):
                raise self._form.damaged(f"the group {path!r} has two links with the same name")
            pending += reversed(below)

    def _spend(self, what: str, nbytes: int, *, packed: bool) -> None:
        """Count the bytes of a dataset; raise `InvalidModelError` beyond the limit for packed or for plain datasets."""
        limit = self._inflatable if packed else self._plain_left
        if nbytes > limit:
            raise InvalidModelError(
                f"{self.name}: {what} declares {nbytes} bytes, which do not fit into a file of {len(self._form.data)}"
                " bytes"
            )
        if packed:
            self._inflatable -= nbytes
        else:
            self._plain_left -= nbytes

    def _text(self, what: str, datatype: Datatype, shape: tuple[int, ...], value: Block) -> str:
        if datatype.numbers is not None or math.prod(shape) != 1:
            raise InvalidModelError(f"{self.name}: {what} is not a single text")
        if not datatype.variable:
            return value.text(datatype.size)
        length, collection, index = value.number(4), value.offset(), value.number(4)
        heap = self._form.block(collection, None, what)
        heap.expect(b"GCOL")
        heap.take(4)
        objects = heap.sub(min(max(heap.length() - 8 - self._form.length_size, 0), len(heap)))
        while len(objects) >= 8 + self._form.length_size:
            self._form.step()
            number, _, size = objects.number(2), objects.take(6), objects.length()
            if number == 0:
                break
            content = objects.sub(min(aligned(size), len(objects)))
            if number == index:
                return content.text(length)
        raise self._form.damaged(f"{what} is not where the file says")


def _superblock(form: FileForm) -> tuple[FileForm, int]:
    """Return the form of the file and the address of its root group (section II.A)."""
    start = 0
    while bytes(form.data[start : start + 8]) != _SIGNATURE:
        start = 2 * start or 512
        if start >= len(form.data):
            raise form.damaged("the signature is missing")
    block = form.block(start + 8, None, "the superblock")
    version = block.number(1)
    if version in (0, 1):
        block.take(4)
        sizes = block.number(1), block.number(1)
        block.take(9 if version == 0 else 13)
    elif version in (2, 3):
        sizes = block.number(1), block.number(1)
        block.take(1)
    else:
        raise form.damaged(f"the superblock has the unknown version {version}")
    if not all(size in (2, 4, 8) for size in sizes):
        raise form.damaged(f"its addresses and lengths have {sizes} bytes")
    block.form = form = FileForm(form.data, start, *sizes)
    block.offset()  # the base address is not used: addresses count from the signature
    for _ in range(4 if version < 2 else 2):
        block.offset()
    return form, block.offset()


def _attribute(block: Block) -> tuple[str, Datatype, tuple[int, ...], Block]:
    """Return (name, datatype, shape, value) of an attribute message (section IV.A.2.m)."""
    version, flags = block.number(1), block.number(1)
    name_size, type_size, space_size = (block.number(2) for _ in range(3))
    if version not in (1, 2, 3):
        raise block.form.damaged(f"{block.what} has the unknown version {version}")
    pad = aligned if version == 1 else int
    block.take(1 if version == 3 else 0)
    name = block.sub(pad(name_size)).text(name_size)
    datatype_part, dataspace_part = block.sub(pad(type_size)), block.sub(pad(space_size))
    if flags and version > 1:
        raise UnsupportedModelError(
            f"{block.form.name}: attribute {name[:40]!r} has a shared datatype, which is not read: copy with h5repack"
        )
    try:
        datatype = read_datatype(datatype_part)
    except UnsupportedModelError:  # only text attributes are ever read
        datatype = Datatype(1, np.dtype("u1"))
    return name, datatype, read_dataspace(dataspace_part), block

"""A file that grows by blocks. Each block has its own mapping into memory, so that earlier blocks keep their addresses.

The space of a block is reserved before the block is mapped. A full disk is then an error, whereas a write into a
mapping without space would end the process.
"""

import json
import mmap
import os
from collections.abc import Mapping
from contextlib import suppress
from errno import EINVAL
from pathlib import Path
from typing import Any, Final
from zlib import crc32

from fastgru.errors import FastGRUError

__all__ = ["Block", "DamagedFileError", "Mapped", "read_about", "sync_folder"]

_ALIGNMENT: Final = 1 << 16  # of the offset and size of every mapping; enough on all systems
_BLOCK_BYTES: Final = 1 << 18
_MAGIC: Final = "fastgru-sessions-1"


class DamagedFileError(FastGRUError):
    """A file was not written by this package for these records, or its head is damaged."""


class Block:
    """Some places of a file. map: the memory. text, words, halves: views of the memory as uint8, uint64 and uint32."""

    __slots__ = ("halves", "map", "text", "words")

    def __init__(self, mapped: mmap.mmap) -> None:
        self.map, self.text = mapped, memoryview(mapped)
        self.words, self.halves = self.text.cast("Q"), self.text.cast("I")


class Mapped:
    """The file at `path`, created if it does not exist.

    about: the description in the head of the file. place_bytes: the size of one place. places: how many places a block
    has. blocks: the blocks of the file.

    Raises `OSError`, and `DamagedFileError` for a file with another description.
    """

    def __init__(self, path: Path, about: Mapping[str, Any], place_bytes: int) -> None:
        self.path, self.blocks = path, list[Block]()
        self._bytes = -(-max(_BLOCK_BYTES, place_bytes) // _ALIGNMENT) * _ALIGNMENT
        self.places = self._bytes // place_bytes
        head = _head(dict(about) | {"place": place_bytes, "block": self._bytes})
        try:
            self._file = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            self._file = _made(path, head)
        try:
            self._check(head)
            size = os.fstat(self._file).st_size
            count = max(0, size - _ALIGNMENT) // self._bytes
            if count:
                _reserve(self._file, _ALIGNMENT, count * self._bytes)  # a copied file may have holes
            for _ in range(count):
                self._map()
        except BaseException:
            os.close(self._file)
            raise

    def _check(self, head: bytes) -> None:
        found = os.pread(self._file, len(head), 0)
        if found != head:
            raise DamagedFileError(
                f"{self.path}: the file has other records than expected, or a damaged head (got {_said(found)},"
                f" expected {_said(head)}): move the file out of the folder to start without its sessions"
            )

    def grow(self) -> Block:
        """Add a block. Raises `OSError` if there is no space."""
        _reserve(self._file, _ALIGNMENT + len(self.blocks) * self._bytes, self._bytes)
        return self._map()

    def _map(self) -> Block:
        begin = _ALIGNMENT + len(self.blocks) * self._bytes
        self.blocks.append(block := Block(mmap.mmap(self._file, self._bytes, offset=begin)))
        return block

    def sync(self) -> None:
        """Flush the whole file to the disk. Raises `OSError`."""
        for block in self.blocks:
            block.map.flush()
        os.fsync(self._file)

    def close(self) -> None:
        """Close the file. Nothing may be written afterwards."""
        os.close(self._file)
        self.blocks.clear()


def _head(about: Mapping[str, Any]) -> bytes:
    text = json.dumps({"magic": _MAGIC, **about}, sort_keys=True).encode()
    return b"%s\n%08x\n" % (text, crc32(text))


def read_about(path: Path) -> dict[str, Any]:
    """Return the description in the head of a file. Raises `OSError`, `DamagedFileError`."""
    with open(path, "rb") as file:
        head = file.read(_ALIGNMENT)
    text, _, rest = head.partition(b"\n")
    if rest[:9] != b"%08x\n" % crc32(text):
        raise DamagedFileError(f"{path}: the file has no records, or a damaged head: move the file out of the folder")
    about: dict[str, Any] = json.loads(text)
    if about.get("magic") != _MAGIC:
        raise DamagedFileError(
            f"{path}: the file has records of the version {about.get('magic')!r:.40}, expected {_MAGIC!r}"
        )
    return about


def _said(head: bytes) -> str:
    return head.partition(b"\n")[0].decode("utf-8", "replace")[:400]


def _made(path: Path, head: bytes) -> int:
    """Create a file with this head, under its name only once the head is on the disk; after an error, none is left."""
    new = path.with_name(path.name + ".new")
    file = os.open(new, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        if len(head) > _ALIGNMENT:
            raise DamagedFileError(f"{path}: the head has {len(head)} bytes, expected at most {_ALIGNMENT}")
        os.pwrite(file, head, 0)
        os.fsync(file)
        os.replace(new, path)
        sync_folder(path.parent)
    except BaseException:
        os.close(file)
        with suppress(OSError):  # the error before it says more
            new.unlink(missing_ok=True)
        raise
    return file


def sync_folder(path: Path) -> None:
    """Flush the entries of a folder to the disk, so that new files survive. Raises `OSError`."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno != EINVAL:  # some network file systems cannot flush a folder
            raise
    finally:
        os.close(folder)


def _reserve(file: int, begin: int, size: int) -> None:
    """Reserve space on the disk for these bytes; bytes that were never written are zeros. Raises `OSError`."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, begin, size)
        return
    zeros, end = bytes(1 << 16), os.fstat(file).st_size  # macOS
    for at in range(max(begin, end), begin + size, len(zeros)):
        os.pwrite(file, zeros[: begin + size - at], at)

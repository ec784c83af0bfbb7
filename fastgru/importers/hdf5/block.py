"""A range of an HDF5 file that is read from front to back, with every read checked against its end."""

from __future__ import annotations

from dataclasses import field
from typing import Final

from fastgru.errors import InvalidModelError
from fastgru.records import dataclass
from fastgru.sources import Content

__all__ = ["MAX_STEPS", "Block", "FileForm", "aligned"]

# The most messages, links and tree entries that are read in one file: any number of links can name the same object.
MAX_STEPS: Final = 200_000
MAX_NAME: Final = 1 << 16
SHORT_NAME: Final = 256

# All values that are read may add up to this many times the file: several datasets and chunks can name the same bytes.
READ_RATIO: Final = 20


@dataclass(frozen=True)
class FileForm:
    """The file's bytes, and the sizes of offsets and lengths in its superblock. Addresses are relative to `base`."""

    data: Content
    base: int = 0
    offset_size: int = 8
    length_size: int = 8
    steps: list[int] = field(default_factory=lambda: [0])
    bytes_read: list[int] = field(default_factory=lambda: [0])

    @property
    def name(self) -> str:
        return self.data.name

    def step(self) -> None:
        """Count one message, link or tree entry; raise `InvalidModelError` if there are too many."""
        self.steps[0] += 1
        if self.steps[0] > MAX_STEPS:
            raise self.damaged(f"it has more than {MAX_STEPS} messages, links and chunks")

    @property
    def undefined(self) -> int:
        """The address that means no address."""
        return (1 << 8 * self.offset_size) - 1

    def block(self, address: int, size: int | None, what: str) -> Block:
        """Return the block of `size` bytes at `address`; None means all bytes up to the end of the file."""
        begin = self.base + address
        end = len(self.data) if size is None else begin + size
        if address == self.undefined or not 0 <= begin <= end <= len(self.data):
            raise self.damaged(f"{what} lies outside the file")
        return Block(self, self.data, what, begin, end)

    def values(self, address: int, size: int, what: str) -> memoryview:
        """Return the `size` bytes at `address`, as `Content.read` does."""
        block = self.block(address, size, what)
        self.bytes_read[0] += size
        if self.bytes_read[0] > READ_RATIO * len(self.data):
            raise self.damaged(f"its values add up to more than {READ_RATIO} times its own size")
        return self.data.read(block.at, block.end)

    def damaged(self, fault: str) -> InvalidModelError:
        return InvalidModelError(f"{self.name}: the HDF5 file is damaged: {fault}")


class Block:
    """Reads little-endian numbers and bytes one after another; raises `InvalidModelError` naming `what` at the end."""

    def __init__(
        self, form: FileForm, data: memoryview | Content, what: str, begin: int = 0, end: int | None = None
    ) -> None:
        self.form, self.what = form, what
        self._data = data
        self.at, self.end = begin, len(data) if end is None else end

    def __len__(self) -> int:
        return self.end - self.at

    def peek(self, count: int) -> bytes:
        """Return the next bytes, at most `count`, without taking them."""
        return bytes(self._data[self.at : min(self.at + count, self.end)])

    def take(self, count: int) -> memoryview:
        self._skip(count)
        return self._data[self.at - count : self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def offset(self) -> int:
        return self.number(self.form.offset_size)

    def length(self) -> int:
        return self.number(self.form.length_size)

    def sub(self, count: int) -> Block:
        self._skip(count)
        return Block(self.form, self._data, self.what, self.at - count, self.at)

    def expect(self, signature: bytes) -> None:
        if self.take(len(signature)) != signature:
            raise self.form.damaged(f"{self.what} does not begin with {signature.decode()}")

    def text(self, count: int | None = None) -> str:
        """Take `count` bytes, or those up to and including the next zero; return the text before the first zero."""
        if count is None:
            count = (self.peek(SHORT_NAME).find(b"\0") + 1) or (self.peek(MAX_NAME).find(b"\0") + 1)
            if count == 0:
                raise self.form.damaged(f"{self.what}: a name does not end")
        raw = bytes(self.take(count)).split(b"\0", 1)[0]
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            raise self.form.damaged(f"{self.what}: {raw[:40]!r} is not UTF-8") from None

    def _skip(self, count: int) -> None:
        if not 0 <= count <= len(self):
            raise self.form.damaged(f"{self.what} ends too early")
        self.at += count


def aligned(count: int) -> int:
    """Return `count` rounded up to a multiple of 8."""
    return -(-count // 8) * 8

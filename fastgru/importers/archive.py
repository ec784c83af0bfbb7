"""Zip archives, read in place: stored members are read once, and the size of deflated members is bounded.

`zipfile` is not used because it builds an object for every entry that a directory declares, trusts declared sizes, and
copies.
Layout of the records: PKWARE's APPNOTE 6.3, sections 4.3 and 4.5.3 (ZIP64).
"""

import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from fastgru.errors import InvalidModelError, UnsupportedModelError
from fastgru.records import dataclass
from fastgru.sources import Content

__all__ = ["MAX_MEMBERS", "Archive", "Member"]

MAX_MEMBERS: Final = 20_000

# All deflated members of an archive may inflate to this many bytes plus 20 times the size of the archive.
INFLATE_ALLOWANCE: Final = 256 << 20
INFLATE_RATIO: Final = 20

_END: Final = struct.Struct("<4s4H2LH")
_END64_LOCATOR: Final = struct.Struct("<4sLQL")
_END64: Final = struct.Struct("<4sQ2H2L4Q")
_CENTRAL: Final = struct.Struct("<4s6H3L5H2L")
_LOCAL: Final = struct.Struct("<4s5H3L2H")


@dataclass(frozen=True)
class Member:
    """One entry of the central directory: its bytes are `packed` bytes from `start` on, and inflate to `size` bytes."""

    name: str
    method: int
    crc: int
    packed: int
    size: int
    header: int
    start: int


class Archive(Mapping[str, memoryview]):
    """Maps a member's name to its content, while `content` is open. `archive[name]` checks the size and the CRC-32.

    Raises `InvalidModelError` for damaged or hostile archives: a record outside the file, members that overlap or share
    a name, a wrong size or checksum, too many members, a deflated member that grows too large; `UnsupportedModelError`
    for encryption and for compression other than deflate.
    """

    def __init__(self, content: Content) -> None:
        self.source_name = content.name
        self._data = content
        self._inflatable = INFLATE_ALLOWANCE + INFLATE_RATIO * len(self._data)
        try:
            self.members = {member.name: member for member in self._directory()}
        except struct.error:
            raise self._damaged("a record lies outside the file") from None
        end = 0
        for member in sorted(self.members.values(), key=lambda m: m.header):
            if member.header < end:
                raise self._damaged(f"member {member.name[:80]!r} overlaps another")
            end = member.start + member.packed

    def __iter__(self) -> Iterator[str]:
        return iter(self.members)

    def __len__(self) -> int:
        return len(self.members)

    def __getitem__(self, name: str) -> memoryview:
        member = self.members[name]
        packed = self._data.read(member.start, member.start + member.packed)
        content = packed if member.method == 0 else self._inflate(member, packed)
        if zlib.crc32(content) != member.crc:
            raise self._damaged(
                f"the checksum of member {name[:80]!r} does not match its content (torch writes such files, too, after"
                " torch.serialization.set_crc32_options(False): save them again without it)"
            )
        return content

    def find(self, name: str) -> str | None:
        """Return the least nested member with this file name; None if there is none, or several at that depth.

        Repacked archives often have all members in one more folder.
        """
        found = [member for member in self.members if member == name or member.endswith(f"/{name}")]
        depths = [member.count("/") for member in found]
        return found[depths.index(min(depths))] if depths and depths.count(min(depths)) == 1 else None

    def open(self, name: str) -> Content:
        """Return a member as `Content`; the limit for inflating it in turn follows from the size of this archive."""
        return Content(self[name], f"{self.source_name}: {name}", stored=len(self._data))

    def _inflate(self, member: Member, packed: memoryview) -> memoryview:
        self._inflatable -= member.size
        if self._inflatable < 0:
            raise self._damaged(f"member {member.name[:80]!r} would grow to {member.size} bytes: a zip bomb?")
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            content = inflater.decompress(packed, member.size + 1)
        except zlib.error as error:
            raise self._damaged(f"member {member.name[:80]!r} does not inflate ({error})") from None
        if len(content) != member.size:
            raise self._damaged(f"member {member.name[:80]!r} declares {member.size} bytes, but has another size")
        return memoryview(content)

    def _directory(self) -> Iterator[Member]:
        count, position, stop = self._find_directory()
        if count > MAX_MEMBERS:
            raise self._damaged(f"{count} members, expected at most {MAX_MEMBERS}")
        names = set()
        for _ in range(count):
            magic, *fields = self._record(_CENTRAL, position)
            _, _, flags, method, _, _, crc, packed, size, n_name, n_extra, n_comment, _, _, _, header = fields
            position += _CENTRAL.size
            raw_name = bytes(self._data[position : position + n_name])
            extra = self._data[position + n_name : position + n_name + n_extra]
            position += n_name + n_extra + n_comment
            if magic != b"PK\x01\x02" or position > stop:
                raise self._damaged("the central directory is broken")
            # Some Windows programs write backslashes, which section 4.4.17.1 forbids.
            name = raw_name.decode("utf-8" if flags & 0x800 else "cp437", "replace").replace("\\", "/")
            if name in names:
                raise self._damaged(f"member {name[:80]!r} occurs twice")
            names.add(name)
            if flags & 0x41:
                raise UnsupportedModelError(
                    f"{self.source_name}: member {name[:80]!r} is encrypted, which is not supported: save the archive"
                    " without encryption"
                )
            if method not in (0, 8):
                raise UnsupportedModelError(
                    f"{self.source_name}: member {name[:80]!r} is compressed by method {method}; only stored and"
                    " deflated members are read: repack the archive"
                )
            size, packed, header = _zip64(extra, size, packed, header)
            start = self._find_content(raw_name, method, header)
            if start + packed > stop or (method == 0 and packed != size):
                raise self._damaged(f"member {name[:80]!r} declares sizes that do not fit the file")
            yield Member(name, method, crc, packed, size, header, start)

    def _find_directory(self) -> tuple[int, int, int]:
        """Return the number of entries, and where the central directory starts and stops."""
        tail = bytes(self._data[-(_END.size + 0xFFFF) :])
        found = tail.rfind(b"PK\x05\x06")
        if found < 0:
            raise self._damaged("the end of the archive is missing: a truncated file?")
        end = len(self._data) - len(tail) + found
        _, _, _, _, count, size, start, _ = self._record(_END, end)
        if end >= _END64_LOCATOR.size:
            magic, _, end64, _ = self._record(_END64_LOCATOR, end - _END64_LOCATOR.size)
            if magic == b"PK\x06\x07":
                magic, *_, count, size, start = self._record(_END64, end64)
                if magic != b"PK\x06\x06":
                    raise self._damaged("the ZIP64 end record is broken")
        if start + size > end:
            raise self._damaged("the central directory lies outside the file")
        return count, start, start + size

    def _find_content(self, raw_name: bytes, method: int, header: int) -> int:
        magic, *_, local_method, _, _, _, _, _, n_name, n_extra = self._record(_LOCAL, header)
        start = header + _LOCAL.size
        if (magic, local_method) != (b"PK\x03\x04", method) or bytes(self._data[start : start + n_name]) != raw_name:
            raise self._damaged(f"member {raw_name[:80]!r} has a header that contradicts the directory")
        return int(start + n_name + n_extra)

    def _record(self, form: struct.Struct, position: int) -> tuple[Any, ...]:
        return form.unpack(self._data[position : position + form.size])

    def _damaged(self, fault: str) -> InvalidModelError:
        return InvalidModelError(f"{self.source_name}: the zip archive is damaged: {fault}")


def _zip64(extra: memoryview, size: int, packed: int, header: int) -> tuple[int, int, int]:
    """Return the three numbers, with each that is all ones replaced by the value in the extra field of id 1."""
    while len(extra) >= 4:
        ident, length = struct.unpack_from("<2H", extra)
        if ident == 1:
            wide = iter(struct.unpack_from(f"<{min(length, len(extra) - 4) // 8}Q", extra, 4))
            size, packed, header = (next(wide, v) if v == 0xFFFFFFFF else v for v in (size, packed, header))
        extra = extra[4 + length :]
    return size, packed, header

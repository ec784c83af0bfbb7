"""The records of one model's sessions. Each record is a place with two slots, which are written alternately.

The slot with the higher number counts. A write first clears the number of the other slot, and ends by giving that slot
the next number. So a session always has one whole record. The last record of a session says that the session has
ended; another session may then take the place.

Data for which a slot has no room lies in a separate file, which is named after the place and the slot and is written
before the slot.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from errno import EBADF
from pathlib import Path
from typing import Any, Final, NamedTuple
from zlib import crc32

import numpy as np

from fastgru.graph import Array
from fastgru.serve.durable.mapped import Block, Mapped, sync_folder
from fastgru.serve.durable.slots import (
    ANSWER_ASIDE,
    ENDED,
    FIELDS,
    FIELDS_AT,
    HEAD_BYTES,
    OWN_TARGET,
    STATE_ASIDE,
    SUM_AT,
    Head,
    Identity,
    read_identity,
)

__all__ = ["Found", "Place", "Records", "Written", "answer_room"]

_LINE: Final = 64
_PAGE: Final = 1 << 16  # a multiple of the pages of every system
_NAME_BYTES: Final = 128  # for the id and the key, most of which are far shorter; long ones take room from the answer
_LEAST_TAIL: Final = 256 * 4 + 64 + 64  # room for the longest id and the longest name of a key

SaveInto = Callable[[int, Array], int | bytes]


class Place:
    """The place of a session's record.

    parity: which slot counts. count: the number of that slot. at: the offsets of the slots in the block. rooms: arrays
    over the bytes of the slots' states.
    """

    __slots__ = ("at", "block", "count", "identity", "number", "parity", "rooms")

    def __init__(self, number: int, block: Block, at: tuple[int, int], room: int, identity: Identity) -> None:
        self.number, self.block, self.at, self.identity = number, block, at, identity
        self.rooms = tuple([np.frombuffer(block.map, np.uint8, room, begin + HEAD_BYTES) for begin in at])
        self.count, self.parity = max((block.words[begin >> 3], i) for i, begin in enumerate(at))


class Written(NamedTuple):
    """The contents of a slot. answer: empty if there is none."""

    head: Head
    identity: Identity
    state: Array
    answer: bytes


class Found(NamedTuple):
    """The record of a session that was found in the file. target: the state's target, see `slots.target_name`."""

    number: int
    identity: Identity
    used_ns: int
    target: int


class Records:
    """The records in the file at `path`.

    about: see `Mapped`. state_bytes: the size of a state. answer_bytes: the size of answers for which slots have room.
    is_synced: whether separate files must be on the disk before their slots count.

    These are set at the start. found: the live sessions, in the order of their last use. over: ended sessions whose
    last answers are kept, in the same order. damaged: owners of records without a readable slot, None for an owner that
    is unknown. skipped: how many records have one damaged slot and one whole slot.

    Raises what `Mapped` raises.
    """

    def __init__(
        self, path: Path, about: Mapping[str, Any], state_bytes: int, answer_bytes: int, *, is_synced: bool = False
    ) -> None:
        self.room = -(-state_bytes // _LINE) * _LINE
        self._tail = -(-max(_LEAST_TAIL, _NAME_BYTES + answer_bytes) // _LINE) * _LINE
        self._slot = HEAD_BYTES + self.room + self._tail
        self.is_synced, self._state_bytes = is_synced, state_bytes
        self._file = Mapped(path, {**about, "state": state_bytes, "slot": self._slot}, 2 * self._slot)
        self._beside = path.with_suffix(".long")
        self.dirty: list[tuple[Block, int, int]] = []  # regions that were written and may not be on the disk
        self.free: list[int] = []
        self.found: list[Found] = []
        self.over: list[Found] = []
        self.damaged: list[Identity | None] = []
        self.skipped, self._is_closed = 0, False
        self._long = {path.name for path in self._beside.iterdir()} if self._beside.is_dir() else set[str]()
        for number in range(len(self._file.blocks) * self._file.places):
            self._look(number)
        self.free.reverse()
        for found in (self.found, self.over):
            found.sort(key=lambda each: each.used_ns)

    def _at(self, number: int) -> tuple[Block, tuple[int, int]]:
        block, place = divmod(number, self._file.places)
        begin = 2 * self._slot * place
        return self._file.blocks[block], (begin, begin + self._slot)

    def _look(self, number: int) -> None:
        """Find the slot of a place that counts, and void damaged slots."""
        block, at = self._at(number)
        written, bad = None, []
        for count, begin in sorted([(block.words[begin >> 3], begin) for begin in at], reverse=True):
            if count and (written := self._read(block, begin, number, at.index(begin))) is not None:
                break
            bad += [begin] if count else []
        if bad and written is None:
            self.damaged.append(self._whose(block, bad))
        elif bad:
            self.skipped += 1
        for begin in bad:
            block.words[begin >> 3] = 0
        if written is None or (written.head.flags & ENDED and not written.answer):
            self.free.append(number)
        else:
            found = self.over if written.head.flags & ENDED else self.found
            found.append(Found(number, written.identity, written.head.used_ns, written.head.target))

    def _whose(self, block: Block, slots: list[int]) -> Identity | None:
        """Return the owner of a record without a whole slot, if the checksum of the owner's name holds."""
        for begin in slots:
            head = Head(*FIELDS.unpack_from(block.map, begin + FIELDS_AT))
            names = begin + HEAD_BYTES + self.room
            if (
                found := read_identity(head, bytes(block.text[names : names + head.id_bytes + head.key_bytes]))
            ) is not None:
                return found
        return None

    def place(self, number: int, identity: Identity) -> Place:
        """Return the place with this number, for this session."""
        return Place(number, *self._at(number), self._state_bytes, identity)

    def take(self, identity: Identity) -> Place:
        """Return a free place for a new session. Raises `OSError` if the disk has no space for more."""
        if not self.free:
            first = len(self._file.blocks) * self._file.places
            self._file.grow()
            self.free += range(first, first + self._file.places)[::-1]
        return self.place(self.free.pop(), identity)

    def write(
        self, place: Place, step: int, answer: bytes, save_into: SaveInto | None, handle: int = 0, flags: int = 0
    ) -> None:
        """Write the next record of a session.

        save_into: the method of the pool that has the state of `handle`; None writes no state.

        Raises `OSError` after `close`, and if a separate file is needed but cannot be written; the previous record then
        counts.
        """
        if self._is_closed:
            raise OSError(EBADF, "the file of records is closed")
        parity = 1 - place.parity
        block, at, identity, count = place.block, place.at[parity], place.identity, place.count + 1
        block.words[at >> 3] = 0
        beside, size = b"", 0
        if save_into is not None:
            state = save_into(handle, place.rooms[parity])
            if type(state) is int:
                size = state
            else:
                beside, size, flags = state, len(state), flags | STATE_ASIDE  # type: ignore[assignment, arg-type]
        tail = identity.text + answer
        if len(tail) > self._tail:
            tail, beside, flags = identity.text, beside + answer, flags | ANSWER_ASIDE
        begin = at + HEAD_BYTES + self.room
        end = begin + len(tail)
        block.text[begin:end] = tail
        FIELDS.pack_into(
            block.map, at + FIELDS_AT, flags | identity.flags, identity.id_bytes, identity.key_bytes, OWN_TARGET,
            size, len(answer), step, time.time_ns(), identity.sum,
        )  # fmt: skip
        total = crc32(block.text[at + FIELDS_AT : end], count & 0xFFFFFFFF)
        if beside or self._long:
            total = self._put_beside(f"{place.number}.{parity}", beside, total)
        block.halves[(at + SUM_AT) >> 2] = total
        block.words[at >> 3] = count
        place.count, place.parity = count, parity
        if self.is_synced:
            self.dirty.append((block, at, end))

    def undo(self, place: Place) -> None:
        """Take back the last record, so that the one before it counts again."""
        place.block.words[place.at[place.parity] >> 3] = 0
        place.parity = 1 - place.parity
        place.count = place.block.words[place.at[place.parity] >> 3]

    def finish(self, place: Place, step: int, answer: bytes) -> None:
        """Record that the session is over. Its last answer is kept until `end`. Raises `OSError`, as `write` does."""
        self.write(place, step, answer, None, 0, ENDED)

    def end(self, place: Place) -> None:
        """Record that the session is over, and free its place. Raises `OSError`."""
        self.write(place, 0, b"", None, 0, ENDED)
        for parity in (0, 1):
            self._put_beside(f"{place.number}.{parity}", b"", 0)
        self.free.append(place.number)

    def read(self, place: Place) -> Written | None:
        """Return the contents of the slot that counts, or None if it is damaged."""
        return self._read(place.block, place.at[place.parity], place.number, place.parity)

    def head(self, number: int) -> Head:
        """Return the head of the newest slot of a place."""
        block, at = self._at(number)
        _, begin = max((block.words[begin >> 3], begin) for begin in at)
        return Head(*FIELDS.unpack_from(block.map, begin + FIELDS_AT))

    def _read(self, block: Block, at: int, number: int, parity: int) -> Written | None:
        head = Head(*FIELDS.unpack_from(block.map, at + FIELDS_AT))
        names = at + HEAD_BYTES + self.room
        end = names + head.id_bytes + head.key_bytes
        answers = 0 if head.flags & ANSWER_ASIDE else head.answer_bytes
        if end + answers > at + self._slot or (head.state_bytes > self.room and not head.flags & STATE_ASIDE):
            return None
        total = crc32(block.text[at + FIELDS_AT : end + answers], block.words[at >> 3] & 0xFFFFFFFF)
        beside = b""
        if head.flags & (STATE_ASIDE | ANSWER_ASIDE):
            try:
                beside = (self._beside / f"{number}.{parity}").read_bytes()
            except OSError:
                return None
            total = crc32(beside, total)
        identity = read_identity(head, bytes(block.text[names:end]))
        if total != block.halves[(at + SUM_AT) >> 2] or identity is None:
            return None
        begin = at + HEAD_BYTES
        state, answer = block.text[begin : begin + head.state_bytes], bytes(block.text[end : end + answers])
        if head.flags & STATE_ASIDE:
            state = memoryview(beside[: head.state_bytes])
        if head.flags & ANSWER_ASIDE:
            answer = beside[len(beside) - head.answer_bytes :]
        return Written(head, identity, np.frombuffer(state, np.uint8).copy(), answer)

    def _put_beside(self, name: str, text: bytes, total: int) -> int:
        """Write data for which a slot has no room to its separate file; without data, remove the file.

        Returns the checksum `total`, continued over the data.
        """
        path = self._beside / name
        if not text:
            if name in self._long:
                path.unlink(missing_ok=True)
                self._long.discard(name)
            return total
        if not self._beside.is_dir():
            self._beside.mkdir()
            sync_folder(self._beside.parent)
        is_new = name not in self._long
        self._long.add(name)
        with open(path, "wb") as file:
            file.write(text)
            if self.is_synced:
                file.flush()
                os.fsync(file.fileno())
        if is_new and self.is_synced:
            sync_folder(self._beside)
        return crc32(text, total)

    def sync(self) -> None:
        """Flush what was written since the last call to the disk. Raises `OSError`."""
        for block, begin, end in _joined(self.dirty):
            block.map.flush(begin, end - begin)
        self.dirty.clear()

    def close(self) -> None:
        """Flush everything to the disk, and write nothing after that. Raises `OSError`."""
        self._is_closed = True
        try:
            self._file.sync()
        finally:
            self._file.close()


def _joined(written: list[tuple[Block, int, int]]) -> Iterator[tuple[Block, int, int]]:
    """Yield one region of each block that covers its written regions, and begins at a page.

    The system does not write unchanged pages in between again.
    """
    ends: dict[int, tuple[Block, int, int]] = {}
    for block, begin, end in written:
        _, first, last = ends.get(id(block), (block, begin, end))
        ends[id(block)] = block, min(first, begin // _PAGE * _PAGE), max(last, end)
    yield from ends.values()


def answer_room(state_bytes: int, slot: int) -> int:
    """Return the size of the answers for which a slot of `slot` bytes has room."""
    return slot - HEAD_BYTES - -(-state_bytes // _LINE) * _LINE - _NAME_BYTES

"""Records on disk: whatever the process was at when it ended, the last one that was whole counts."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from fastgru.serve.durable import mapped, records
from fastgru.serve.durable.mapped import DamagedFileError, Mapped, read_about
from fastgru.serve.durable.records import Records, answer_room
from fastgru.serve.durable.slots import HEAD_BYTES, Identity

STATE = 100
ABOUT = {"model": "m", "fingerprint": "f", "layout": "l"}


def open_records(folder: Path, answer: int = 200, **options: object) -> Records:
    return Records(folder / "m.records", ABOUT, STATE, answer, **options)


def state(seed: int, size: int = STATE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8)


class States:
    """What stands in for a pool: the handle is a seed."""

    def __init__(self, size: int = STATE) -> None:
        self.size = size
        self.during = lambda: None

    def __call__(self, handle: int, room: np.ndarray) -> int | bytes:
        given = state(handle, self.size)
        if self.size > len(room):
            return given.tobytes()
        room[: self.size // 2] = given[: self.size // 2]
        self.during()
        room[self.size // 2 : self.size] = given[self.size // 2 :]
        return self.size


def found(folder: Path) -> dict[object, tuple[int, bytes, bytes]]:
    """What a start finds: step, state and answer by id and key."""
    opened = open_records(folder)
    got = {}
    for number, identity, *_ in opened.found:
        written = opened.read(opened.place(number, identity))
        got[identity.name, identity.key] = written.head.step, written.state.tobytes(), written.answer
    opened.close()
    return got


@pytest.mark.parametrize("name", [1, (1 << 64) - 1, "a", "ä" * 256, "1", "\ud800"])
@pytest.mark.parametrize("key", [None, "", "k" * 64])
def test_what_is_written_is_found(tmp_path: Path, name: int | str, key: str | None) -> None:
    made = open_records(tmp_path)
    place = made.take(Identity(name, key))
    for step in range(5):
        made.write(place, step, b"answer %d" % step, States(), step)
        written = made.read(place)
        assert (written.head.step, written.state.tobytes()) == (step, state(step).tobytes())
    made.close()
    assert found(tmp_path) == {(name, key): (4, state(4).tobytes(), b"answer 4")}


def test_a_place_is_used_again_and_the_one_before_is_not_found(tmp_path: Path) -> None:
    made = open_records(tmp_path)
    first = made.take(Identity("first", None))
    made.write(first, 3, b"x", States(), 3)
    made.end(first)
    assert found(tmp_path) == {}
    second = made.take(Identity("second", None))
    assert second.number == first.number
    assert found(tmp_path) == {}
    made.write(second, 0, b"", States(), 7)
    assert found(tmp_path) == {("second", None): (0, state(7).tobytes(), b"")}


def test_many_places_in_many_blocks(tmp_path: Path) -> None:
    made = open_records(tmp_path)
    count = 3 * made._file.places
    places = [made.take(Identity(n, None)) for n in range(1, count + 1)]
    assert len({place.number for place in places}) == count
    for n, place in enumerate(places, 1):
        made.write(place, n, b"", States(), n)
    for place in places[::2]:
        made.end(place)
    made.close()
    got = found(tmp_path)
    assert {name for name, _ in got} == set(range(2, count + 1, 2))
    assert all(step == name and kept == state(name).tobytes() for (name, _), (step, kept, _) in got.items())
    again = open_records(tmp_path)
    assert len({again.take(Identity(1, None)).number for _ in range(count // 2)}) == count // 2
    assert len(again._file.blocks) == 3


def images(folder: Path, write: object, states: States, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Copies of the folder as it is at several moments of one write."""
    copies: list[Path] = []

    def copy(*_: object) -> None:
        copies.append(folder.with_name(f"{folder.name}-{len(copies)}"))
        shutil.copytree(folder, copies[-1])

    crc32, pack_into = records.crc32, records.FIELDS.pack_into

    class Fields:
        unpack_from = records.FIELDS.unpack_from

        @staticmethod
        def pack_into(*arguments: object) -> None:
            copy()
            pack_into(*arguments)
            copy()

    def summed(*arguments: object) -> int:
        copy()
        return crc32(*arguments)

    with monkeypatch.context() as patch:
        states.during = copy
        patch.setattr(records, "crc32", summed)
        patch.setattr(records, "FIELDS", Fields)
        write()
    states.during = lambda: None
    return copies


@pytest.mark.parametrize("size", [STATE, 3 * STATE], ids=["in the slot", "beside"])
@pytest.mark.parametrize("answer", [b"short", b"long" * 1000], ids=["short", "long"])
def test_an_end_within_a_write_leaves_the_record_before(
    tmp_path: Path, size: int, answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "at"
    folder.mkdir()
    made, states = open_records(folder), States(size)
    place = made.take(Identity("a", None))
    for step in range(4):
        made.write(place, step, answer, states, step)
        before = {("a", None): (step, state(step, size).tobytes(), answer)}
        assert found(folder) == before
        copies = images(
            folder, lambda step=step: made.write(place, step + 1, answer, states, step + 1), states, monkeypatch
        )
        assert len(copies) >= 3
        for copy in copies:
            assert found(copy) == before
            shutil.rmtree(copy)
        assert found(folder) == {("a", None): (step + 1, state(step + 1, size).tobytes(), answer)}


def test_a_write_that_got_to_any_byte_leaves_the_record_before(tmp_path: Path) -> None:
    """The slot that was to be written has its old bytes, new ones, or both; its number was taken back first."""
    folder = tmp_path / "at"
    folder.mkdir()
    made = open_records(folder)
    place = made.take(Identity("a", "key"))
    for step in range(2):
        made.write(place, step, b"answer", States(), step)
    file = folder / "m.records"
    old = bytearray(file.read_bytes())
    made.write(place, 2, b"another", States(), 2)
    new = file.read_bytes()
    made.close()
    begin = next(i for i, (a, b) in enumerate(zip(old, new, strict=True)) if a != b)
    end = next(i for i in range(len(old))[::-1] if old[i] != new[i]) + 1
    assert end - begin < 2 * STATE + HEAD_BYTES + 1_200
    image = bytearray(old)
    image[begin : begin + 8] = bytes(8)
    for at in range(begin + 8, end):
        image[at] = new[at]
        if at % 7 == 0:
            file.write_bytes(image)
            assert found(folder) == {("a", "key"): (1, state(1).tobytes(), b"answer")}
    file.write_bytes(new)
    assert found(folder) == {("a", "key"): (2, state(2).tobytes(), b"another")}


def test_damage_to_any_byte_is_seen(tmp_path: Path) -> None:
    """The slot that counts: the one before is taken. Both: the session is known to be lost, where its name is whole."""
    folder = tmp_path / "at"
    folder.mkdir()
    made = open_records(folder)
    place = made.take(Identity("a", None))
    for step in range(2):
        made.write(place, step, b"answer", States(), step)
    base, slot = (mapped._ALIGNMENT + at for at in place.at)
    made.close()
    file = folder / "m.records"
    whole = file.read_bytes()
    fields, names = HEAD_BYTES, HEAD_BYTES + 128
    for at in [*range(8, fields), *range(fields, fields + STATE, 5), *range(names, names + 7)]:
        image = bytearray(whole)
        image[slot + at] ^= 0x10
        file.write_bytes(image)
        opened = open_records(folder)
        assert (len(opened.found), opened.skipped, opened.damaged) == (1, 1, [])
        kept = opened.read(opened.place(opened.found[0].number, opened.found[0].identity))
        assert (kept.head.step, kept.state.tobytes()) == (0, state(0).tobytes())
        opened.close()
        image[base + at] ^= 0x10
        file.write_bytes(image)
        opened = open_records(folder)
        assert (len(opened.found), opened.skipped, len(opened.damaged)) == (0, 0, 1)
        if fields <= at < names:
            assert opened.damaged[0].name == "a"
        opened.close()
        assert found(folder) == {}


@pytest.mark.parametrize("size", [0, 10, 65_536, 65_537, 65_536 + 4_096])
def test_a_file_that_ends_early_is_refused_or_has_no_places(tmp_path: Path, size: int) -> None:
    made = open_records(tmp_path)
    made.write(made.take(Identity("a", None)), 0, b"", States(), 1)
    made.close()
    file = tmp_path / "m.records"
    os.truncate(file, size)
    if size < 65_536:
        with pytest.raises(DamagedFileError, match=r"m\.records"):
            open_records(tmp_path)
    else:
        assert found(tmp_path) == {}
        again = open_records(tmp_path)
        again.write(again.take(Identity("b", None)), 1, b"", States(), 2)
        assert found(tmp_path) == {("b", None): (1, state(2).tobytes(), b"")}


def test_a_file_of_another_model_or_version_is_refused(tmp_path: Path) -> None:
    open_records(tmp_path).close()
    with pytest.raises(DamagedFileError, match="fingerprint"):
        Records(tmp_path / "m.records", {**ABOUT, "fingerprint": "g"}, STATE, 200)
    text = (tmp_path / "m.records").read_bytes()
    (tmp_path / "m.records").write_bytes(text.replace(b"sessions-1", b"sessions-2", 1))
    with pytest.raises(DamagedFileError, match="head"):
        read_about(tmp_path / "m.records")


def test_what_a_file_says_of_itself_opens_it_again(tmp_path: Path) -> None:
    open_records(tmp_path, answer=5_000).close()
    about = read_about(tmp_path / "m.records")
    assert {key: about[key] for key in ABOUT} == ABOUT
    Records(tmp_path / "m.records", ABOUT, about["state"], answer_room(about["state"], about["slot"])).close()


@pytest.mark.parametrize("size", [STATE, 3 * STATE])
def test_a_disk_that_is_full_is_an_error_and_the_record_before_counts(
    tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = open_records(tmp_path)
    place = made.take(Identity("a", None))
    made.write(place, 0, b"answer", States(), 0)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("builtins.open", full)
    for _ in range(2):
        with pytest.raises(OSError, match="No space"):
            made.write(place, 1, b"long" * 1_000, States(size), 1)
        assert made.read(place).head.step == 0
    monkeypatch.undo()
    assert found(tmp_path) == {("a", None): (0, state(0).tobytes(), b"answer")}
    made.write(place, 1, b"long" * 1_000, States(size), 1)
    assert found(tmp_path) == {("a", None): (1, state(1, size).tobytes(), b"long" * 1_000)}
    monkeypatch.setattr(os, "posix_fallocate", full)
    made.free.clear()
    with pytest.raises(OSError, match="No space"):
        made.take(Identity("b", None))
    assert made.read(place).head.step == 1


def test_files_beside_go_with_what_they_were_for(tmp_path: Path) -> None:
    made = open_records(tmp_path)
    place = made.take(Identity("a", None))
    beside = tmp_path / "m.long"
    made.write(place, 0, b"long" * 1_000, States(), 0)
    made.write(place, 1, b"long" * 1_000, States(), 1)
    assert len(list(beside.iterdir())) == 2
    made.write(place, 2, b"short", States(), 2)
    assert len(list(beside.iterdir())) == 1
    made.end(place)
    assert not list(beside.iterdir())


def test_a_file_beside_that_is_damaged_or_gone(tmp_path: Path) -> None:
    made = open_records(tmp_path)
    place = made.take(Identity("a", None))
    made.write(place, 0, b"short", States(), 0)
    made.write(place, 1, b"long" * 1_000, States(), 1)
    made.close()
    (path,) = (tmp_path / "m.long").iterdir()
    text = bytearray(path.read_bytes())
    text[100] ^= 1
    path.write_bytes(text)
    assert found(tmp_path) == {("a", None): (0, state(0).tobytes(), b"short")}


def test_holes_of_a_copied_file_are_filled_before_it_is_mapped(tmp_path: Path) -> None:
    made = open_records(tmp_path)
    made.write(made.take(Identity("a", None)), 0, b"", States(), 1)
    made.close()
    file = tmp_path / "m.records"
    size = file.stat().st_size
    os.truncate(file, mapped._ALIGNMENT + 8_192)
    os.truncate(file, size)
    assert file.stat().st_blocks * 512 < size
    opened = open_records(tmp_path)
    assert file.stat().st_blocks * 512 >= size - mapped._ALIGNMENT
    assert len(opened.found) == 1


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="asks Linux for the names of files")
def test_files_that_are_new_are_known_to_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before what lies in them counts: else the power may take their names with it."""
    synced: list[str] = []
    fsync = os.fsync

    def noted(file: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{file}").removeprefix(str(tmp_path)))
        fsync(file)

    monkeypatch.setattr(os, "fsync", noted)
    made = open_records(tmp_path, is_synced=True)
    assert synced == ["/m.records.new", ""]
    place = made.take(Identity("a", None))
    seen = []
    for step in range(3):
        synced.clear()
        made.write(place, step, b"long" * 1_000, States(), step)
        seen.append([*synced])
    assert seen == [["", "/m.long/0.0", "/m.long"], ["/m.long/0.1", "/m.long"], ["/m.long/0.0"]]
    made.close()


def test_nothing_is_written_behind_the_end(tmp_path: Path) -> None:
    """Another process may have the folder already."""
    made = open_records(tmp_path)
    place = made.take(Identity("a", None))
    made.write(place, 1, b"", States(), 1)
    made.close()
    with pytest.raises(OSError, match="the file of records is closed"):
        made.write(place, 2, b"", States(), 2)
    assert made.read(place).head.step == 1
    assert found(tmp_path) == {("a", None): (1, state(1).tobytes(), b"")}


def test_what_was_written_is_synced_by_blocks(tmp_path: Path) -> None:
    made = open_records(tmp_path, is_synced=True)
    places = [made.take(Identity(n, None)) for n in range(2 * made._file.places)]
    for place in places[:: made._file.places - 1]:
        made.write(place, 0, b"long" * 1_000, States(), 1)
    assert len(made.dirty) == 3
    made.sync()
    assert not made.dirty
    assert Mapped(tmp_path / "m.records", {**ABOUT, "state": STATE, "slot": made._slot}, 2 * made._slot).blocks


def test_a_file_that_cannot_be_made_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for name in ("pwrite", "fsync", "replace"):
        with monkeypatch.context() as broken:
            broken.setattr(os, name, full)
            with pytest.raises(OSError, match="No space left"):
                open_records(tmp_path)
        assert list(tmp_path.iterdir()) == []
    with pytest.raises(DamagedFileError, match="the head has"):
        Mapped(tmp_path / "m.records", {"layout": "a" * (1 << 16)}, 64)
    assert list(tmp_path.iterdir()) == []
    assert found(tmp_path) == {}

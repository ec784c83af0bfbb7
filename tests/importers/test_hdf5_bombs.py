"""HDF5 files that declare little and cost much: refused by what they would cost, in bounded time and memory."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from craft_files import read_bounded, zip_of

from fastgru.errors import InvalidModelError
from fastgru.importers.hdf5 import Hdf5, block, file
from fastgru.importers.hdf5.block import FileForm
from fastgru.importers.hdf5.headers import walk_tree
from fastgru.sources import Content

h5py = pytest.importorskip("h5py")

MIB = 1 << 20


def written(write: Callable[[Any], object], **options: Any) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", **options) as out:
        write(out)
    return buffer.getvalue()


def reading(content: bytes) -> Hdf5:
    return Hdf5(Content(memoryview(content), "'bomb.h5'"))


def wide_chunks(out: Any) -> None:
    """3,000 numbers, each in a chunk of its own of 4 MiB, which is 4 KiB packed: 12 GB to inflate, 12 MB of file."""
    data = out.create_dataset("a", (3000, 1), "f4", chunks=(1, MIB), maxshape=(None, None), compression="gzip")
    packed = zlib.compress(bytes(4 * MIB), 9)
    for row in range(3000):
        data.id.write_direct_chunk((row, 0), packed)


def one_place(content: bytes) -> bytes:
    """Every packed chunk of the file starts where the first does, and reaches to the end of the file."""
    changed, first = bytearray(content), 0
    at = content.find(b"TREE\x01\x00")
    while at >= 0:
        (count,) = struct.unpack_from("<H", content, at + 6)
        for entry in range(at + 24, at + 24 + count * 32, 32):
            first = first or struct.unpack_from("<Q", content, entry + 24)[0]
            struct.pack_into("<I", changed, entry, len(content) - first)
            struct.pack_into("<Q", changed, entry + 24, first)
        at = content.find(b"TREE\x01\x00", at + 1)
    return bytes(changed)


def small_chunks(out: Any) -> None:
    out.create_dataset("a", data=np.zeros(20_000, "f4"), chunks=(2,), compression="gzip")
    out["noise"] = np.random.default_rng(0).integers(0, 256, 4 * MIB, np.uint8)


def long_paths(out: Any) -> None:
    """Groups in groups under names of 60,000 characters, and 2,000 at the bottom: paths of 1.2 GB in all."""
    group = out
    for _ in range(10):
        group = group.create_group("n" * 60_000)
    for n in range(2000):
        group.create_group(f"{n}")


FILES: dict[str, tuple[Callable[[], bytes], str]] = {
    "chunks beyond the shape": (lambda: written(wide_chunks), "declares 12582912000 bytes"),
    "chunks in one place": (lambda: one_place(written(small_chunks)), "add up to more than 20 times"),
    "long paths": (lambda: written(long_paths), "paths of more than 33554432 characters"),
    "a packed file in a packed archive": (
        lambda: zip_of({"config.json": b"{}", "model.weights.h5": written(lambda f: f.create_dataset(
            "a", data=np.zeros(300 * MIB, "u1"), chunks=(MIB,), compression="gzip", compression_opts=9
        )) + bytes(100 * MIB)}, 8),
        "declares 314572800 bytes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", sorted(FILES))
def test_bombs(kind: str, tmp_path: Path) -> None:
    make, what = FILES[kind]
    path = tmp_path / "bomb"
    path.write_bytes(make())
    found = read_bounded(path)
    assert found.startswith("InvalidModelError ")
    assert what in found


def test_chunks_that_are_no_bomb() -> None:
    array = np.arange(7 * 5, dtype="f4").reshape(7, 5)

    def write(out: Any) -> None:
        out.create_dataset("a", data=array, chunks=(3, 50), maxshape=(None, None), compression="gzip")
        out.create_dataset("b", data=array, chunks=(4, 3))

    read = reading(written(write))
    assert (read.read("a") == array).all()
    assert (read.read("b") == array).all()
    assert (read.read("a") == array).all()


def test_a_filter_twice() -> None:
    space = h5py.h5s.create_simple((1000,))
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((1000,))
    plist.set_deflate(9)
    plist.set_deflate(9)

    def write(out: Any) -> None:
        data = h5py.h5d.create(out.id, b"a", h5py.h5t.IEEE_F32LE, space, plist)
        data.write(h5py.h5s.ALL, h5py.h5s.ALL, np.zeros(1000, "f4"))

    with pytest.raises(InvalidModelError, match="packed by filter 1 twice"):
        reading(written(write)).read("a")


def node(level: int, children: list[int]) -> bytes:
    entries = b"".join(struct.pack("<QQ", 0, child) for child in children)
    return b"TREE\x00" + struct.pack("<BHQQ", level, len(children), 0, 0) + entries


def test_inner_nodes_of_a_tree_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each costs memory for every child that it names, whether or not the child is there."""
    inner = 24 + 16 * 300
    content = node(1, [inner + 24 * n for n in range(300)]) + node(0, []) * 300
    form = FileForm(Content(memoryview(content), "'tree'"))
    assert list(walk_tree(form, 0, 0, 8, "a tree")) == []
    monkeypatch.setattr(block, "MAX_STEPS", 100)
    with pytest.raises(InvalidModelError, match="more than 100 messages"):
        list(walk_tree(FileForm(form.data), 0, 0, 8, "a tree"))


def test_texts_in_a_heap_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(out: Any) -> None:
        for n in range(60):
            out.attrs[f"text{n}"] = f"{n}"

    content = written(write)
    assert reading(content).text("/", "text59") == "59"
    monkeypatch.setattr(block, "MAX_STEPS", 90)
    read = reading(content)
    assert read.text("/", "text0") == "0"
    with pytest.raises(InvalidModelError, match="more than 90 messages"):
        read.text("/", "text59")


def test_what_is_unpacked_twice_is_measured_by_the_file_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "INFLATE_ALLOWANCE", 0)
    content = written(lambda f: f.create_dataset("a", data=np.zeros(10_000, "u1"), compression="gzip"))
    data = memoryview(content)
    assert Hdf5(Content(data, "'file'", stored=1000)).read("a").shape == (10_000,)
    with pytest.raises(InvalidModelError, match="declares 10000 bytes"):
        Hdf5(Content(data, "'file'", stored=499)).read("a")


def test_large_datasets_of_a_file_are_read_once_and_aligned(tmp_path: Path) -> None:
    from fastgru import read_weights

    path = tmp_path / "w.h5"
    array = np.arange(1 << 16, dtype="f4")
    with h5py.File(path, "w") as out:
        out["a/b"] = array
        out["c"] = array.astype(">f8")
    weights = read_weights(path)
    assert weights["a/b"].ctypes.data % 64 == 0
    assert (weights["a/b"] == array).all()
    assert (weights["c"] == array).all()
    assert weights["c"].dtype.isnative

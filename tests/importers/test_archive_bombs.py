"""Archives that cost more than they are: members, names and links of every kind, tensors that share a storage."""

from __future__ import annotations

import json
import os
import stat
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
from craft_files import read_bounded, tensor_pickle, torch_zip, zip_of

import fastgru
from fastgru.errors import InvalidModelError
from fastgru.importers.weights import torch_file

MIB = 1 << 20


def keras(**members: bytes) -> bytes:
    names = {name.replace("__", "."): content for name, content in members.items()}
    return zip_of({"config.json": b"{}", "model.weights.h5": b"", **names}, zipfile.ZIP_DEFLATED)


def with_links() -> bytes:
    """Members that unpacking programs would make links of, or put elsewhere."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in ("config.json", "model.weights.h5"):
            member = zipfile.ZipInfo(name)
            member.create_system = 3
            member.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(member, "/etc/passwd")
        archive.writestr("../../outside", b"x")
        archive.writestr("/absolute", b"x")
    return buffer.getvalue()


KERAS = {
    "300 MiB of configuration": lambda: keras(config__json=b" " * (300 * MIB)),
    "60 MiB of configuration": lambda: keras(config__json=b'{"a":"' + b" " * (60 * MIB) + b'"}'),
    "configurations without an end": lambda: keras(config__json=b"[" * (20 * MIB)),
    "300 MiB of weights": lambda: keras(**{"model.weights.h5": bytes(300 * MIB)}),
    "250 MiB of weights that are none": lambda: keras(**{"model.weights.h5": bytes(250 * MIB)}),
    "weights of a magic alone": lambda: keras(**{"model.weights.h5": b"\x89HDF\r\n\x1a\n" + bytes(200 * MIB)}),
    "all of it 200 MiB": lambda: keras(config__json=b" " * (200 * MIB), metadata__json=b" " * (200 * MIB)),
    "20,001 members": lambda: zip_of({"config.json": b"{}", **{f"{n}/" * 20: b"" for n in range(20_000)}}),
    "links": with_links,
}


@pytest.mark.parametrize("kind", sorted(KERAS))
@pytest.mark.parametrize("reader", ["fastgru:load", "fastgru:read_weights"])
def test_keras_archives(kind: str, reader: str, tmp_path: Path) -> None:
    path = tmp_path / "bomb.keras"
    path.write_bytes(KERAS[kind]())
    assert read_bounded(path, reader=reader).startswith("InvalidModelError ")
    assert os.listdir(tmp_path) == ["bomb.keras"]


def tensors(count: int, shape: int, storage: str) -> bytes:
    """A dict of `count` tensors that are the whole of one storage."""
    one = tensor_pickle((shape,), (1,), size=shape, storage=storage)
    key, value = one[3:9], one[9:-2]
    assert key == b"X\x01\x00\x00\x00w"
    names = (b"X\x06\x00\x00\x00%06d" % n for n in range(count))
    first = next(names)
    return b"\x80\x02}(" + first + value + b"q\x01" + b"".join(name + b"h\x01" for name in names) + b"u."


@pytest.mark.parametrize(("storage", "order"), [("BoolStorage", "little"), ("ShortStorage", "big")])
def test_tensors_that_share_a_storage_are_looked_at_only_so_often(
    storage: str, order: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """20,000 tensors of 20 MB would be 400 GB to check or to swap."""
    pickled = tensors(20_000, 10_000_000, storage)
    content = torch_zip(pickled, {"0": bytes(10_000_000 * (1 if storage == "BoolStorage" else 2))}, order)
    path = tmp_path / "bomb.pt"
    path.write_bytes(content)
    found = read_bounded(path)
    assert found.startswith("InvalidModelError ")
    assert "overlap" in found

    few = torch_zip(tensors(30, 1000, storage), {"0": bytes(2000)}, order)
    assert len(fastgru.read_weights(few)) == 30
    monkeypatch.setattr(torch_file, "CONVERTED_ALLOWANCE", 0)
    monkeypatch.setattr(torch_file, "CONVERTED_RATIO", 1)
    with pytest.raises(InvalidModelError, match="overlap"):
        fastgru.read_weights(few)


def test_a_member_is_read_by_its_name_alone(tmp_path: Path) -> None:
    """Nothing of an archive is written anywhere, whatever its members are called."""
    content = zip_of({"../outside.npy": npy(), "/absolute.npy": npy(), "a/../../b.npy": npy()})
    path = tmp_path / "inner" / "names.npz"
    path.parent.mkdir()
    path.write_bytes(content)
    assert list(fastgru.read_weights(path)) == ["../outside", "/absolute", "a/../../b"]
    assert os.listdir(tmp_path) == ["inner"]
    assert os.listdir(path.parent) == ["names.npz"]


def npy() -> bytes:
    header = json.dumps({"descr": "<f4", "fortran_order": False, "shape": "()"}).replace('"', "'")
    header = header.replace("false", "False").replace("'()'", "()")
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(4)

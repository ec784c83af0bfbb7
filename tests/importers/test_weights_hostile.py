"""Files that want to run code, or to take all the memory or time there is: each ends in an error of the tree."""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from craft_files import TORCH_LEGACY_HEAD, read_bounded, tensor_pickle, torch_legacy, torch_zip, zip_of

from fastgru.errors import InvalidModelError, UnsupportedModelError
from fastgru.importers.files import detect_format
from fastgru.importers.weights import read_weights
from fastgru.importers.weights.pickles import MAX_OPCODES

BUILDERS = {"zip": torch_zip, "legacy": torch_legacy}


@pytest.fixture(params=sorted(BUILDERS))
def build(request: pytest.FixtureRequest) -> Callable[[bytes], bytes]:
    return BUILDERS[request.param]


def evil_pickles(command: str) -> dict[str, bytes]:
    """Every opcode that can make a call, each calling os.system (or its like) with `command`."""
    argument = b"X" + struct.pack("<I", len(command)) + command.encode()
    short = b"\x8c\x02os\x8c\x06system"
    code = f"__import__('os').system({command!r})".encode()
    return {
        "reduce": b"\x80\x02cos\nsystem\n(" + argument + b"tR.",
        "posix": b"\x80\x02cposix\nsystem\n(" + argument + b"tR.",
        "stack_global": b"\x80\x04" + short + b"\x93(" + argument + b"tR.",
        "instance": b"(" + argument + b"ios\nsystem\n.",
        "object": b"(cos\nsystem\n" + argument + b"o.",
        "newobj": b"\x80\x02cos\nsystem\n(" + argument + b"t\x81.",
        "newobj_ex": b"\x80\x04" + short + b"\x93(" + argument + b"t}\x92.",
        "eval": b"\x80\x02c__builtin__\neval\n(X" + struct.pack("<I", len(code)) + code + b"tR.",
        "getattr": b"\x80\x02cbuiltins\ngetattr\n(cos\npath\nX\x06\x00\x00\x00systemtR.",
        "dotted": b"\x80\x04\x8c\x0bcollections\x8c\x1aOrderedDict.__init__.system\x93.",
        "allowed_module": b"\x80\x02ctorch\nsave\n(" + argument + b"tR.",
        "torch_load": b"\x80\x02ctorch.storage\n_load_from_bytes\n(" + argument + b"tR.",
        "beside": b"\x80\x02}(X\x01\x00\x00\x00wcos\nsystem\n(" + argument + b"tRu.",
        "build": b"\x80\x02ccollections\nOrderedDict\n)R(cos\nsystem\ntb.",
        "extension": b"\x80\x02\x82\x01.",
        "persistent": b"Pos.system\n.",
    }


@pytest.mark.parametrize("kind", sorted(evil_pickles("")))
def test_no_pickle_runs_anything(kind: str, build: Callable[[bytes], bytes], tmp_path: Path) -> None:
    witness = tmp_path / "ran"
    evil = evil_pickles(f"touch {witness}")[kind]
    for content in (build(evil), build(b"\x80\x02(" + evil.removeprefix(b"\x80\x02")[:-1] + b"l.")):
        with pytest.raises((InvalidModelError, UnsupportedModelError)):
            read_weights(content)
    assert not witness.exists()


def test_the_evil_pickles_are_evil(tmp_path: Path) -> None:
    witness = tmp_path / "ran"
    for kind in ("reduce", "posix", "stack_global", "instance", "object", "eval", "beside"):
        pickle.loads(evil_pickles(f"touch {witness}")[kind])
        assert witness.exists(), kind
        witness.unlink()


def test_a_hostile_module_is_called_so(build: Callable[[bytes], bytes]) -> None:
    with pytest.raises(InvalidModelError, match=r"'os\.system'.*nothing of it was run.*do not trust"):
        read_weights(build(evil_pickles("true")["reduce"]))


def test_code_in_every_pickle_of_a_legacy_file(tmp_path: Path) -> None:
    witness = tmp_path / "ran"
    evil = evil_pickles(f"touch {witness}")["reduce"]
    parts = [pickle.dumps(v, 2) for v in (0x1950A86A20F9469CFC6C, 1001, {}, {}, [])]
    for i in range(1, len(parts)):
        with pytest.raises(InvalidModelError):
            read_weights(b"".join([*parts[:i], evil, *parts[i + 1 :]]))
    assert not witness.exists()


def test_a_plain_list_subclass_is_no_way_in(build: Callable[[bytes], bytes]) -> None:
    with pytest.raises((InvalidModelError, UnsupportedModelError)):
        read_weights(build(b"\x80\x02ccollections\nOrderedDict\n}R."))


def _int(value: int) -> bytes:
    raw = value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


MANY = MAX_OPCODES - 1000
DEEP = 200_000  # no recursion comes back from here

PICKLES: dict[str, Callable[[], bytes]] = {
    "deep lists": lambda: b"\x80\x02" + b"]" * (DEEP) + b"a" * (DEEP - 1) + b".",
    "deep tuples": lambda: b"\x80\x02)" + b"\x85" * DEEP + b".",
    "deep dicts": lambda: b"\x80\x02" + b"}K\x00" * (DEEP) + b"}" + b"s" * (DEEP) + b".",
    "deep dicts of texts": lambda: b"\x80\x02" + b"}\x8c\x01a" * (DEEP) + b"}" + b"s" * (DEEP) + b".",
    "deep marks": lambda: b"\x80\x02" + b"(" * MANY + b".",
    "cyclic list": lambda: b"\x80\x02]q\x00h\x00a.",
    "cyclic dict": lambda: b"\x80\x02}q\x00\x8c\x01ah\x00s.",
    "cyclic key": lambda: b"\x80\x02}q\x00h\x00K\x00s.",
    "billion laughs": lambda: b"\x80\x02)" + b"2\x86" * 1000 + b".",
    "billion laughs as a key": lambda: b"\x80\x02})" + b"2\x86" * 1000 + b"K\x00s.",
    "deep tuple as a key": lambda: b"\x80\x02})" + b"\x85" * DEEP + b"K\x00s.",
    "deep tuple in a set": lambda: b"\x80\x04\x8f()" + b"\x85" * DEEP + b"\x90.",
    "colliding keys": lambda: (
        b"\x80\x02}(" + b"".join(_int(k * ((1 << 61) - 1)) + b"K\x00" for k in range(100_000)) + b"u."
    ),
    "colliding memo": lambda: (
        b"\x80\x02K\x00" + b"".join(b"p%d\n" % (k * ((1 << 61) - 1)) for k in range(50_000)) + b"."
    ),
    "many lists": lambda: b"\x80\x02(" + b"]" * MANY + b"l.",
    "many dicts": lambda: b"\x80\x02(" + b"}" * MANY + b"l.",
    "too many opcodes": lambda: b"\x80\x02(" + b"N" * (20 << 20) + b"l.",
    "copies of a list": lambda: (
        b"\x80\x02]q\x00(" + b"(K\x01K\x02l" * 100_000 + b"e"
        + b"ccollections\nOrderedDict\nq\x01" + b"h\x01h\x00\x85R0" * 100_000 + b"."
    ),
    "copies as sets": lambda: (
        b"\x80\x02]q\x00(" + b"K\x00" * 400_000 + b"e0cbuiltins\nset\nq\x01" + b"h\x01h\x00\x85R" * 200_000 + b"."
    ),
    "a huge number": lambda: b"\x80\x02\x8b" + struct.pack("<i", 60 << 20) + b"\x7f" * (60 << 20) + b".",
    "a huge text": lambda: b"\x80\x04\x8d" + struct.pack("<Q", 1 << 60) + b"x.",
    "a huge text 2": lambda: b"\x80\x04\x8d" + struct.pack("<Q", (1 << 64) - 1) + b"x.",
    "a huge frame": lambda: b"\x80\x04\x95" + struct.pack("<Q", (1 << 64) - 1) + b"}.",
    "long decimal": lambda: b"I" + b"9" * (10 << 20) + b"\n.",
    "long texts": lambda: b"\x80\x02(" + (b"X" + struct.pack("<I", 40) + b"\xc3\xa9" * 20) * MANY + b"l.",
    "empty": lambda: b"",
    "no end": lambda: b"\x80\x02}",
    "empty stack": lambda: b"\x80\x02.",
    "pops": lambda: b"\x80\x020000.",
    "a text of surrogates": lambda: b"\x80\x02X\x03\x00\x00\x00\xed\xa0\x80.",
    "a million tensors": lambda: tensor_pickle((4, 6), (6, 1))[:-2] + b"2" * 100_000 + b"s.",
}  # fmt: skip


@pytest.mark.parametrize("kind", sorted(PICKLES))
def test_bombs_of_pickles(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "bomb.pt"
    path.write_bytes(torch_zip(PICKLES[kind]()))
    assert read_bounded(path).startswith(("InvalidModelError ", "UnsupportedModelError ")), kind


@pytest.mark.parametrize("kind", ["billion laughs", "colliding memo", "a huge number"])
@pytest.mark.parametrize("place", range(5))
def test_bombs_in_every_pickle_of_a_legacy_file(kind: str, place: int) -> None:
    parts = [pickle.dumps(v, 2) for v in (0x1950A86A20F9469CFC6C, 1001, {}, {}, [])]
    parts[place] = PICKLES[kind]()
    with pytest.raises((InvalidModelError, UnsupportedModelError)):
        read_weights(b"".join(parts))


def _npy(descr: str, shape: str, content: bytes = b"") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


def _overlapping() -> bytes:
    """Many directory entries for one member, as in "A better zip bomb" (Fifield 2019), in its simplest form."""
    content = zip_of({"a.npy": bytes(1 << 20)}, zipfile.ZIP_DEFLATED)
    start = content.index(b"PK\x01\x02")
    entry, end = content[start:-22], bytearray(content[-22:])
    entries = b"".join(entry[:46] + b"%05d" % i for i in range(10_000))
    end[8:12] = struct.pack("<2H", 10_000, 10_000)
    end[12:16] = struct.pack("<I", len(entries))
    return content[:start] + entries + bytes(end)


def _declaring(size: int) -> bytes:
    """A deflated member of one MiB that declares `size`."""
    content = bytearray(zip_of({"a.npy": bytes(1 << 20)}, zipfile.ZIP_DEFLATED))
    start = content.index(b"PK\x01\x02")
    content[start + 24 : start + 28] = struct.pack("<I", size)
    return bytes(content)


def _deflated_zeros(size: int) -> bytes:
    return zip_of({"a.npy": bytes(size)}, zipfile.ZIP_DEFLATED)


def _safetensors(header: object, body: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def _entry(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


FILES: dict[str, Callable[[], bytes]] = {
    "zip: more members than there are": lambda: zip_of({"a.npy": b""})[:-14] + b"\xff\xff" * 2 + bytes(10),
    "zip: 300 MiB of zeros": lambda: _deflated_zeros(300 << 20),
    "zip: declares 4 GiB": lambda: _declaring(0xFFFFFFFE),
    "zip: declares too little": lambda: _declaring(100),
    "zip: overlapping members": _overlapping,
    "zip: member twice": lambda: zip_of({"a.npy": b"", "b.npy": b""}).replace(b"b.npy", b"a.npy"),
    "zip: 30,000 members": lambda: zip_of({f"{i}.npy": b"" for i in range(30_000)}),
    "zip: of pictures": lambda: zip_of({"a.png": b""}),
    "zip: of nothing": lambda: zip_of({}),
    "zip: encrypted": lambda: zip_of({"a.npy": b""}).replace(b"\x14\x03\x14\x00\x00", b"\x14\x03\x14\x00\x01"),
    "zip: bzip2": lambda: zip_of({"a.npy": bytes(1000)}, zipfile.ZIP_BZIP2),
    "npz: huge shape": lambda: zip_of({"a.npy": _npy("'<f4'", "(1000000, 1000000)", bytes(64))}),
    "npz: empty but huge": lambda: zip_of({"a.npy": _npy("'<f4'", "(0, 99999999999999999, 99999999999999999)")}),
    "npz: negative shape": lambda: zip_of({"a.npy": _npy("'<f4'", "(-4, -4)", bytes(64))}),
    "npz: objects": lambda: zip_of({"a.npy": _npy("'|O'", "(1,)", pickle.dumps([1]))}),
    "npz: records": lambda: zip_of({"a.npy": _npy("[('a', '<f4')]", "(1,)", bytes(4))}),
    "npz: nested header": lambda: zip_of({"a.npy": _npy("(" * 3000 + ")" * 3000, "(1,)", bytes(4))}),
    "npz: code in the header": lambda: zip_of({"a.npy": _npy("__import__('os').system('true')", "(1,)", bytes(4))}),
    "npz: odd dtype": lambda: zip_of({"a.npy": _npy("'<f5'", "(1,)", bytes(5))}),
    "npz: texts": lambda: zip_of({"a.npy": _npy("'<U4'", "(1,)", bytes(16))}),
    "npz: complex": lambda: zip_of({"a.npy": _npy("'<c8'", "(1,)", bytes(8))}),
    "npz: 300 MiB in three": lambda: zip_of(
        {f"{i}.npy": _npy("'|u1'", f"({100 << 20},)", bytes(100 << 20)) for i in range(3)}, zipfile.ZIP_DEFLATED
    ),
    "safetensors: header of 2^62": lambda: _safetensors({}, length=1 << 62),
    "safetensors: header of 18 MiB": lambda: _safetensors(b'{"a":[' + b"[]," * (6 << 20) + b"0]}"),
    "safetensors: lists to the limit": lambda: _safetensors(b'{"a":[' + b"[]," * ((16 << 20) // 3 - 9) + b"[]]}"),
    "safetensors: nested": lambda: _safetensors(b'{"a":' + b"[" * 1_000_000),
    "safetensors: huge shape": lambda: _safetensors({"a": _entry("F32", [2**40, 2**40], 0, 4)}, bytes(4)),
    "safetensors: wrapping shape": lambda: _safetensors({"a": _entry("F32", [2**32, 2**32], 0, 0)}),
    "safetensors: empty but huge": lambda: _safetensors({"a": _entry("F32", [0, 2**47, 2**47], 0, 0)}),
    "safetensors: negative": lambda: _safetensors({"a": _entry("F32", [-1], 4, 0)}, bytes(4)),
    "safetensors: overlap": lambda: _safetensors(
        {"a": _entry("F32", [1], 0, 4), "b": _entry("F32", [1], 0, 4)}, bytes(4)
    ),
    "safetensors: hole": lambda: _safetensors({"a": _entry("F32", [1], 4, 8)}, bytes(8)),
    "safetensors: rest": lambda: _safetensors({"a": _entry("F32", [1], 0, 4)}, bytes(8)),
    "safetensors: twice": lambda: _safetensors(b'{"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]},"a":0}', b"0"),
    "safetensors: float8": lambda: _safetensors({"a": _entry("F8_E4M3", [4], 0, 4)}, bytes(4)),
    "safetensors: not booleans": lambda: _safetensors({"a": _entry("BOOL", [4], 0, 4)}, b"abcd"),
    "safetensors: numbers as texts": lambda: _safetensors({"a": _entry("F32", ["1"], 0, 4)}, bytes(4)),  # type: ignore[list-item]
    "safetensors: sizes that are not whole": lambda: _safetensors({"a": _entry("F32", [1.0], 0, 4)}, bytes(4)),  # type: ignore[list-item]
    "json: deep": lambda: b'{"a":' + b"[" * 10_000_000,
    "json: deep objects": lambda: b'{"a":' * 1_000_000,
    "json: 33 axes": lambda: b'{"a":' + b"[" * 33 + b"1" + b"]" * 33 + b"}",
    "json: 40 MiB": lambda: b'{"a":[' + b"1," * (20 << 20) + b"1]}",
    "json: lists": lambda: b'{"a":[' + b"[]," * ((32 << 20) // 3 - 9) + b"[1]]}",
    "json: lists to the limit": lambda: b'{"a":[' + b"[0,1]," * 3_999_000 + b"[1]]}",
    "json: objects to the limit": lambda: b'{"a":[' + b"{}," * 999_000 + b"[1]]}",
    "json: numbers to the limit": lambda: b'{"a":[' + b"2e1," * ((32 << 20) // 4 - 9) + b'"1"]}',
    "json: keys to the limit": lambda: b"{" + b",".join(b'"%x":[]' % i for i in range(999_000)) + b"}]",
    "json: ragged": lambda: b'{"a":[[1,2],[3]]}',
    "json: ragged 2": lambda: b'{"a":[1,[3]]}',
    "json: ragged 3": lambda: b'{"a":[[1],3]}',
    "json: texts": lambda: b'{"a":["1","2"]}',
    "json: nothing among numbers": lambda: b'{"a":[1,null]}',
    "json: truth among numbers": lambda: b'{"a":[1,true]}',
    "json: a huge whole number": lambda: b'{"a":[' + b"9" * 4000 + b"]}",
    "json: a longer one": lambda: b'{"a":[' + b"9" * 1_000_000 + b"]}",
    "json: twice": lambda: b'{"a":[1],"a":[2]}',
    "json: a list": lambda: b"[1,2]",
    "json: nothing": lambda: b"{}",
    "json: Latin-1": lambda: '{"é":[1]}'.encode("latin-1"),
    "hdf5: its magic alone": lambda: b"\x89HDF\r\n\x1a\n",
    "hdf5: its magic and zeros": lambda: b"\x89HDF\r\n\x1a\n" + bytes(4096),
    "hdf5: its magic and ones": lambda: b"\x89HDF\r\n\x1a\n" + b"\xff" * 4096,
    "torch: magic alone": lambda: TORCH_LEGACY_HEAD,
    "torch: two pickles": lambda: zip_of({"a/data.pkl": b"\x80\x02}.", "b/data.pkl": b"\x80\x02}."}),
    "torch: a deflated pickle of 300 MiB": lambda: zip_of({"a/data.pkl": bytes(300 << 20)}, zipfile.ZIP_DEFLATED),
    "nothing": lambda: b"",
    "one byte": lambda: b"\x00",
    "zeros": lambda: bytes(100_000),
    "ones": lambda: b"\xff" * 100_000,
    "a text": lambda: b"hello, world\n" * 100,
    "gzip": lambda: b"\x1f\x8b\x08" + zlib.compress(bytes(1000)),
    "an array alone": lambda: _npy("'<f4'", "(1,)", bytes(4)),
}  # fmt: skip


@pytest.mark.parametrize("kind", sorted(FILES))
def test_bombs_and_lies(kind: str, tmp_path: Path) -> None:
    content = FILES[kind]()
    path = tmp_path / "bomb"
    path.write_bytes(content)
    if len(content) > 50_000 and kind not in ("zeros", "ones"):
        assert read_bounded(path).startswith(("InvalidModelError ", "UnsupportedModelError ")), kind
    else:
        with pytest.raises((InvalidModelError, UnsupportedModelError)):
            read_weights(path)


def test_files_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_weights(tmp_path / "none.pt")
    for reader in (read_weights, detect_format):
        with pytest.raises(InvalidModelError, match="a directory, expected a file"):
            reader(tmp_path)
        with pytest.raises(InvalidModelError, match="not a regular file"):
            reader("/dev/zero")


SEEDS: dict[str, Callable[[], bytes]] = {
    "torch zip": lambda: torch_zip(tensor_pickle((4, 6), (6, 1)), {"0": np.arange(24, dtype="f4").tobytes()}),
    "torch legacy": lambda: torch_legacy(
        tensor_pickle((4, 6), (6, 1)), {"0": (24, np.arange(24, dtype="f4").tobytes())}
    ),
    "npz": lambda: zip_of({"a.npy": _npy("'<f4'", "(2,)", bytes(8))}),
    "npz deflated": lambda: zip_of({"a.npy": _npy("'<f4'", "(20,)", bytes(80))}, zipfile.ZIP_DEFLATED),
    "safetensors": lambda: _safetensors({"a": _entry("F32", [2], 0, 8)}, bytes(8)),
    "json": lambda: b'{"a": [[1.5, 2], [3, 4]]}',
}


@pytest.mark.parametrize("kind", sorted(SEEDS))
def test_every_truncation(kind: str) -> None:
    content = SEEDS[kind]()
    assert len(read_weights(content)) == 1
    for length in range(len(content)):
        with pytest.raises((InvalidModelError, UnsupportedModelError)):
            read_weights(content[:length])


@pytest.mark.parametrize("kind", ["npz", "npz deflated", "torch zip"])
def test_no_flipped_bit_changes_a_value_unseen(kind: str) -> None:
    content = SEEDS[kind]()
    (expected,) = read_weights(content).values()
    for at in range(len(content)):
        damaged = bytearray(content)
        damaged[at] ^= 1 << (at % 8)
        try:
            weights = read_weights(bytes(damaged))
        except (InvalidModelError, UnsupportedModelError):
            continue
        for array in weights.values():  # dates, and names that both records agree on, are not part of the value
            np.testing.assert_array_equal(array, expected)

"""Our HDF5 reader against h5py: what it writes is read, what we do not read is named, damage ends in our errors."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fastgru.errors import FastGRUError, InvalidModelError, UnsupportedModelError
from fastgru.importers.hdf5 import Hdf5, block, file
from fastgru.sources import Content

h5py = pytest.importorskip("h5py")

DTYPES = st.sampled_from(
    [f"{order}{kind}" for order in "<>" for kind in ("f2", "f4", "f8", "i4", "i8", "u2")] + ["u1", "i1"]
)
LIBVERS = ("earliest", "v108", "latest")


def reading(content: bytes) -> Hdf5:
    return Hdf5(Content(memoryview(content), "'model.h5'"))


def written(write: Callable[[Any], object], **options: Any) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", **options) as out:
        write(out)
    return buffer.getvalue()


@given(st.data())
def test_arrays_are_read_as_they_were_written(data: st.DataObject) -> None:
    dtype = np.dtype(data.draw(DTYPES))
    array = data.draw(hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=7)))
    options: dict[str, Any] = {}
    libver = data.draw(st.sampled_from(LIBVERS))
    if array.ndim and array.size and libver == "earliest" and data.draw(st.booleans()):
        options["chunks"] = tuple(data.draw(st.integers(1, s)) for s in array.shape)
        options["compression"] = data.draw(st.sampled_from([None, "gzip"]))
        options["shuffle"] = data.draw(st.booleans())
        options["fletcher32"] = data.draw(st.booleans())
    content = written(lambda f: f.create_dataset("a/b/c", data=array, **options), libver=libver)
    read = reading(content)
    assert dict(read.datasets) == {"a/b/c": array.shape}
    assert read.has_group("a/b")
    assert not read.has_group("a/b/c")
    result = read.read("a/b/c")
    assert result.dtype == dtype.newbyteorder("=")
    assert result.flags.owndata or result.base is None or not result.size
    np.testing.assert_array_equal(result, array)


@pytest.mark.parametrize("libver", LIBVERS)
def test_texts_of_every_kind(libver: str) -> None:
    long = "x" * 100_000

    def write(f: Any) -> None:
        f.attrs["variable"] = long
        f.attrs["unicode"] = "Wörter"
        f.attrs["number"] = 3
        f.attrs["names"] = ["a", "b"]
        f.create_group("g").attrs["bytes"] = np.bytes_(b"fixed")
        f["g"].attrs["compound"] = np.zeros(2, dtype=[("a", "i4"), ("b", "f4")])

    read = reading(written(write, libver=libver))
    assert read.text("/", "variable") == long
    assert read.text("/", "unicode") == "Wörter"
    assert read.text("g", "bytes") == "fixed"
    assert read.text("g", "missing") is None
    for group, name in (("/", "number"), ("/", "names"), ("g", "compound")):
        with pytest.raises(InvalidModelError, match=f"attribute '{name}'.*not a single text"):
            read.text(group, name)


def test_many_groups_names_and_a_user_block() -> None:
    def write(f: Any) -> None:
        for n in range(300):
            f[f"layer_{n % 50}/{'long' * 20}_{n}/kernel:0"] = np.full((2, 3), n, "f4")

    content = written(write, userblock_size=1024)
    read = reading(content)
    assert len(read.datasets) == 300
    assert all((read.read(path) == int(path.split("_")[2].split("/")[0])).all() for path in read.datasets)


def test_bfloat16_as_keras_writes_it() -> None:
    import ml_dtypes

    array = np.arange(6).astype(ml_dtypes.bfloat16).reshape(2, 3)
    read = reading(written(lambda f: f.create_dataset("a", data=array))).read("a")
    assert read.dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(read, array)


def compound(f: Any) -> None:
    f["a"] = np.zeros(2, dtype=[("x", "i4")])


def virtual(f: Any) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (4,))
    f.create_virtual_dataset("a", layout)


def outside(f: Any) -> None:
    f.create_dataset("a", (4,), "f4", external=[("/etc/passwd", 0, 16)])


@pytest.mark.parametrize(
    ("write", "options", "part"),
    [
        (compound, {}, "compound"),
        (lambda f: f.create_dataset("a", data=["text"]), {}, "texts"),
        (lambda f: f.create_dataset("a", data=np.ones(2, bool)), {}, "enumeration"),
        (lambda f: f.create_dataset("a", data=np.ones(2, "c8")), {}, "compound"),
        (lambda f: f.create_dataset("a", data=np.ones(9), compression="lzf"), {}, "filter 32000"),
        (lambda f: f.create_dataset("a", data=np.ones(9), chunks=(2,)), {"libver": "latest"}, "libver"),
        (virtual, {"libver": "latest"}, "virtual"),
        (outside, {}, "other files"),
        (lambda f: f.__setitem__("a", h5py.SoftLink("/b")), {}, "soft or external link"),
        (lambda f: f.__setitem__("a", h5py.ExternalLink("/etc/passwd", "/b")), {}, "soft or external link"),
        (lambda f: [f.create_group(str(n)) for n in range(100)], {"libver": "latest"}, "libver"),
    ],
    ids=["compound", "text", "bool", "complex", "lzf", "latest", "virtual", "external", "soft", "link", "dense"],
)
def test_what_is_not_read_is_named(write: Any, options: Any, part: str) -> None:
    with pytest.raises(UnsupportedModelError, match=part):
        reading(written(write, **options)).read("a")


def test_a_group_inside_itself() -> None:
    with pytest.raises(InvalidModelError, match="linked twice"):
        reading(written(lambda f: f.create_group("a/b").__setitem__("again", f["a"])))


def test_sizes_that_the_file_cannot_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    late = written(lambda f: f.create_dataset("a", (1 << 36,), "f4"))
    with pytest.raises(InvalidModelError, match=r"dataset 'a' declares 274877906944 bytes"):
        reading(late).read("a")
    sparse = written(lambda f: f.create_dataset("a", (1 << 33,), "f4", chunks=(1 << 20,), compression="gzip"))
    with pytest.raises(InvalidModelError, match=r"declares 34359738368 bytes"):
        reading(sparse).read("a")
    bomb = written(lambda f: f.create_dataset("a", data=np.zeros(1 << 20, "f4"), compression="gzip"))
    assert not reading(bomb).read("a").any()
    monkeypatch.setattr(file, "INFLATE_ALLOWANCE", 1 << 20)
    with pytest.raises(InvalidModelError, match=r"declares 4194304 bytes"):
        reading(bomb).read("a")


def test_values_that_are_in_no_chunk() -> None:
    def write(f: Any) -> None:
        f.create_dataset("a", (100,), "f4", chunks=(10,))[:10] = 1

    with pytest.raises(InvalidModelError, match="90 of 100 values"):
        reading(written(write)).read("a")


def test_links_to_one_object_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block, "MAX_STEPS", 1000)

    def write(f: Any) -> None:
        f["a"] = np.ones(3)
        for n in range(200):
            f[f"b{n}"] = f["a"]

    with pytest.raises(InvalidModelError, match="more than 1000"):
        reading(written(write))


def test_a_file_that_ends_too_early_anywhere(tmp_path: Path) -> None:
    def write(f: Any) -> None:
        f.attrs["text"] = "x" * 50
        f["a/b"] = np.arange(6.0)
        f.create_dataset("c", data=np.arange(20.0), chunks=(7,), compression="gzip")

    for libver in LIBVERS[:1]:
        content = written(write, libver=libver)
        for end in range(1, len(content), 13):
            with pytest.raises(FastGRUError):
                touch_everything(content[:end])


def touch_everything(content: bytes) -> None:
    read = reading(content)
    read.text("/", "text")
    for path in read.datasets:
        read.read(path)


@given(st.integers(0, 10_000), st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=8))
def test_damaged_bytes(kind: int, changes: list[tuple[int, int]]) -> None:
    def write(f: Any) -> None:
        f.attrs["text"] = "x" * 50
        f["a/b"] = np.arange(6.0)
        if kind % 2:
            f.create_dataset("c", data=np.arange(20.0), chunks=(7,), compression="gzip", shuffle=True)

    content = bytearray(written(write, libver=LIBVERS[0] if kind % 2 else LIBVERS[kind % 3]))
    for at, value in changes:
        content[at % len(content)] = value
    try:
        touch_everything(bytes(content))
    except FastGRUError:
        pass

"""Files that change while they are read are refused; those that change afterwards do not reach what was loaded."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastgru
from fastgru import sources
from fastgru.errors import InvalidModelError
from fastgru.sources import opened, read_source, source_name

DATA = Path(__file__).parent / "data"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "numbers.bin"
    path.write_bytes(np.arange(20_000, dtype="<u4").tobytes())
    return path


def test_ranges_of_a_file_and_of_bytes(file: Path) -> None:
    data = file.read_bytes()
    with opened(file) as content, opened(data) as in_memory, opened(content) as again:
        assert again is content
        for held in (content, in_memory):
            assert len(held) == len(data)
            for begin, end in ((0, 8), (4, 9000), (9000, 9001), (-8, None), (7, 7), (79_990, 90_000), (90_000, 90_001)):
                assert bytes(held[begin:end]) == data[begin:end]
                assert bytes(held.read(begin, end)) == data[begin:end]
            assert held.tobytes() == data
        tensor = content.read(4, 40_000)
        assert np.frombuffer(tensor, np.uint8).ctypes.data % 64 == 0
        assert tensor.readonly
    assert bytes(tensor) == data[4:40_000]
    with pytest.raises(ValueError, match="closed"):
        content.read(0, 8)


def test_what_others_can_write_is_copied() -> None:
    data = bytearray(b"abc")
    with opened(data) as content, opened(memoryview(data)[::2]) as every_second:
        data[0] = ord("x")
        assert (content.tobytes(), every_second.tobytes()) == (b"abc", b"ac")


@pytest.mark.parametrize("source", [None, 3, ["model.onnx"], object()])
@pytest.mark.parametrize("read", [fastgru.load, fastgru.load_graph, fastgru.read_weights, fastgru.verify, source_name])
def test_what_is_neither_a_path_nor_bytes_is_refused_by_name(read: Callable[[Any], object], source: object) -> None:
    with pytest.raises(InvalidModelError, match=f"got {type(source).__name__}, expected the path of a file"):
        read(source)


def shorten(path: Path) -> None:
    os.truncate(path, 5000)


def lengthen(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"other")
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


@pytest.mark.parametrize(
    ("change", "what"), [(shorten, "5000 bytes"), (lengthen, "80004 bytes"), (overwrite, "written at")]
)
def test_a_file_that_changes_while_it_is_read(file: Path, change, what: str) -> None:
    def read(use) -> None:
        with opened(file) as content:
            assert content[:4].nbytes == 4
            change(file)
            use(content)

    data, stat = file.read_bytes(), file.stat()
    for use in (
        lambda content: None,
        lambda content: content.read(),
        lambda content: content.tobytes(),
        lambda content: read_source(content),
        lambda content: pytest.fail("never") if len(content.read(60_000, 60_004)) != 4 else None,
    ):
        with pytest.raises(InvalidModelError, match=rf"numbers\.bin.*changed while it was read.*{what}"):
            read(use)
        file.write_bytes(data)
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_a_fault_of_a_file_that_changed_is_told_as_the_change(file: Path) -> None:
    with pytest.raises(InvalidModelError, match="changed while"), opened(file):  # noqa: PT012
        shorten(file)
        raise InvalidModelError("nonsense")
    with pytest.raises(KeyboardInterrupt), opened(file):  # noqa: PT012
        lengthen(file)
        raise KeyboardInterrupt


def test_a_file_larger_than_memory(tmp_path: Path) -> None:
    path = tmp_path / "sparse.bin"
    path.touch()
    os.truncate(path, 1 << 43)
    with opened(path) as content, pytest.raises(InvalidModelError, match=r"8796093022208 bytes to read, more than"):
        content.read()


def models(folder: Path) -> dict[str, Path]:
    """A file of each kind that is loaded whole, by its suffix."""
    from onnx import load, save

    fastgru.load(DATA / "onnx" / "denoiser_trace_17.onnx").save(folder / "m.safetensors")
    (folder / "m.onnx").write_bytes((DATA / "onnx" / "denoiser_trace_17.onnx").read_bytes())
    model = load(folder / "m.onnx")
    save(model, folder / "x.onnx", save_as_external_data=True, location="x.data", size_threshold=0)
    return {"safetensors": folder / "m.safetensors", "onnx": folder / "m.onnx", "data": folder / "x.data"}


def loaded(path: Path) -> Path:
    return path.with_suffix(".onnx") if path.suffix == ".data" else path


@pytest.mark.parametrize("kind", ["safetensors", "onnx", "data"])
def test_loading_sees_a_change(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = models(tmp_path)[kind]
    fastgru.load(loaded(path))
    status = path.stat()
    close, seen = sources._File.close, []

    def touch(file: sources._File) -> None:
        seen.append(file.path)
        close(file)

    monkeypatch.setattr(sources._File, "close", touch)
    fastgru.load(loaded(path))
    assert str(path.name) in {os.path.basename(name) for name in seen}

    check, name = sources._File.check, path.name

    def late(file: sources._File) -> None:
        if os.path.basename(file.path) == name:
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 2))
        check(file)

    monkeypatch.setattr(sources._File, "check", late)
    with pytest.raises(InvalidModelError, match=f"{path.name}'.*changed while it was read"):
        fastgru.load(loaded(path))


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="this system has no /proc")
@pytest.mark.parametrize("kind", ["safetensors", "onnx", "data"])
def test_a_loaded_model_needs_no_file(tmp_path: Path, kind: str) -> None:
    """In a process of its own, since a mapped file that is cut short ends in SIGBUS."""
    code = """
import os, sys
import numpy as np
import fastgru
from fastgru.verify.cases import draw_cases

changed, path = sys.argv[1:]
model = fastgru.load(path)
case = draw_cases(model.graph, small=True)[0].calls[0]
fresh = fastgru.load(path).run(case)
for place in ("/proc/self/maps", "/proc/self/fd"):
    held = open(place).read() if place.endswith("maps") else "".join(map(os.path.realpath, os.listdir(place)))
    assert os.path.dirname(changed) not in held, place
os.truncate(changed, 0)
second = fastgru.Model(model.graph)
os.unlink(changed)
for y in (model.run(case), second.run(case), second.run(case)):
    assert all(np.array_equal(y[name], fresh[name]) for name in fresh)
model.save(path + ".again")
print("done")
"""
    path = models(tmp_path)[kind]
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), str(loaded(path))],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


@pytest.mark.parametrize("suffix", ["npz", "pt", "legacy.pt", "safetensors", "h5"])
def test_weights_that_were_read_need_no_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"weights.{suffix}"
    arrays = {"a": np.arange(3000, dtype=np.float32), "b": np.eye(3)}
    if suffix == "npz":
        np.savez(path, **arrays)
    elif suffix == "safetensors":
        from fastgru.tensorfile import tensor_file_chunks

        path.write_bytes(b"".join(tensor_file_chunks(arrays, {})))
    elif suffix == "h5":
        h5py = pytest.importorskip("h5py")
        buffer = io.BytesIO()
        with h5py.File(buffer, "w") as out:
            for name, array in arrays.items():
                out[name] = array
        path.write_bytes(buffer.getvalue())
    else:
        source = "views.zip.pt" if suffix == "pt" else "views.legacy.pt"
        path.write_bytes((DATA / "weights" / source).read_bytes())
    from_bytes = fastgru.read_weights(path.read_bytes())
    weights = fastgru.read_weights(path)
    path.write_bytes(b"\xff" * path.stat().st_size)
    os.truncate(path, 0)
    assert set(weights) == set(from_bytes)
    for name in weights:
        assert weights[name].dtype == from_bytes[name].dtype
        assert np.array_equal(weights[name], from_bytes[name])


def test_many_files_of_external_data_are_open_one_at_a_time(tmp_path: Path) -> None:
    import resource

    from onnx import TensorProto, helper, numpy_helper, save

    names = [f"w{i}" for i in range(80)]
    nodes = [helper.make_node("Add", ["x" if i == 0 else f"y{i}", w], [f"y{i + 1}"]) for i, w in enumerate(names)]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [4]) for n in ("x", "y80"))
    weights = [numpy_helper.from_array(np.full(4, i, np.float32), w) for i, w in enumerate(names)]
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y], weights), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    save(model, tmp_path / "m.onnx", save_as_external_data=True, all_tensors_to_one_file=False, size_threshold=0)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = len(os.listdir("/dev/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (held + 20, hard))
    try:
        graph = fastgru.load_graph(tmp_path / "m.onnx")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert sum(a.sum() for a in graph.constants.values()) == 4 * sum(range(80))
    assert len(os.listdir("/dev/fd")) == held


@pytest.mark.slow
def test_two_gigabytes_of_external_data(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [4]) for n in "xy")
    at = helper.make_tensor_value_info("at", TensorProto.INT64, [1])
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", "w.data"), ("offset", str(3 << 30)), ("length", "16")):
        weight.external_data.add(key=key, value=value)
    table = TensorProto(name="t", data_type=TensorProto.INT8, dims=[(1 << 31) + 4096], data_location=1)
    table.external_data.add(key="location", value="w.data")
    nodes = [
        helper.make_node("Add", ["x", "w"], ["s"]),
        helper.make_node("Gather", ["t", "at"], ["g"]),
        helper.make_node("Cast", ["g"], ["c"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["s", "c"], ["y"]),
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x, at], [y], [weight, table]),
        opset_imports=[helper.make_opsetid("", 17)], ir_version=8,
    )  # fmt: skip
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with (tmp_path / "w.data").open("wb") as file:
        file.seek((1 << 31) + 4000)
        file.write(b"\5")
        file.seek(3 << 30)
        file.write(np.arange(4, dtype="<f4").tobytes())
    graph = fastgru.load_graph(tmp_path / "m.onnx")
    arrays = {a.dtype.name: a for a in graph.constants.values() if a.nbytes > 8}
    assert arrays["float32"].tolist() == [0, 1, 2, 3]
    assert arrays["int8"].nbytes == (1 << 31) + 4096
    assert np.flatnonzero(arrays["int8"]).tolist() == [(1 << 31) + 4000]

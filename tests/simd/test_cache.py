"""The cache of compiled kernels: a second process compiles nothing, and an edit of a helper is seen."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from slowness import within

import fastgru
from fastgru.simd.target import TARGET, runnable

RUN = """
import json, sys, numpy as np
from fastgru.engine import Executable
from fastgru.graph import Graph, Node, TensorSpec
from fastgru.kernels import table
from fastgru.simd.cache import cache_folder

x = TensorSpec("x", "float32", (None, 4))
nodes = (Node("linear", ("x", "w"), ("h",)), Node("softmax", ("h",), ("y",), {"axis": -1}))
graph = Graph((x,), (TensorSpec("y", "float32", None),), nodes, {"w": np.eye(4, dtype=np.float32)})
executable = Executable(graph)
for _ in range(2):
    y = executable.run({"x": np.ones((2, 4), np.float32)})["y"]
    assert abs(y - 0.25).max() < 1e-6, y
numba = "numba" in sys.modules
print(json.dumps({
    "compiled": table.compiled_by_this_process(),
    "used": [native.name for native in table.entries() if native.state != "unused"],
    "numba": numba,
    "folder": cache_folder(),
    "package": table.__file__,
}))
"""


_NOT_COPIED = shutil.ignore_patterns("__pycache__", "data")


def run(package: Path, cache: Path, **settings: str) -> dict:
    """What a process of its own reports that uses the package in that folder."""
    environment = {**os.environ, "PYTHONPATH": str(package), "FASTGRU_CACHE_DIR": str(cache), **settings}
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        env=environment,
        cwd=package,  # which -c puts before everything else
        capture_output=True,
        text=True,
        timeout=within(240),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    report["stderr"] = done.stderr
    assert Path(report["package"]).is_relative_to(package)
    return report


@pytest.fixture
def package(tmp_path):
    copy = tmp_path / "copy"
    source = Path(fastgru.__file__).parent
    shutil.copytree(source, copy / "fastgru", ignore=_NOT_COPIED)
    return copy


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """(a package, a cache folder that one process filled): not to be changed."""
    root = tmp_path_factory.mktemp("warm")
    shutil.copytree(Path(fastgru.__file__).parent, root / "copy" / "fastgru", ignore=_NOT_COPIED)
    assert run(root / "copy", root / "cache")["compiled"]
    return root / "copy", root / "cache"


@pytest.fixture
def filled(warm, tmp_path):
    """The same, with a cache folder of the test's own."""
    package, cache = warm
    shutil.copytree(cache, tmp_path / "cache")
    return package, tmp_path / "cache"


def test_a_second_process_compiles_nothing_and_an_edit_is_seen(package, tmp_path):
    cache = tmp_path / "cache"
    first = run(package, cache)
    assert set(first["compiled"]) == set(first["used"])
    assert {"linear_float32", "softmax_float32"} <= set(first["used"])
    second = run(package, cache)
    assert first["numba"]
    assert second["compiled"] == []
    assert not second["numba"]
    assert second["used"] == first["used"]
    assert second["folder"] == first["folder"]

    folders = {first["folder"]}
    for helper in ("simd/vector.py", "kernels/rows.py"):
        path = package / "fastgru" / helper
        path.write_text(path.read_text(encoding="utf-8") + "\n# edited\n", encoding="utf-8")
        edited = run(package, cache)
        assert edited["folder"] not in folders
        assert set(edited["compiled"]) == set(edited["used"])
        folders.add(edited["folder"])


def test_an_edit_elsewhere_keeps_the_cache(package, tmp_path):
    cache = tmp_path / "cache"
    first = run(package, cache)
    path = package / "fastgru" / "engine" / "plan.py"
    path.write_text(path.read_text(encoding="utf-8") + "\n# edited\n", encoding="utf-8")
    second = run(package, cache)
    assert second["folder"] == first["folder"]
    assert second["compiled"] == []


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_warm_folder_that_cannot_be_written_is_used(filled):
    package, cache = filled
    folder = Path(run(package, cache)["folder"])
    folder.chmod(0o555)
    try:
        assert run(package, cache)["compiled"] == []
    finally:
        folder.chmod(0o755)


def test_damaged_and_foreign_entries_are_compiled_anew(filled):
    package, cache = filled
    first = run(package, cache)
    folder = Path(first["folder"])
    whole = {path.stem: path.read_bytes() for path in folder.iterdir()}
    assert set(whole) == set(first["used"])

    def spoil(name: str, data: bytes) -> None:
        (folder / f"{name}.fgo").write_bytes(data)

    def changed(data: bytes, at: int) -> bytes:
        return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]

    spoil("linear_float32", whole["linear_float32"][:-1])
    spoil("softmax_float32", b"")
    spoil("gemm_panel_float32", changed(whole["gemm_panel_float32"], -100))
    spoil("run_alone", changed(whole["run_alone"], 20))
    spoil("put", whole["take"])  # whole, but another
    second = run(package, cache)
    spoilt = ["gemm_panel_float32", "linear_float32", "put", "run_alone", "softmax_float32"]
    assert second["compiled"] == spoilt
    assert {path.stem for path in folder.iterdir()} == set(whole)
    assert run(package, cache)["compiled"] == []


def test_an_entry_that_does_not_link_is_compiled_anew(filled):
    """A file with a right checksum around something that is no object code, as another LLVM may see it."""
    package, cache = filled
    first = run(package, cache)
    path = Path(first["folder"]) / "softmax_float32.fgo"
    magic, rest = path.read_bytes()[:17], path.read_bytes()[17 + 32 :]
    body = rest.split(b"\n", 1)[0] + b"\n" + b"no object code"
    path.write_bytes(magic + f"{zlib.crc32(body):032x}".encode() + body)
    assert run(package, cache)["compiled"] == ["softmax_float32"]


def test_processes_that_start_at_once_share_an_empty_folder_and_say_what_takes_long(warm, tmp_path):
    package, _ = warm
    cache = tmp_path / "cache"
    with ThreadPoolExecutor(2) as pool:
        told, kept_quiet = pool.map(lambda quiet: run(package, cache, FASTGRU_QUIET=quiet), ("", "1"))
    (line,) = told["stderr"].splitlines()
    assert "compiling kernels" in line
    assert kept_quiet["stderr"] == ""
    assert {path.suffix for path in Path(told["folder"]).iterdir()} == {".fgo"}
    again = run(package, cache, FASTGRU_QUIET="")
    assert again["compiled"] == []
    assert again["stderr"] == ""


@pytest.mark.skipif(runnable()[0].base == TARGET.base, reason="levels of one base share most of what they have")
def test_another_level_has_a_folder_of_its_own(filled):
    package, cache = filled
    first = run(package, cache)
    forced = run(package, cache, FASTGRU_TARGET=runnable()[0].short)
    assert Path(forced["folder"]).name.startswith(f"{runnable()[0].name}-")
    assert set(forced["compiled"]) == set(first["used"])
    again = run(package, cache, FASTGRU_TARGET=runnable()[0].short)
    assert again["compiled"] == []
    assert not again["numba"]


STREAM = """
import sys, numpy as np
import fastgru
from fastgru.graph import Graph, Node, TensorSpec

if sys.argv[1] == "save":
    x, h, y, g = (TensorSpec(name, "float32", (None, 4)) for name in "xhyg")
    nodes = tuple(Node("binary", ("x", "h"), (name,), {"kind": "add"}) for name in "yg")
    fastgru.Model(Graph((x, h), (y, g), nodes, {}, {"h": "g"})).save("model.safetensors")
else:
    for threads in (1, 2):
        stream = fastgru.load("model.safetensors", threads=threads).stream()
        frame = np.ones((1, 4), np.float32)
        assert [float(stream.push(frame)[0, 0]) for _ in range(3)] == [1, 2, 3]
    from fastgru.kernels import run
    run.team_caller(), run.worker()
    print("numba" in sys.modules)
"""


def test_after_a_warmup_streams_and_teams_compile_nothing(tmp_path):
    package = Path(fastgru.__file__).parent.parent
    environment = {**os.environ, "PYTHONPATH": str(package), "FASTGRU_CACHE_DIR": str(tmp_path / "cache")}

    def python(*arguments):
        done = subprocess.run(
            [sys.executable, *arguments], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    python("-c", STREAM, "save")
    python("-m", "fastgru", "warmup", "model.safetensors")
    assert python("-c", STREAM, "push").split() == ["False"]

"""The cache between users, processes and machines: filled by root and read by others, never run from others."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fastgru.simd.target import TARGET, runnable

pytestmark = pytest.mark.skipif(os.name != "posix", reason="owners and modes are POSIX's")
needs_root = pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root becomes another user")

USER = 1000

RUN = """
import json, os, sys
import numpy as np
from fastgru.engine import Executable
from fastgru.graph import Graph, Node, TensorSpec
from fastgru.kernels import table
from fastgru.simd import cache

if int(sys.argv[1]) != os.geteuid():
    import numba
    from fastgru.engine.lowering import LOWERINGS
    from fastgru.reference.operator import OPS
    # This user may not read the files of Python, or of this package: what is imported late is imported now.
    numba.njit(lambda x: x + 1)(1), table.entries(), cache.source_hash(), len(LOWERINGS), len(OPS)
    os.setgroups([]), os.setgid(int(sys.argv[1])), os.setuid(int(sys.argv[1]))
nodes = (Node("linear", ("x", "w"), ("h",)), Node("softmax", ("h",), ("y",), {"axis": -1}))
w = {"w": np.eye(4, dtype=np.float32)}
executable = Executable(Graph((TensorSpec("x", "float32", (None, 4)),), (TensorSpec("y", "float32", None),), nodes, w))
for n in (2, 3):
    x = np.arange(4 * n, dtype=np.float32).reshape(n, 4)
    y = executable.run({"x": x})["y"]
    wanted = np.exp(x - x.max(1, keepdims=True))
    assert abs(y - wanted / wanted.sum(1, keepdims=True)).max() < 1e-6
compiled = table.compiled_by_this_process()
print(json.dumps({"compiled": compiled, **cache.describe()}))
"""

DIE = """
import os, signal
from fastgru.simd import cache
os.replace = lambda *names, **folders: os.kill(os.getpid(), signal.SIGKILL)
cache.write("put", cache.Entry("put", (), (), bytes(1 << 20)))
"""


def start(code: str, *arguments: object, **settings: str | None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **settings}
    return subprocess.run(
        [sys.executable, "-B", "-c", code, *map(str, arguments)],
        env={name: value for name, value in environment.items() if value is not None},
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )


def run(cache: Path | None, uid: int | None = None, **settings: str | None) -> dict[str, Any]:
    place = None if cache is None else str(cache)
    done = start(
        RUN, os.geteuid() if uid is None else uid, FASTGRU_CACHE_DIR=place, **{"FASTGRU_QUIET": None, **settings}
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if "compiling kernels" not in line]
    return {**json.loads(done.stdout), "told": lines}


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that every user can enter, as those of pytest cannot be."""
    folder = Path(os.path.realpath(tempfile.mkdtemp()))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def warm() -> Iterator[Path]:
    folder = Path(os.path.realpath(tempfile.mkdtemp()))
    assert run(folder / "cache")["compiled"]
    yield folder / "cache"
    shutil.rmtree(folder)


@pytest.fixture
def filled(warm: Path, place: Path) -> tuple[Path, Path]:
    """(the folder that FASTGRU_CACHE_DIR names, the one of these kernels in it), filled, of this test alone."""
    shutil.copytree(warm, place / "cache")
    (folder,) = (place / "cache").iterdir()
    return place / "cache", folder


@needs_root
def test_what_root_filled_another_user_runs(filled: tuple[Path, Path]) -> None:
    cache, folder = filled
    found = run(cache, USER)
    assert (found["compiled"], found["told"], found["problem"]) == ([], [], "")
    assert not found["writable"]
    (folder / "softmax_float32.fgo").unlink()
    before = sorted(os.listdir(folder))
    found = run(cache, USER)
    assert found["compiled"] == ["softmax_float32"]
    (line,) = found["told"]
    assert str(folder) in line
    assert "Permission denied" in line
    assert "FASTGRU_CACHE_DIR" in line
    assert sorted(os.listdir(folder)) == before
    assert run(cache, USER, FASTGRU_QUIET="1")["told"] == []


@needs_root
def test_entries_of_another_user_are_compiled_anew_and_replaced(filled: tuple[Path, Path]) -> None:
    cache, folder = filled
    os.chown(folder / "softmax_float32.fgo", USER, USER)
    (folder / "put.fgo").chmod(0o666)
    found = run(cache)
    assert found["compiled"] == ["put", "softmax_float32"]
    (line,) = found["told"]
    assert "belongs to uid" in line
    again = run(cache)
    assert (again["compiled"], again["told"], again["problem"]) == ([], [], "")


@needs_root
def test_root_takes_nothing_from_a_folder_of_a_user(filled: tuple[Path, Path]) -> None:
    cache, folder = filled
    os.chown(cache, USER, USER)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    found = run(cache)
    assert {"linear_float32", "softmax_float32"} <= set(found["compiled"])
    (line,) = found["told"]
    assert f"{cache} belongs to uid {USER}" in line
    assert found["problem"].startswith(f"{cache} belongs to uid {USER}")
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_links_and_pipes_are_passed_over(filled: tuple[Path, Path]) -> None:
    cache, folder = filled
    (folder / "softmax_float32.fgo").rename(folder / "elsewhere")
    (folder / "softmax_float32.fgo").symlink_to("elsewhere")
    (folder / "linear_float32.fgo").unlink()
    os.mkfifo(folder / "linear_float32.fgo")
    found = run(cache)
    assert found["compiled"] == ["linear_float32", "softmax_float32"]
    assert len(found["told"]) == 1
    assert (folder / "softmax_float32.fgo").is_file()
    assert not (folder / "softmax_float32.fgo").is_symlink()
    assert run(cache)["compiled"] == []


@pytest.mark.skipif(runnable()[0].base == TARGET.base, reason="levels of one base share most of what they have")
def test_entries_of_another_cpu_are_refused(filled: tuple[Path, Path]) -> None:
    cache, folder = filled
    mine = {path.name for path in folder.iterdir()}
    run(cache, FASTGRU_TARGET=runnable()[0].short)
    (other,) = (path for path in cache.iterdir() if path != folder)
    assert other.name.startswith(f"{runnable()[0].name}-")
    for path in other.iterdir():
        shutil.copy(path, folder / path.name)
    found = run(cache)
    assert {f"{name}.fgo" for name in found["compiled"]} == mine
    assert run(cache)["compiled"] == []


def test_many_processes_fill_one_folder(place: Path) -> None:
    """Every one of them checks its numbers."""
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: run(place / "cache", FASTGRU_QUIET="1"), range(3)))
    names = set(found[0]["compiled"])
    assert names
    assert all(report["problem"] == "" for report in found)
    (folder,) = (place / "cache").iterdir()
    assert {"linear_float32.fgo", "softmax_float32.fgo"} <= set(os.listdir(folder))
    assert {path.suffix for path in folder.iterdir()} == {".fgo"}
    assert run(place / "cache")["compiled"] == []


def test_a_writer_that_is_killed_leaves_a_temporary_file_for_the_next(filled: tuple[Path, Path]) -> None:
    cache, folder = filled
    whole = (folder / "put.fgo").read_bytes()
    assert start(DIE, FASTGRU_CACHE_DIR=str(cache)).returncode == -signal.SIGKILL
    (left,) = (path for path in folder.iterdir() if path.suffix == ".tmp")
    assert (folder / "put.fgo").read_bytes() == whole
    assert run(cache)["compiled"] == []
    os.utime(left, (0, time.time() - 7200))
    (folder / "put.fgo").write_bytes(whole[:-1])
    assert run(cache)["compiled"] == ["put"]
    assert {path.suffix for path in folder.iterdir()} == {".fgo"}


def test_a_folder_that_goes_away_under_a_process(place: Path) -> None:
    code = """
import os, shutil
from fastgru.simd import cache
entry = cache.Entry("symbol", ("part",), (), b"code")
for _ in range(3):
    assert cache.read("name") is None
    cache.write("name", entry)
    assert cache.read("name") == entry
    shutil.rmtree(os.environ["FASTGRU_CACHE_DIR"])
for fd in range(3, 64):
    try: os.close(fd)
    except OSError: pass
cache.write("name", entry)
assert cache.read("name") == entry
"""
    done = start(code, FASTGRU_CACHE_DIR=str(place / "cache"))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("home", ["/proc/nowhere", None])
def test_without_a_home_kernels_stay_in_memory(place: Path, home: str | None) -> None:
    uid = os.geteuid()
    if home is None:
        if uid != 0:
            pytest.skip("only root becomes a user without an entry among the users")
        uid = 54321
    found = run(None, uid, HOME=home, XDG_CACHE_HOME=None, TMPDIR=str(place))
    assert {"linear_float32", "softmax_float32"} <= set(found["compiled"])
    (line,) = found["told"]
    assert "FASTGRU_CACHE_DIR" in line
    assert ("no home folder" if home is None else home) in line
    assert os.listdir(place) == []
    assert found["problem"]
    assert not found["writable"]


def test_the_default_folder_is_private(place: Path) -> None:
    found = run(None, HOME=str(place), XDG_CACHE_HOME=None)
    folder = Path(found["directory"])
    assert folder.parent == place / ".cache"
    for path in (*folder.iterdir(), folder, folder.parent):
        assert path.stat().st_mode & 0o777 == 0o700
    assert run(None, HOME=str(place), XDG_CACHE_HOME=None)["compiled"] == []


@needs_root
def test_doctor_and_warmup_say_what_is_wrong(place: Path) -> None:
    (place / "cache").mkdir(mode=0o755)
    (place / "cache").chmod(0o777)
    code = "import sys; from fastgru.cli import main; sys.argv[0] = 'fastgru'; main()"
    done = start(code, "doctor", FASTGRU_CACHE_DIR=str(place / "cache"))
    assert done.returncode == 0
    assert f"{place / 'cache'} belongs to uid 0 and has mode 0777" in done.stdout
    done = start(
        code, "warmup", Path(__file__).parents[1] / "data/onnx_loops/scan.onnx", FASTGRU_CACHE_DIR=str(place / "cache")
    )
    assert done.returncode == 1
    assert "mode 0777" in done.stderr

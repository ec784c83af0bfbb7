"""The cache of compiled kernels: a second process compiles nothing, and an edit of a helper is seen."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fastgru

RUN = """
import json, numpy as np
import fastgru.simd
from numba.core import event
from fastgru.engine import Executable
from fastgru.graph import Graph, Node, TensorSpec
from fastgru.kernels import registry
from fastgru.simd.cache import cache_folder

x = TensorSpec("x", "float32", (None, 4))
nodes = (Node("linear", ("x", "w"), ("h",)), Node("softmax", ("h",), ("y",), {"axis": -1}))
graph = Graph((x,), (TensorSpec("y", "float32", None),), nodes, {"w": np.eye(4, dtype=np.float32)})
with event.install_recorder("numba:compile") as compilations:
    y = Executable(graph).run({"x": np.ones((2, 4), np.float32)})["y"]
assert abs(y - 0.25).max() < 1e-6, y
print(json.dumps({
    "compiled": registry.compiled_by_this_process(),
    "used": [h.name for h in registry.entries() if h.state != "unused"],
    "compilations": len(compilations.buffer),
    "folder": cache_folder(),
    "package": registry.__file__,
}))
"""


def run(package: Path, cache: Path) -> dict:
    """What a process of its own reports that uses the package in that folder."""
    environment = {**os.environ, "PYTHONPATH": str(package), "FASTGRU_CACHE_DIR": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        env=environment,
        cwd=package,  # which -c puts before everything else
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert Path(report["package"]).is_relative_to(package)
    return report


@pytest.fixture
def package(tmp_path):
    copy = tmp_path / "copy"
    source = Path(fastgru.__file__).parent
    shutil.copytree(source, copy / "fastgru", ignore=shutil.ignore_patterns("__pycache__", "data"))
    return copy


def test_a_second_process_compiles_nothing_and_an_edit_is_seen(package, tmp_path):
    cache = tmp_path / "cache"
    first = run(package, cache)
    assert set(first["compiled"]) == set(first["used"])
    assert {"linear_float32", "softmax_float32"} <= set(first["used"])
    second = run(package, cache)
    assert first["compilations"] > 0
    assert second["compiled"] == []
    assert second["compilations"] == 0
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
def test_a_warm_folder_that_cannot_be_written_is_used(package, tmp_path):
    cache = tmp_path / "cache"
    folder = Path(run(package, cache)["folder"])
    folder.chmod(0o555)
    try:
        assert run(package, cache)["compiled"] == []
    finally:
        folder.chmod(0o755)


STREAM = """
import sys, numpy as np
import fastgru
from fastgru.graph import Graph, Node, TensorSpec
from numba.core import event

if sys.argv[1] == "save":
    x, h, y, g = (TensorSpec(name, "float32", (None, 4)) for name in "xhyg")
    nodes = tuple(Node("binary", ("x", "h"), (name,), {"kind": "add"}) for name in "yg")
    fastgru.Model(Graph((x, h), (y, g), nodes, {}, {"h": "g"})).save("model.safetensors")
else:
    with event.install_recorder("numba:compile") as compilations:
        for threads in (1, 2):
            stream = fastgru.load("model.safetensors", threads=threads).stream()
            frame = np.ones((1, 4), np.float32)
            assert [float(stream.push(frame)[0, 0]) for _ in range(3)] == [1, 2, 3]
        from fastgru.kernels import run
        run.team_runner(), run.worker()
    print("compilations", len(compilations.buffer))
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
    assert python("-c", STREAM, "push").split() == ["compilations", "0"]

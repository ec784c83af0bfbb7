"""The same over Ray Data on this machine: the content of one process, also when a worker is killed in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from example_files import save_onnx, torch_gru
from readme_files import draw
from slowness import within
from users import child

import fastgru
from fastgru.scoring import score

pq = pytest.importorskip("pyarrow.parquet", reason="not installed: the extra `data`")
pa = pytest.importorskip("pyarrow", reason="not installed: the extra `data`")
pytest.importorskip("ray", reason="not installed: the extra `ray`")

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, 1,500,000 rows in 7,500 sequences, and what one process makes of them."""
    folder, rng = tmp_path_factory.mktemp("ray"), np.random.default_rng(0)
    save_onnx(folder / "model.onnx", torch_gru(rng, 3, 64, ""), (draw(rng, 2, 64), draw(rng, 2)))
    x = rng.standard_normal((1_500_000, 3), dtype=np.float32)
    table = {"id": np.arange(1_500_000) // 200, **{name: x[:, k] for k, name in enumerate("abc")}}
    pq.write_table(pa.table(table), folder / "in.parquet")
    model = fastgru.load(folder / "model.onnx")
    score(model, folder / "in.parquet", folder / "one.parquet", ids=["id"], outputs=["y"])
    return folder


def start(folder: Path, out: str, *options: str) -> AbstractContextManager[subprocess.Popen[str]]:
    words = [sys.executable, "-m", "fastgru", "score", "model.onnx", "--input", "in.parquet", "--output", out]
    words += ["--id", "id", "--outputs", "y", "--ray", "--ray-actors", "2", "--ray-cpus", "0.5", *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
    return child(words, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def test_the_content_is_that_of_one_process(made: Path) -> None:
    with start(made, "ray.parquet") as process:
        told, _ = process.communicate(timeout=within(200))
    assert process.returncode == 0, told
    assert "7,500 sequences, 1,500,000 rows" in told
    assert pq.read_table(made / "ray.parquet").equals(pq.read_table(made / "one.parquet"))


def workers(of: int) -> list[int]:
    """The actors of the Ray that a process has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if b"MapWorker" in (path / "cmdline").read_bytes() and _descends(int(path.name), of):
                found.append(int(path.name))
        except OSError:
            continue
    return found


def _descends(pid: int, of: int) -> bool:
    while pid > 1:
        if pid == of:
            return True
        pid = int((Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
    return False


def test_a_worker_that_is_killed_changes_nothing(made: Path) -> None:
    with start(made, "killed.parquet") as process:
        end, killed = time.monotonic() + within(120), list[int]()
        while not killed and process.poll() is None and time.monotonic() < end:
            if (made / "killed.parquet.parts").exists():
                killed = workers(process.pid)[:1]
                for pid in killed:
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
        told, _ = process.communicate(timeout=within(200))
    assert process.returncode == 0, told
    assert killed, "there was no worker any more"
    assert pq.read_table(made / "killed.parquet").equals(pq.read_table(made / "one.parquet"))


def test_a_fault_is_told_as_without_ray(made: Path) -> None:
    table: dict[str, Any] = pq.read_table(made / "in.parquet").slice(0, 400).to_pydict()
    table["b"][250] = None
    folder = made / "fault"
    folder.mkdir()
    (folder / "model.onnx").symlink_to(made / "model.onnx")
    pq.write_table(pa.table(table), folder / "in.parquet")
    with start(folder, "out.parquet") as process:
        told, _ = process.communicate(timeout=within(200))
    assert process.returncode == 2
    assert "row 250 (the first is 0), sequence 1: b is null" in told

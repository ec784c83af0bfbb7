"""Mutated files of every format end in an error of the tree, or are read; nothing else, and nothing takes long.

300 files in the ordinary run; `pytest -m fuzz` takes 11,000. The same number is the same file every time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

WORKER = Path(__file__).parent / "fuzz_worker.py"
NAMES = (
    "graph", "hdf5-model", "hdf5-weights", "json-state", "keras", "npz", "onnx", "rtneural", "safetensors",
    "torch-legacy", "torch-zip",
)  # fmt: skip


def fuzz(name: str, count: int, seed: int, folder: Path) -> None:
    if name in ("hdf5-model", "hdf5-weights", "keras"):
        pytest.importorskip("h5py", reason="h5py writes the seeds")
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-W", "error", str(WORKER), name, str(count), str(seed), str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.returncode == 0, f"status {done.returncode}, on {folder / 'last'}:\n{done.stderr[-4000:]}"
    result = json.loads(done.stdout.splitlines()[-1])
    shown = "\n".join(f"{folder}/{name}-{seed}-{number}: {fault}" for number, fault in result["failures"][:5])
    assert not result["failures"], f"{len(result['failures'])} failures\n{shown}"
    assert sum(result["outcomes"].values()) == count
    assert result["outcomes"].get("InvalidModelError", 0) > count // 5, result["outcomes"]
    assert result["peak_kib"] < 1 << 20


@pytest.mark.parametrize("name", NAMES)
def test_mutated_files(name: str, tmp_path: Path) -> None:
    fuzz(name, 28, 1, tmp_path)


@pytest.mark.fuzz
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", NAMES)
def test_many_mutated_files(name: str, tmp_path: Path) -> None:
    fuzz(name, 1000, 2, tmp_path)

"""Spoilt messages over all protocols get an answer of the protocol; no neighbour sees them.

2,000 in the ordinary run; `pytest -m fuzz tests/serve` sends 1,000,000. The same number is the same message every time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("uvicorn", reason="not installed: the extra `serve`")
pytest.importorskip("orjson", reason="not installed: the extra `serve`")
pytest.importorskip("hpack", reason="not installed: the extra `serve`")

WORKER = Path(__file__).with_name("serve_fuzz_worker.py")
TESTS = Path(__file__).parents[1]
PLACES = (TESTS.parent, TESTS, TESTS / "fuzz", TESTS / "serve" / "grpc")


def fuzz(count: int, seed: int, folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(WORKER), str(count), str(seed), str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*filter(None, sys.path), *PLACES)))},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    result = json.loads(done.stdout.splitlines()[-1])
    shown = "\n".join(result["failures"][:5])
    assert not result["failures"], f"{len(result['failures'])} failures\n{shown}"
    assert {"200", "400", "404", "405", "gRPC 0", "gRPC 3", "gRPC 5", "gRPC 12"} <= result["statuses"].keys(), result[
        "statuses"
    ]
    assert result["statuses"]["400"] > count // 16, result["statuses"]


def test_spoilt_messages(tmp_path: Path) -> None:
    fuzz(2_000, 1, tmp_path)


@pytest.mark.fuzz
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(2, 102))
def test_many_spoilt_messages(seed: int, tmp_path: Path) -> None:
    fuzz(10_000, seed, tmp_path)

"""The file for Ray Serve on the page "Beyond one server": the bits of streams, and no sequence begins anew unnoticed.

`pip install 'ray[serve]' mmh3 '.[serve]'`, and `pytest tests/serve/test_across_ray.py`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from slowness import within
from users import child

for name in ("uvicorn", "orjson"):
    pytest.importorskip(name, reason="not installed: the extra `serve`")
for name in ("ray", "mmh3", "starlette"):
    pytest.importorskip(name, reason=f"not installed: {name}, for ray[serve]")

ROOT = Path(__file__).parents[2]


def test_sequences_over_ray_serve(tmp_path: Path) -> None:
    words = [sys.executable, str(Path(__file__).with_name("ray_sessions.py")), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
    environment["RAY_USAGE_STATS_ENABLED"] = "0"
    with child(words, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        told, _ = process.communicate(timeout=within(200))
    assert process.returncode == 0, told
    assert "were told that theirs is gone" in told

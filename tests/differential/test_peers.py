"""The table of servers side by side, with those that need no environment of their own."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

pytest.importorskip("uvicorn", reason="needs the extra 'serve'")

from bench.serving.__main__ import main


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="what a process takes is told by /proc")
def test_every_server_has_a_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    core, *_, other = [min(os.sched_getaffinity(0)), *os.sched_getaffinity(0)]
    words = ["--rounds", "1", "--seconds", "0.1", "--cores", f"{core},{other}", "--json", str(tmp_path / "rows.json")]
    assert main(words) == 0
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [(row["server"], row["protocol"]) for row in rows] == [
        ("fastgru", "HTTP, tensors as bytes"),
        ("fastgru", "HTTP, JSON"),
        ("fastgru", "WebSocket"),
        ("uvicorn, NumPy", "HTTP, bytes alone"),
    ]
    assert all(row["p50_us"] > 0 and row["steps"] > 0 and row["cpu_us"] > 0 and row["rss"] > 1e7 for row in rows)
    assert len(capsys.readouterr().out.splitlines()) == 2 + len(rows)

"""Sessions that come and go: memory and descriptors of the server stay as they are.

    pytest -m soak tests/soak/test_server_soak.py

runs 10,000 sessions over ten minutes; the ordinary run has a few hundred of them, as fast as they go.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("uvicorn", reason="not installed: the extra `serve`")
pytest.importorskip("orjson", reason="not installed: the extra `serve`")

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT))


def run(folder: Path, sessions: int, *, full: bool) -> None:
    from bench.serve.setting import Setting
    from bench.serve.soak import soak

    setting = Setting(folder, full=full, verbose=True)
    soak(setting, sessions)
    assert [figure.line() for figure in setting.figures if figure.holds is False] == []
    assert len(setting.figures) == 4


def test_a_few_hundred_sessions(tmp_path: Path) -> None:
    run(tmp_path, 400, full=False)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_ten_thousand_sessions_over_ten_minutes(tmp_path: Path) -> None:
    run(tmp_path, 10_000, full=True)

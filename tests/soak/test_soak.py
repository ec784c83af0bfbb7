"""Long runs of what happens to a process: signals, forks, and models that come and go, at random moments.

    pytest -m soak tests/soak

runs 10,000 SIGINTs, 1,000 forks and 10,000 loads, streams and pools; the ordinary run does a hundredth of it. Each run
is a process of its own, with memory that malloc hands out or takes back full of rubbish, and compares every number.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs signals and forks")

WORKER = Path(__file__).with_name("soak_worker.py")


def worker(kind: str, count: int, seed: int, timeout: int) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-W",
            "ignore:.*fork.*:DeprecationWarning",
            WORKER,
            kind,
            str(count),
            str(seed),
        ],
        env={**os.environ, "MALLOC_PERTURB_": "165", "FASTGRU_QUIET": "1"},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert f"{count} {kind}" in done.stdout


@pytest.mark.parametrize(("kind", "count"), [("signals", 100), ("forks", 10), ("lives", 100)])
def test_a_short_run(kind, count):
    worker(kind, count, seed=0, timeout=240)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(("kind", "count"), [("signals", 1000), ("forks", 100), ("lives", 1000)])
def test_a_long_run(kind, count, seed):
    worker(kind, count, seed=seed + 1, timeout=3600)

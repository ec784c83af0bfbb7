"""Every level that this CPU runs gives the right numbers: one machine tests every path."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from slowness import within

from fastgru.simd.target import TARGET, runnable

WORKER = Path(__file__).parent / "level_worker.py"
ROOT = Path(__file__).parent.parent.parent


def run(level, *arguments):
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "FASTGRU_TARGET": level, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-W", "error", str(WORKER), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=within(1200), check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{level}: 0 failed" in done.stdout


# Of each base, the level without anything beyond it.
PLAIN = [target for target in runnable() if not target.features and target != TARGET]
OTHERS = [target.short for target in PLAIN if target.base != TARGET.base or not target.is_x86]


@pytest.mark.parametrize("level", OTHERS)
def test_the_usual_operators_on(level):
    run(level)


@pytest.mark.slow
@pytest.mark.timeout(1300)
@pytest.mark.parametrize("level", [target.short for target in runnable()])
def test_everything_on(level):
    run(level, "all")

"""Every instruction set that this CPU runs gives the right numbers: one machine tests every path."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastgru.simd.cpu import ISA, ISAS, host_isa

WORKER = Path(__file__).parent / "isa_worker.py"
ROOT = Path(__file__).parent.parent.parent


def run(isa, *arguments):
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "FASTGRU_ISA": isa, "PYTHONPATH": os.pathsep.join(paths)}
    for name in ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES"):
        environment.pop(name, None)
    command = [sys.executable, "-W", "error", str(WORKER), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{isa}: 0 failed" in done.stdout


OTHERS = [isa for isa in ISAS if isa != ISA]


def skip_wider(isa):
    if ISAS[isa] > ISAS[host_isa()]:
        pytest.skip(f"this CPU does not run {isa}")


@pytest.mark.parametrize("isa", OTHERS)
def test_the_usual_operators_on(isa):
    skip_wider(isa)
    run(isa)


@pytest.mark.slow
@pytest.mark.timeout(1300)
@pytest.mark.parametrize("isa", ISAS)
def test_everything_on(isa):
    skip_wider(isa)
    run(isa, "all")


def test_an_unknown_instruction_set_is_refused():
    environment = {**os.environ, "FASTGRU_ISA": "mmx", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", "import fastgru.simd.cpu"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode
    assert "FASTGRU_ISA is 'mmx', expected one of avx512, avx2, generic" in done.stderr

"""tools/check-arm says what it expects before it touches anything; the rest of it needs root and an hour."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fastgru.simd.target import TARGETS

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tools" / "check-arm"

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")


def check_arm(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", str(SCRIPT), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **environment}
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "expected a folder"),
        (("--help",), "there are no options, and --help is none"),
        (("{folder}", "demo", "dance"), "there is no step dance: expected some of root kernels demo"),
        (("/",), "name a folder"),
    ],
)
def test_what_is_asked_for_wrongly_is_refused(tmp_path, arguments, told):
    done = check_arm(*(argument.format(folder=tmp_path) for argument in arguments))
    assert done.returncode == 2
    assert done.stderr.startswith("tools/check-arm: ")
    assert told in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="refused before")
def test_what_is_missing_is_told(tmp_path):
    for name in ("bash", "dirname", "realpath", "uname"):
        os.symlink(shutil.which(name) or "", tmp_path / name)
    done = check_arm(str(tmp_path / "arm"), PATH=str(tmp_path))
    assert done.returncode == 2
    assert ("apt-get install debootstrap" if os.geteuid() == 0 else "run by root") in done.stderr
    assert not (tmp_path / "arm").exists()


def test_its_levels_files_and_steps_are_there():
    text = SCRIPT.read_text(encoding="utf-8")
    levels = re.search(r"^levels=\((.*)\)", text, re.M)
    steps = re.search(r"^steps=\((.*)\)", text, re.M)
    assert levels is not None
    assert steps is not None
    known = [target.short for target in TARGETS if target.system == "linux" and target.architecture == "aarch64"]
    assert levels[1].split() == known
    assert re.findall(r"^step_(\w+)\(\)", text, re.M) == steps[1].split()
    assert re.findall(r"^#     (\w+)  ", text, re.M) == steps[1].split()
    named = " ".join(re.findall(r"tests/[\w/.{},]+", text))
    for path in subprocess.run(
        ["bash", "-c", f"echo {named}"], capture_output=True, text=True, check=True
    ).stdout.split():
        assert (ROOT / path).exists(), path

"""tools/digests finds no difference where there is none, and one where a layer gives another bit."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from fastgru.simd.target import TARGET

ROOT = Path(__file__).resolve().parents[2]
CASE = "2_bi_bias_float64_zip"
SPOIL = """
from fastgru.layers import GRU as _Right


class GRU(_Right):
    def __call__(self, *given):
        y, h_n = super().__call__(*given)
        y.view("i4").flat[-1] ^= 1
        return y, h_n
"""


def digests(a: Path, b: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools" / "digests"), str(a), str(b), "--precision=float32", *arguments]
    command.append(f"--target={TARGET.short}")
    return subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)


def test_a_checkout_is_like_itself() -> None:
    done = digests(ROOT, ROOT, "--only=models", "--only=files", f"--match=masknet_trace_free|{CASE}", "--threads=1")
    assert done.returncode == 0, done.stdout + done.stderr
    for line in done.stdout.splitlines():
        assert line.endswith("refused by both, 0 gained, 0 differ")


def test_another_bit_is_a_difference(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "fastgru", tmp_path / "fastgru", ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "fastgru" / "__init__.py").open("a", encoding="utf-8") as file:
        file.write(SPOIL)
    done = digests(ROOT, tmp_path, "--only=files", f"--match={CASE}")
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"torch/{CASE} float32\t" in done.stdout
    assert "0 gained, 1 differ" in done.stdout
